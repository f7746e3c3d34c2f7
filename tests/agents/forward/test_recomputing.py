"""Layers that are computed again for their gradients: how often, what is kept, the same numbers."""

import dataclasses

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from agents.models.policy import TransformerPolicy
from agents.ppo import PPO, PPOConfig
from tests.agents.toys import VOCABULARY, episodes, make_model, make_toy
from textgym.pretrained.adapters import AdapterConfig, add_adapters

KINDS = ("gpt2", "llama", "qwen3", "mistral")  # the last is run by transformers' own forward
LAYERS, ROWS, COLUMNS = 2, 3, 24


def _texts():
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(1, VOCABULARY, (ROWS, COLUMNS), generator=generator)
    places = torch.arange(4, COLUMNS - 1).expand(ROWS, -1)
    actions = tokens.gather(1, places + 1)
    mask = torch.ones_like(places, dtype=torch.bool)
    return episodes(tokens, places, actions, mask, torch.ones(VOCABULARY, dtype=torch.bool))


def _policy(kind, *, critic=False, adapters=False):
    model = make_model(kind)
    if adapters:
        add_adapters(model, AdapterConfig(rank=2), base="scratch:none")
        with torch.no_grad():  # fresh ones add nothing, and one of each two has no gradient
            for name, parameter in model.named_parameters():
                if "lora_" in name:
                    parameter.normal_(std=0.1)
    return TransformerPolicy(model, make_model(kind, seed=1) if critic else None)


def _counted(policy, monkeypatch):
    """Appends a block to a list whenever it is computed."""
    runs = []
    for trunk in policy.trunks:
        for block in trunk.blocks:
            forward = block.forward
            norm = next(iter(block.children()))  # a lean forward calls a block's parts alone
            norm = getattr(block, "ln_1", getattr(block, "self_attn", norm))
            inner = getattr(norm, "o_proj", norm)
            inner.register_forward_hook(lambda *_, block=block: runs.append(block))
            assert forward is not None
    return runs


def _learned(policy):
    """The bytes that the forward pass keeps besides weights, and all gradients."""
    own = {p.untyped_storage().data_ptr() for p in policy.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(keep, lambda x: x):
        said = policy.evaluate(_texts())
        loss = said.log_probs.sum() + said.values.square().sum()
    loss.backward()
    return sum(kept.values()), [p.grad for p in policy.parameters() if p.requires_grad]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["plain", "critic", "adapters"])
def test_layers_are_computed_twice_and_the_gradient_is_the_same(kind, how, monkeypatch):
    plain, lean = (
        _policy(kind, critic=how == "critic", adapters=how == "adapters") for _ in range(2)
    )
    for policy in (plain, lean):
        torch.nn.init.ones_(policy.value_head.weight)
    lean.recompute_activations()
    runs = [_counted(policy, monkeypatch) for policy in (plain, lean)]
    (most, expected), (least, actual) = _learned(plain), _learned(lean)
    models = 2 if how == "critic" else 1
    assert [LAYERS * models, 2 * LAYERS * models] == [len(each) for each in runs]
    assert least < most / 2
    for mine, other in zip(actual, expected, strict=True):
        assert (mine is None) == (other is None)
        if other is not None:
            torch.testing.assert_close(other, mine, atol=1e-5, rtol=1e-5)


def test_nothing_is_computed_again_where_there_are_no_gradients(monkeypatch):
    for kind in ("gpt2", "mistral"):
        policy = _policy(kind)
        policy.recompute_activations()
        runs = _counted(policy, monkeypatch)
        with torch.no_grad():
            policy.evaluate(_texts())
        assert len(runs) == LAYERS


@pytest.mark.parametrize("kind", ["gpt2", "mistral"])
def test_the_switch_of_transformers_is_not_ignored(kind, monkeypatch):
    """It asks for training mode, in which a policy never is."""
    model = make_model(kind)
    model.activation_checkpointing_enable()
    policy = TransformerPolicy(model)
    runs = _counted(policy, monkeypatch)
    _learned(policy)
    assert len(runs) == 2 * LAYERS


def test_a_model_whose_layers_are_not_known_is_refused_in_one_line():
    policy = _policy("mistral")
    policy.trunk.blocks = []
    with pytest.raises(ValueError, match=r"MistralForCausalLM has no layers .* leave gradient_"):
        policy.recompute_activations()


@pytest.mark.parametrize("kind", ["gpt2", "mistral"])
def test_a_learner_learns_the_same(kind):
    learned = []
    for again in (False, True):
        config = PPOConfig(gradient_checkpointing=again, epochs=2, seed=3)
        policy = _policy(kind, critic=True)
        ppo = PPO(policy, make_toy(rows=4), dataclasses.replace(config, minibatches=2))
        assert {trunk.recomputes for trunk in policy.trunks} == {again}
        ppo.step()
        learned.append(torch.cat([p.detach().flatten() for p in policy.parameters()]))
    torch.testing.assert_close(*learned, atol=1e-6, rtol=0)
