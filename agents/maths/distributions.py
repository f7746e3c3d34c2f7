"""From logits to a distribution over legal actions, and from that to an action.

``shape_logits`` is the one place where mask and temperature are applied; the sampler, the update
and the reference all call it, so that a ratio or a KL divergence never compares two different
distributions. What top-k and top-p keep is decided once, by the sampler. Everything is float32 from
the logits on, whatever the model computes in.

A is the number of actions to draw from: V ids, or K candidates.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "Sampling",
    "action_log_probs",
    "entropies_of",
    "invert",
    "kept_by",
    "sample",
    "shape_logits",
]

_BLOCK = 64  # vocabulary entries


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How actions are drawn from a policy's logits."""

    temperature: float = 1.0
    """Divides the logits. Raise it for more varied texts; towards 0 it becomes greedy."""
    top_k: int | None = None
    """Keep only so many of the likeliest actions; None keeps all. Raise it for more variety."""
    top_p: float | None = None
    """Keep the likeliest actions that together have this probability; None keeps all. Raise it
    for more variety."""

    def __post_init__(self) -> None:
        """Checks the ranges.

        Raises:
            ValueError: If a setting is out of its range.
        """
        if not self.temperature > 0:
            raise ValueError(f"temperature must be above 0, got {self.temperature}")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k must be at least 1 or None, got {self.top_k}")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be in (0, 1] or None, got {self.top_p}")

    @property
    def keeps_all(self) -> bool:
        """Whether every legal action can be drawn."""
        return self.top_k is None and self.top_p in {None, 1.0}


def shape_logits(logits: Tensor, legal: Tensor, temperature: float) -> Tensor:
    """Applies mask and temperature.

    Args:
        logits: ``(..., A)`` of any floating dtype, finite; not modified.
        legal: Bools that broadcast to ``(..., A)``, at least one true in every row.
        temperature: Divides the logits, above 0. Very small values give the greedy policy without
            overflow, since the largest logit is subtracted first.

    Returns:
        ``(..., A)`` float32; minus infinity at illegal actions.
    """
    # A sum takes a fraction of the time that a masked_fill does on a CPU.
    masked = logits.float() + torch.where(legal, 0.0, -torch.inf)
    if temperature == 1:
        return masked
    return (masked - masked.amax(dim=-1, keepdim=True)) / temperature


def action_log_probs(logits: Tensor, legal: Tensor, temperature: float) -> Tensor:
    """The log-probabilities of all actions under mask and temperature; see ``shape_logits``.

    Returns:
        ``(..., A)`` float32; minus infinity at illegal actions.
    """
    return torch.log_softmax(shape_logits(logits, legal, temperature), dim=-1)


def entropies_of(log_probs: Tensor) -> Tensor:
    """The entropies of distributions, in nats, with finite gradients.

    Args:
        log_probs: ``(..., A)`` from ``action_log_probs``; minus infinity counts nothing.

    Returns:
        ``(...)`` float32.
    """
    finite = log_probs.masked_fill(log_probs == -torch.inf, 0.0)
    return -(finite.exp() * finite).sum(dim=-1)


def kept_by(shaped: Tensor, sampling: Sampling) -> Tensor:
    """Which actions top-k, and then top-p, keep.

    Args:
        shaped: ``(N, A)`` from ``shape_logits``.
        sampling: The limits. Actions as likely as the last one kept are kept as well.

    Returns:
        ``(N, A)`` bool, at least one true in every row, and false where illegal.
    """
    kept = shaped > -torch.inf
    if sampling.top_k is not None and sampling.top_k < shaped.shape[-1]:
        last = shaped.topk(sampling.top_k, dim=-1).values[..., -1:]
        kept = kept & (shaped >= last)
    if sampling.top_p is not None and sampling.top_p < 1:
        probs = shaped.masked_fill(~kept, -torch.inf).softmax(dim=-1)
        ordered = probs.sort(dim=-1, descending=True).values
        # An action is kept as long as the likelier ones do not reach top_p together.
        is_kept = (ordered.cumsum(dim=-1) - ordered) < sampling.top_p
        smallest = ordered.gather(-1, is_kept.sum(dim=-1, keepdim=True).clamp(min=1) - 1)
        kept = kept & (probs >= smallest)
    return kept


def sample(
    logits: Tensor, legal: Tensor, uniform: Tensor, sampling: Sampling
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Draws one action a row.

    Args:
        logits: ``(N, A)``.
        legal: ``(A,)`` or ``(N, A)`` bool.
        uniform: One number in [0, 1) a row, ``(N,)`` float32.
        sampling: Temperature and limits.

    Returns:
        Actions ``(N,)`` int64; their log-probabilities ``(N,)`` float32, under the very
        distribution they were drawn from; and which actions could be drawn, ``(N, A)`` bool, or
        ``None`` where those are just ``legal``.
    """
    shaped = shape_logits(logits, legal, sampling.temperature)
    kept = None
    if not sampling.keeps_all:
        kept = kept_by(shaped, sampling)
        shaped = shaped.masked_fill(~kept, -torch.inf)
    probs = shaped.softmax(dim=-1)
    action = invert(probs, uniform)
    return action, probs.gather(-1, action[:, None]).squeeze(-1).log(), kept


def invert(probs: Tensor, uniform: Tensor) -> Tensor:
    """Turns one uniform number a row into an action, by the cumulative distribution.

    That is one random number a row, where ``torch.multinomial`` draws one a vocabulary entry, which
    on a CPU costs more than the rest of a small model's decoding step. Sums run over blocks first,
    and then over the entries of a single block, since a cumulative sum is sequential and slow.

    Args:
        probs: ``(N, A)`` of any floating dtype, positive somewhere in every row.
        uniform: ``(N,)`` of the same dtype, in [0, 1).

    Returns:
        ``(N,)`` int64; an action of probability 0 is never returned.
    """
    missing = -probs.shape[-1] % _BLOCK
    padded = F.pad(probs, (0, missing)) if missing else probs
    blocks = padded.view(len(padded), -1, _BLOCK)
    sums = blocks.sum(dim=-1)
    block, rest = _first_beyond(sums, uniform * sums.sum(dim=-1))
    rows = torch.arange(len(probs), device=probs.device)
    entry, _ = _first_beyond(blocks[rows, block], rest)
    return block * _BLOCK + entry


def _first_beyond(weights: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Where the cumulative sum first exceeds ``target``, and by how much it was short before.

    Args:
        weights: ``(N, K)``, not negative, and positive somewhere in every row.
        target: ``(N,)``, not negative.

    Returns:
        ``(N,)`` int64 and ``(N,)``; the weight there is positive.
    """
    cumulative = weights.cumsum(dim=-1)
    # Rounding may carry the target up to the total, which no cumulative sum exceeds.
    total = cumulative[:, -1]
    target = torch.minimum(target, torch.nextafter(total, torch.zeros_like(total)))[:, None]
    index = torch.searchsorted(cumulative, target, right=True)
    before = (cumulative - weights).gather(-1, index)
    return index.squeeze(-1), (target - before).clamp(min=0).squeeze(-1)
