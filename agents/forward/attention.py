"""Attention of whole texts to themselves, and of one more column to a cache.

Whole texts go through torch's fused kernel, but short ones on a CPU through two plain products,
which are faster there.

Source: Vaswani et al., "Attention Is All You Need" (2017), equation 1; with fewer heads of keys
than of queries, Ainslie et al., "GQA" (2023).

Simplification: dense attention alone, without dropout and without a window.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["attend_by_products", "attend_to_cache", "causal_attention"]

# Tokens of a text on a CPU; a longer one is attended to by torch's fused kernel.
_LONGEST_BY_PRODUCTS = {torch.bfloat16: 512, torch.float32: 128}


def causal_attention(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """Attends from every token to itself and to those before it.

    Args:
        query: ``(N, heads, L, head_size)``.
        key: ``(N, key_heads, L, head_size)``; ``key_heads`` divides ``heads``.
        value: As ``key``.
        scale: Multiplies the scores.

    Returns:
        ``(N, L, heads * head_size)``.
    """
    queries_of_a_key = query.shape[1] // key.shape[1]
    if queries_of_a_key > 1:
        key, value = (x.repeat_interleave(queries_of_a_key, dim=1) for x in (key, value))
    on_cpu = value.device.type == "cpu"
    if on_cpu and query.shape[2] <= _LONGEST_BY_PRODUCTS.get(value.dtype, 0):
        mixed = attend_by_products(query, key, value, scale)
    else:
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scale)
    return mixed.transpose(1, 2).flatten(2)


def attend_by_products(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """Causal attention by two products, all ``(N, heads, L, head_size)``.

    On a CPU the fused kernel's backward pass is slow in bfloat16: at 64 tokens it takes four times
    as long as this one, at 1024 the same. In float32 both passes of 64 tokens take a tenth to a
    fifth less here, and those of 256 as long. The scores are rounded, as transformers' are.
    """
    length = query.shape[2]
    unseen = torch.ones((length, length), dtype=torch.bool, device=query.device).triu_(1)
    mask = torch.zeros_like(unseen, dtype=value.dtype).masked_fill_(unseen, -torch.inf)
    queries, keys, values = (x.flatten(0, 1) for x in (query, key, value))
    scores = torch.baddbmm(mask, queries, keys.transpose(1, 2), alpha=scale)
    return torch.bmm(scores.softmax(-1), values).view_as(query)


def attend_to_cache(
    query: Tensor, keys: Tensor, values: Tensor, mask: Tensor, scale: float
) -> Tensor:
    """Attends from the newest token of every text to all columns that it has read.

    Args:
        query: ``(N, heads, 1, head_size)``.
        keys: ``(N, key_heads, columns, head_size)``; ``key_heads`` divides ``heads``.
        values: As ``keys``.
        mask: ``(N, 1, 1, columns)``, 0 at columns that were read and minus infinity at others.
        scale: Multiplies the scores.

    Returns:
        ``(N, 1, heads * head_size)``.
    """
    # Queries that share a head of keys are rows of one product. For a single column the fused
    # kernel is slower than these three calls.
    grouped = query.reshape(len(query), keys.shape[1], -1, query.shape[-1])
    scores = torch.matmul(grouped * scale, keys.transpose(2, 3)).add_(mask)
    return torch.matmul(scores.softmax(-1), values).reshape(len(query), 1, -1)
