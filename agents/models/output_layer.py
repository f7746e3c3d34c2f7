"""Log-probabilities and entropies of actions, in memory that does not grow with the vocabulary.

The output layer is the widest of a small model: for N texts of C actions its logits are N x C x V
numbers. Here they exist for a few hundred actions at a time, which on a CPU also keeps the
temporaries small enough for the allocator to reuse them. The backward pass needs them all once
more: a fixed number of them is kept for it, which is all that there are of a small model, and the
rest is computed again.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from agents.maths.distributions import shape_logits, unpack_mask

__all__ = ["chosen_log_probs"]

_CHUNK_NUMBERS = 2**21  # of float32: 8 MiB a temporary
_KEPT_NUMBERS = 2**24  # for a backward pass: 64 MiB


def chosen_log_probs(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    actions: Tensor,
    legal: Tensor,
    temperature: float,
    *,
    entropies: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """The log-probabilities of the given actions under mask and temperature.

    Args:
        hidden: ``(M, width)``, the last hidden states before the actions.
        weight: The output layer's, ``(V, width)``.
        bias: The output layer's, ``(V,)``, if it has one.
        actions: ``(M,)`` int64.
        legal: ``(V,)`` bool, or for each action, packed by ``pack_mask``, ``(M, ceil(V / 8))``.
        temperature: Divides the logits.
        entropies: Whether to give those of the distributions as well.

    Returns:
        Log-probabilities, and the entropies in nats or ``None``, ``(M,)`` float32, with gradients
        for ``hidden``, ``weight`` and ``bias``. The matrix products run in bfloat16 under autocast;
        all else is float32.
    """
    kind = hidden.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
    chosen, uncertain = _ChosenLogProbs.apply(  # type: ignore[no-untyped-call] # torch's is
        hidden,
        weight,
        bias,
        actions,
        legal,
        _How(temperature, dtype, entropies, _KEPT_NUMBERS if torch.is_grad_enabled() else 0),
    )
    return chosen, uncertain if entropies else None


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


class _How(NamedTuple):
    """What is not differentiated by."""

    temperature: float
    dtype: torch.dtype
    entropies: bool
    most_kept: int
    """Log-probabilities for the backward pass."""


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
        how: _How,
    ) -> tuple[Tensor, Tensor]:
        """Keeps what it was given, and of what it computes as much as it may."""
        chosen, entropies = (torch.zeros(len(hidden), device=hidden.device) for _ in range(2))
        layer = _Layer(weight, bias, legal, how.temperature, how.dtype)
        kept, left = list[Tensor](), how.most_kept
        for rows in _chunks(len(hidden), len(weight)):
            shaped = layer.shaped(hidden[rows].to(how.dtype), rows)
            every = shaped.log_softmax(dim=-1, dtype=torch.float32)
            chosen[rows] = every.gather(-1, actions[rows, None]).squeeze(-1)
            if how.entropies:
                entropies[rows] = torch.special.entr(every.exp()).sum(dim=-1)
            left -= every.numel()
            if left >= 0:
                kept.append(every)
        ctx.save_for_backward(hidden, weight, bias, actions, legal, *kept)
        ctx.how = how
        return chosen, entropies

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, for_entropies: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of log-probabilities and entropies H.

        ``d log p(a) / d logit = (1[a] - p) / temperature``, and
        ``d H / d logit = -p (log p + H) / temperature``.
        """
        hidden, weight, bias, actions, legal, *kept = ctx.saved_tensors
        temperature, dtype, entropies, _ = ctx.how
        layer = _Layer(weight, bias, legal, temperature, dtype)
        for_hidden = torch.empty_like(hidden)
        # Where adapters learn the output layer does not, and its gradient is the widest product.
        for_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        for_bias = None if bias is None else torch.zeros_like(bias)
        for rows, every in zip_longest(_chunks(len(hidden), len(weight)), kept):
            states = hidden[rows].to(dtype)
            scale = (gradient[rows, None] / temperature).float()
            if every is None:
                probs = layer.shaped(states, rows).softmax(dim=-1, dtype=torch.float32)
            else:
                probs = every.exp()
            uncertain = torch.special.entr(probs) if entropies else None
            if uncertain is not None:
                uncertain.addcmul_(probs, uncertain.sum(dim=-1, keepdim=True), value=-1)
            flow = probs.mul_(-scale)
            flow.scatter_add_(-1, actions[rows, None], scale)
            if uncertain is not None:
                flow.addcmul_(uncertain, for_entropies[rows, None] / temperature)
            narrow = flow.to(dtype)
            for_hidden[rows] = (narrow @ layer.matrix).to(hidden.dtype)
            if for_weight is not None:
                for_weight += narrow.T @ states
            if for_bias is not None:
                for_bias += flow.sum(dim=0).to(for_bias.dtype)
        return for_hidden, for_weight, for_bias, None, None, None
