"""Log-probabilities of given actions, without ever keeping a number for every vocabulary entry.

The output layer is the widest of a small model: for N texts of C actions its logits are N x C x V
numbers. Here they exist for a few hundred actions at a time, in the forward pass and, computed
again, in the backward pass. On a CPU that also keeps the temporaries small enough for the allocator
to reuse them.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from agents.decoding import shape_logits, unpack_mask

__all__ = ["chosen_log_probs"]

_CHUNK_NUMBERS = 2**21  # of float32: 8 MiB a temporary


def chosen_log_probs(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    actions: Tensor,
    legal: Tensor,
    temperature: float,
) -> Tensor:
    """The log-probabilities of the given actions under mask and temperature.

    Args:
        hidden: ``(M, width)``, the last hidden states before the actions.
        weight: The output layer's, ``(V, width)``.
        bias: The output layer's, ``(V,)``, if it has one.
        actions: ``(M,)`` int64.
        legal: ``(V,)`` bool, or for each action, packed by ``pack_mask``, ``(M, ceil(V / 8))``.
        temperature: Divides the logits.

    Returns:
        ``(M,)`` float32, with gradients for ``hidden``, ``weight`` and ``bias``. The matrix
        products run in bfloat16 under autocast; all else is float32.
    """
    kind = hidden.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
    result: Tensor = _ChosenLogProbs.apply(hidden, weight, bias, actions, legal, temperature, dtype)  # type: ignore[no-untyped-call] # torch's is
    return result


def _chunks(count: int, vocabulary: int) -> list[slice]:
    size = max(1, _CHUNK_NUMBERS // vocabulary)
    return [slice(start, start + size) for start in range(0, count, size)]


class _Layer:
    """The output layer in the dtype of its products, with the mask and temperature of an action."""

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        legal: Tensor,
        temperature: float,
        dtype: torch.dtype,
    ) -> None:
        self.matrix, self._temperature = weight.to(dtype), temperature
        self._offset = None if bias is None else bias.to(dtype)
        self._legal, self._size = legal, len(weight)
        # One mask for all, and nothing else to do, comes with the product for free.
        self._is_added = legal.dtype == torch.bool and temperature == 1
        if self._is_added:
            start = torch.zeros_like(self.matrix[:, 0]) if self._offset is None else self._offset
            self._offset = start.masked_fill(~legal, -torch.inf)

    def shaped(self, states: Tensor, rows: slice) -> Tensor:
        """What the softmax is taken of, ``(rows, V)``; see ``shape_logits``."""
        logits = F.linear(states, self.matrix, self._offset)
        if self._is_added:
            return logits
        legal = self._legal
        if legal.dtype != torch.bool:
            legal = unpack_mask(legal[rows], self._size)
        return shape_logits(logits, legal, self._temperature)


class _ChosenLogProbs(torch.autograd.Function):
    """Forward and backward, chunk by chunk."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        actions: Tensor,
        legal: Tensor,
        temperature: float,
        dtype: torch.dtype,
    ) -> Tensor:
        """Keeps what it was given, and nothing of what it computes."""
        ctx.save_for_backward(hidden, weight, bias, actions, legal)
        ctx.temperature, ctx.dtype = temperature, dtype
        chosen = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
        layer = _Layer(weight, bias, legal, temperature, dtype)
        for rows in _chunks(len(hidden), len(weight)):
            shaped = layer.shaped(hidden[rows].to(dtype), rows)
            every = shaped.log_softmax(dim=-1, dtype=torch.float32)
            chosen[rows] = every.gather(-1, actions[rows, None]).squeeze(-1)
        return chosen

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """``d log p(a) / d logit = (1[a] - p) / temperature``."""
        hidden, weight, bias, actions, legal = ctx.saved_tensors
        layer = _Layer(weight, bias, legal, ctx.temperature, ctx.dtype)
        for_hidden = torch.empty_like(hidden)
        # Where adapters learn the output layer does not, and its gradient is the widest product.
        for_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        for_bias = None if bias is None else torch.zeros_like(bias)
        for rows in _chunks(len(hidden), len(weight)):
            states = hidden[rows].to(ctx.dtype)
            scale = (gradient[rows, None] / ctx.temperature).float()
            flow = layer.shaped(states, rows).softmax(dim=-1, dtype=torch.float32).mul_(-scale)
            flow.scatter_add_(-1, actions[rows, None], scale)
            narrow = flow.to(ctx.dtype)
            for_hidden[rows] = (narrow @ layer.matrix).to(hidden.dtype)
            if for_weight is not None:
                for_weight += narrow.T @ states
            if for_bias is not None:
                for_bias += flow.sum(dim=0).to(for_bias.dtype)
        return for_hidden, for_weight, for_bias, None, None, None, None
