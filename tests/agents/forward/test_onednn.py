"""Packed weights give what the layers themselves give."""

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from agents.forward.onednn import PackedLayers, can_pack, run_layer
from agents.models.policy import TransformerPolicy
from agents.rollouts.writer import Actor
from tests.agents.toys import episodes, make_model
from textgym.pretrained.adapters import AdapterConfig, add_adapters

CPU = torch.device("cpu")
NARROW = pytest.mark.skipif(
    not can_pack(CPU, torch.bfloat16), reason="this processor has no products in bfloat16"
)


def _layers():
    torch.manual_seed(0)
    convolution = Conv1D(24, 40)
    nn.init.normal_(convolution.bias)
    return [nn.Linear(40, 24), nn.Linear(40, 24, bias=False), convolution]


@pytest.mark.parametrize("activation", [None, "gelu", "silu"])
@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.bfloat16, marks=NARROW)])
@pytest.mark.parametrize("shape", [(1, 40), (7, 1, 40), (3, 5, 40), (300, 40), (0, 40)])
def test_packed_layers_are_the_layers(activation, dtype, shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    run = PackedLayers(7, dtype)
    with torch.no_grad():
        for layer in _layers():
            layer.to(dtype)
            expected, actual = run_layer(layer, x, activation), run(layer, x, activation)
            assert actual.dtype is dtype
            # In bfloat16 an activation behind a layer reads what the layer has rounded.
            close = {} if dtype is torch.float32 else {"atol": 0.02, "rtol": 0.02}
            torch.testing.assert_close(expected, actual, **close)


def test_inputs_that_lie_apart_in_memory_are_read_right():
    layer, x = _layers()[0], torch.randn(5, 40, 3).transpose(1, 2)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), PackedLayers(5, torch.float32)(layer, x))


def test_weights_are_those_that_were_there_first():
    layer, x = _layers()[0], torch.randn(5, 40)
    with torch.no_grad():
        run = PackedLayers(5, torch.float32)
        before = run(layer, x)
        layer.weight.add_(1.0)
        layer.bias.add_(1.0)
        assert torch.equal(before, run(layer, x))
        torch.testing.assert_close(layer(x), PackedLayers(5, torch.float32)(layer, x))


def test_other_layers_are_run_as_they_are():
    class Doubled(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    layer, x = Doubled(40, 24), torch.randn(5, 40)
    with torch.no_grad():
        assert torch.equal(layer(x), PackedLayers(5, torch.float32)(layer, x))


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_an_actor_follows_what_adapters_have_learned(kind):
    """They stand in the place of linear layers, whose own weights stay as they were."""
    model = make_model(kind)
    add_adapters(model, AdapterConfig(rank=2), base="here")
    policy = TransformerPolicy(model)
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(parameter, std=0.5)
        tokens = torch.tensor([[1, 4, 5, 6]])
        actor = Actor(policy, rows=1, columns=8)
        actor.open(torch.tensor([0]), tokens[:, :3], torch.tensor([3]))
        actor.feed(torch.tensor([6]))
        expected = policy.next_logits(tokens, torch.tensor([4]))
    torch.testing.assert_close(expected, actor.logits(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "mistral"])
@pytest.mark.parametrize("narrow", [False, pytest.param(True, marks=NARROW)])
def test_a_packed_policy_evaluates_as_it_does_itself(kind, narrow):
    """Under autocast as well; and the policy is what it was, gradients included."""
    policy, tokens = TransformerPolicy(make_model(kind)), torch.tensor([[1, 4, 5, 6], [1, 7, 0, 0]])
    places, actions = torch.tensor([[1, 2], [0, 0]]), torch.tensor([[5, 6], [7, 0]])
    mask = torch.tensor([[True, True], [True, False]])
    every = torch.ones(policy.vocab_size, dtype=torch.bool)
    given = episodes(tokens, places, actions, mask, every)
    found = []
    with torch.no_grad():
        twin = policy.packed(8, torch.bfloat16 if narrow else torch.float32)
        found.append(twin.evaluate(given, bf16=narrow).log_probs)
    found.append(policy.evaluate(given, bf16=narrow).log_probs)
    close = {"atol": 0.03, "rtol": 0.03} if narrow else {"atol": 1e-5, "rtol": 1e-5}
    torch.testing.assert_close(found[1].detach(), found[0], **close)
    found[1].sum().backward()
    assert all(p.grad is not None for p in policy.model.parameters())


def test_what_cannot_be_packed():
    assert not can_pack(torch.device("cuda"), torch.float32)
    assert not can_pack(CPU, torch.float16)
    assert not can_pack(CPU, torch.float64)
