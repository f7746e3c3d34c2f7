"""Log-probabilities and entropies of actions, in memory that does not grow with the vocabulary.

The output layer is the widest of a small model: for N texts of C actions its logits are N x C x V
numbers. Here they exist for a few hundred actions at a time. On a CPU that keeps the temporaries of
a small vocabulary small enough for the allocator to reuse them; with a large one, fewer actions
would read the whole weight again and again for little work, and on a GPU so would hundreds. The
backward pass needs all of the logits again: a fixed number is kept for it, which is enough for all
of a small model's, and the rest is computed a second time.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import Any, NamedTuple

import torch
from torch import Tensor

from agents.forward.output_product import OutputProduct
from agents.maths.distributions import shape_logits
from agents.maths.masks import unpack_mask

__all__ = ["chosen_log_probs"]

_CHUNK_BYTES = {"cpu": 2**23}  # of float32 logits: 8 MiB a temporary
_CHUNK_BYTES_ELSEWHERE = 2**28  # a GPU is slow on small products, and has no such allocator
_FEWEST_ACTIONS = 128  # of a chunk, whatever they take: each chunk reads the whole weight
_FLOAT32_BYTES = 4
_LOG_OF_NOTHING = -120.0  # float32 has no number so small as its power of e
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
        legal: ``(V,)`` bool, or for each action, packed by ``pack_mask``, ``(M, ceil(V / 8))``, or
            by ``pack_ids``, ``(M, K)``.
        temperature: Divides the logits.
        entropies: Whether to give those of the distributions as well.

    Returns:
        Log-probabilities, and the entropies in nats or ``None``, ``(M,)`` float32, with gradients
        for ``hidden``, ``weight`` and ``bias``. Under autocast the operands of the matrix products
        are rounded to bfloat16; their results and all else are float32.
    """
    kind = hidden.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
    log_probs, their_entropies = _ChosenLogProbs.apply(  # type: ignore[no-untyped-call] # torch's is
        hidden,
        weight,
        bias,
        actions,
        legal,
        _Settings(temperature, dtype, entropies, _KEPT_NUMBERS if torch.is_grad_enabled() else 0),
    )
    return log_probs, their_entropies if entropies else None


def _chunks(count: int, vocabulary: int, device: torch.device) -> list[slice]:
    most = _CHUNK_BYTES.get(device.type, _CHUNK_BYTES_ELSEWHERE)
    size = max(_FEWEST_ACTIONS, most // (_FLOAT32_BYTES * vocabulary))
    return [slice(start, start + size) for start in range(0, count, size)]


class _MaskedOutputLayer:
    """The output layer with mask and temperature behind it."""

    def __init__(self, product: OutputProduct, legal: Tensor, temperature: float) -> None:
        self._product, self._legal, self._temperature = product, legal, temperature
        self._bias: Tensor | None = None
        # Where one mask holds for all actions and there is no temperature, it is part of the bias.
        if legal.dtype == torch.bool and temperature == 1:
            own = 0.0 if product.bias is None else product.bias
            self._bias = torch.where(legal, own, -torch.inf)

    def shaped_logits(self, states: Tensor, rows: slice) -> Tensor:
        """The logits that the softmax is taken of, ``(rows, V)``; see ``shape_logits``."""
        logits = self._product.logits(states, self._bias)
        if self._bias is not None:
            return logits
        legal = self._legal
        if legal.dtype != torch.bool:
            legal = unpack_mask(legal[rows], logits.shape[-1])
        return shape_logits(logits, legal, self._temperature)


class _Settings(NamedTuple):
    """The arguments that have no gradient."""

    temperature: float
    dtype: torch.dtype
    """Of the operands of the matrix products."""
    entropies: bool
    """Whether to give them."""
    most_kept: int
    """How many log-probabilities to keep for the backward pass."""


def _finite(log_probs: Tensor) -> Tensor:
    """Log-probabilities by which a probability of 0 can be multiplied, a copy."""
    return log_probs.clamp(min=_LOG_OF_NOTHING)


class _ChosenLogProbs(torch.autograd.Function):
    """The forward and the backward pass, chunk by chunk."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        actions: Tensor,
        legal: Tensor,
        settings: _Settings,
    ) -> tuple[Tensor, Tensor]:
        """Keeps its inputs for the backward pass, and as many log-probabilities as it may."""
        chosen, entropies = (torch.zeros(len(hidden), device=hidden.device) for _ in range(2))
        product = OutputProduct(weight, bias, settings.dtype)
        layer = _MaskedOutputLayer(product, legal, settings.temperature)
        kept, may_keep = list[Tensor](), settings.most_kept
        for rows in _chunks(len(hidden), len(weight), hidden.device):
            log_probs = layer.shaped_logits(hidden[rows], rows).log_softmax(dim=-1)
            chosen[rows] = log_probs.gather(-1, actions[rows, None]).squeeze(-1)
            if settings.entropies:
                entropies[rows] = -(log_probs.exp() * _finite(log_probs)).sum(dim=-1)
            may_keep -= log_probs.numel()
            if may_keep >= 0:
                kept.append(log_probs)
        ctx.save_for_backward(hidden, weight, bias, actions, legal, entropies, *kept)
        ctx.settings = settings
        return chosen, entropies

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, for_entropies: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of log-probabilities and entropies H.

        ``d log p(a) / d logit = (1[a] - p) / temperature``, and
        ``d H / d logit = -p (log p + H) / temperature``.
        """
        hidden, weight, bias, actions, legal, entropies, *kept = ctx.saved_tensors
        temperature, dtype, with_entropies, _ = ctx.settings
        product = OutputProduct(weight, bias, dtype)
        layer = _MaskedOutputLayer(product, legal, temperature)
        for_hidden = torch.empty_like(hidden)
        # Where adapters learn the output layer does not, and its gradient is the widest product.
        for_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        for_bias = None if bias is None else torch.zeros_like(bias)
        chunks = _chunks(len(hidden), len(weight), hidden.device)
        for rows, known in zip_longest(chunks, kept):
            states = hidden[rows]
            scale = (gradient[rows, None] / temperature).float()
            log_probs = known
            if known is None:
                log_probs = layer.shaped_logits(states, rows).log_softmax(dim=-1)
            for_logits = log_probs.exp()
            if with_entropies:
                slopes = _finite(log_probs).add_(entropies[rows, None])
                slopes.mul_(-for_entropies[rows, None] / temperature)
                for_logits.mul_(slopes.sub_(scale))
            else:
                for_logits.mul_(-scale)
            for_logits.scatter_add_(-1, actions[rows, None], scale)
            for_hidden[rows] = product.for_states(for_logits).to(hidden.dtype)
            if for_weight is not None:
                for_weight += product.for_weight(for_logits, states)
            if for_bias is not None:
                for_bias += for_logits.sum(dim=0).to(for_bias.dtype)
        return for_hidden, for_weight, for_bias, None, None, None
