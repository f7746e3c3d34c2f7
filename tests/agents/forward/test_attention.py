"""Attention of our own against torch's fused kernel, and on either side of its limits."""

import pytest
import torch
import torch.nn.functional as F

from agents.forward import attention
from agents.forward.attention import attend_by_products, attend_to_cache, causal_attention
from agents.forward.trunk import make_trunk
from tests.agents.toys import VOCABULARY, make_model

TOKENS = torch.randint(3, VOCABULARY, (3, 9), generator=torch.Generator().manual_seed(0))


def test_attention_by_products_is_the_fused_one():
    """In float64, where neither rounds, and with its gradients."""
    generator = torch.Generator().manual_seed(0)
    shape = (2, 3, 7, 4)
    parts = [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(4)]
    leaves, probe = [part.requires_grad_() for part in parts[:3]], parts[3]
    expected = F.scaled_dot_product_attention(*leaves, is_causal=True, scale=0.3)
    actual = attend_by_products(*leaves, 0.3)
    torch.testing.assert_close(expected, actual)
    theirs = torch.autograd.grad((expected * probe).sum(), leaves)
    ours = torch.autograd.grad((actual * probe).sum(), leaves)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(other, mine)


@pytest.mark.parametrize("longest", [0, 64], ids=["fused", "products"])
@pytest.mark.parametrize("kind", ["gpt2", "llama", "qwen2", "qwen3"])
def test_bfloat16_attends_as_float32_does_but_for_rounding(monkeypatch, kind, longest):
    monkeypatch.setitem(attention._LONGEST_BY_PRODUCTS, torch.bfloat16, longest)
    model = make_model(kind).eval()
    with torch.no_grad():
        expected = make_trunk(model).full(TOKENS)
        with torch.autocast("cpu", torch.bfloat16):
            actual = make_trunk(model).full(TOKENS)
    torch.testing.assert_close(expected, actual.float(), atol=0.05, rtol=0.05)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "qwen2", "qwen3"])
def test_float32_attends_alike_on_either_side_of_its_limit(monkeypatch, kind):
    model = make_model(kind).eval()
    weights, found = [*model.base_model.parameters()], []
    for longest in (0, 64):
        monkeypatch.setitem(attention._LONGEST_BY_PRODUCTS, torch.float32, longest)
        states = make_trunk(model).full(TOKENS)
        probe = torch.randn(states.shape, generator=torch.Generator().manual_seed(1))
        found.append([states, *torch.autograd.grad((states * probe).sum(), weights)])
    for fused, products in zip(*found, strict=True):
        torch.testing.assert_close(fused, products, atol=1e-4, rtol=1e-4)


def test_a_new_column_attends_as_the_last_token_of_a_whole_text_does():
    """With two heads of keys for four of queries, and columns beyond the text that are not read."""
    generator = torch.Generator().manual_seed(0)
    query = torch.randn((2, 4, 5, 3), generator=generator)
    key, value = (torch.randn((2, 2, 5, 3), generator=generator) for _ in range(2))
    expected = causal_attention(query, key, value, 0.5)[:, -1:]
    columns = F.pad(key, (0, 0, 0, 2), value=9.0), F.pad(value, (0, 0, 0, 2), value=9.0)
    mask = torch.tensor([0.0] * 5 + [-torch.inf] * 2).expand(2, 1, 1, 7)
    actual = attend_to_cache(query[:, :, -1:], *columns, mask, 0.5)
    torch.testing.assert_close(expected, actual)
