"""An output layer's results are float32, whatever its operands were rounded to, at real sizes."""

import pytest
import torch

from agents.forward.output_product import OutputProduct
from agents.models.output_layer import chosen_log_probs

WIDTH, VOCABULARY, TOKENS = 64, 50_000, 200


@pytest.fixture(scope="module")
def layer():
    """States and a weight of a pretrained model's size: logits of plus and minus 35 and more."""
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(TOKENS, WIDTH, generator=generator)
    weight = torch.randn(VOCABULARY, WIDTH, generator=generator)
    bias = torch.randn(VOCABULARY, generator=generator)
    logits = states @ weight.T
    assert logits.max() > 35
    assert logits.min() < -35
    return states, weight, bias


def _rounded(dtype, *tensors):
    return (each.to(dtype).double() for each in tensors)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("pass_tokens", [None, TOKENS], ids=["plain", "packed"])
@pytest.mark.parametrize("own_bias", [False, True])
def test_logits_are_the_exact_ones_of_rounded_operands(layer, dtype, pass_tokens, own_bias):
    """bfloat16 results would be off by up to an eighth."""
    states, weight, bias = layer
    product = OutputProduct(weight, bias if own_bias else None, dtype, pass_tokens=pass_tokens)
    left, right, added = _rounded(dtype, states, weight, bias)
    exact = left @ right.T + (added if own_bias else 0)
    logits = product.logits(states)
    assert logits.dtype == torch.float32
    assert (logits - exact).abs().max() < 1e-3
    forbidden = torch.zeros(VOCABULARY).masked_fill_(torch.arange(VOCABULARY) < 5, -torch.inf)
    masked = product.logits(states, forbidden)
    assert (masked[:, :5] == -torch.inf).all()
    assert (masked[:, 5:] - (left @ right.T)[:, 5:]).abs().max() < 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_autocast_around_it_changes_nothing(layer, dtype):
    states, weight, bias = layer
    product = OutputProduct(weight, bias, dtype)
    outside = product.logits(states), product.for_states(states @ weight.T)
    with torch.autocast("cpu", torch.bfloat16):
        inside = product.logits(states), product.for_states((states @ weight.T).float())
    torch.testing.assert_close(inside[0], outside[0], atol=0, rtol=0)
    assert inside[1].dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_gradients_are_those_of_rounded_operands(layer, dtype):
    states, weight, _ = layer
    product = OutputProduct(weight, None, dtype)
    slopes = torch.randn(TOKENS, VOCABULARY, generator=torch.Generator().manual_seed(1))
    left, right, down = _rounded(dtype, states, weight, slopes)
    for actual, exact in (
        (product.for_states(slopes), down @ right),
        (product.for_weight(slopes, states), down.T @ left),
    ):
        assert actual.dtype == torch.float32
        # Where the processor has no bfloat16 products the slopes keep their digits.
        error = (actual - exact).norm() / exact.norm()
        assert error < (1e-6 if dtype == torch.float32 else 4e-3)


def test_what_other_products_may_be_rounded_to_is_left_alone(layer):
    states, weight, _ = layer
    before = torch.backends.mkldnn.matmul.fp32_precision
    product = OutputProduct(weight, None, torch.bfloat16)
    product.logits(states)
    assert torch.backends.mkldnn.matmul.fp32_precision == before
    with pytest.raises(RuntimeError):
        product.logits(states[:, 1:])
    assert torch.backends.mkldnn.matmul.fp32_precision == before


def test_log_probs_in_bfloat16_are_the_exact_ones_of_rounded_operands(layer):
    """Of 200 tokens of a real vocabulary, forward and backward; entropies too."""
    states, weight, _ = layer
    hidden, head = states.clone().requires_grad_(), weight.clone().requires_grad_()
    actions = torch.randint(VOCABULARY, (TOKENS,), generator=torch.Generator().manual_seed(2))
    legal = torch.ones(VOCABULARY, dtype=torch.bool)
    with torch.autocast("cpu", torch.bfloat16):
        chosen, entropies = chosen_log_probs(
            hidden, head, None, actions, legal, 0.9, entropies=True
        )
    left, right = (each.requires_grad_() for each in _rounded(torch.bfloat16, states, weight))
    exact = (left @ right.T / 0.9).log_softmax(-1)
    theirs = exact.gather(-1, actions[:, None]).squeeze(-1)
    assert (chosen - theirs).abs().max() < 2e-3
    assert (entropies - torch.special.entr(exact.exp()).sum(-1)).abs().max() < 2e-3
    (chosen.sum() + entropies.sum()).backward()
    (theirs.sum() + torch.special.entr(exact.exp()).sum()).backward()
    for ours, other in ((hidden.grad, left.grad), (head.grad, right.grad)):
        assert torch.isfinite(ours).all()
        assert (ours - other).norm() / other.norm() < 1e-2
