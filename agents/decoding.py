"""PURE: from logits to a distribution over legal actions, and from that to an action.

The same ``action_log_probs`` serves the sampler, the update and the reference, so that a ratio or a
KL divergence never compares two different distributions. Log-probabilities are float32 whatever
the model computes in.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["action_log_probs", "draw", "invert"]


def action_log_probs(logits: Tensor, legal: Tensor, temperature: float) -> Tensor:
    """The log-probabilities of all actions under mask and temperature.

    Args:
        logits: ``(..., V)`` of any floating dtype; not modified.
        legal: Bools that broadcast to ``(..., V)``, at least one true in every row.
        temperature: Divides the logits, above 0. Very small values give the greedy policy without
            overflow, since the largest logit is subtracted first.

    Returns:
        ``(..., V)`` float32; minus infinity at illegal actions.
    """
    masked = logits.float().masked_fill(~legal, -torch.inf)
    shifted = masked - masked.amax(dim=-1, keepdim=True)
    return torch.log_softmax(shifted / temperature, dim=-1)


def draw(log_probs: Tensor, generator: torch.Generator) -> Tensor:
    """Draws one action a row by inverting the cumulative distribution.

    One uniform number a row, against one exponential a vocabulary entry in ``torch.multinomial``,
    which on a CPU costs more than the rest of a small model's decoding step.

    Args:
        log_probs: ``(N, V)`` from ``action_log_probs``.
        generator: The sampler's own generator, on the device of ``log_probs``.

    Returns:
        ``(N,)`` int64 actions; an action of probability 0 is never drawn.
    """
    uniform = torch.rand(len(log_probs), generator=generator, device=log_probs.device)
    return invert(log_probs.exp(), uniform)


def invert(probs: Tensor, uniform: Tensor) -> Tensor:
    """Turns one uniform number a row into an action, by the cumulative distribution.

    Args:
        probs: ``(N, V)`` of any floating dtype, positive somewhere in every row.
        uniform: ``(N,)`` of the same dtype, in [0, 1).

    Returns:
        ``(N,)`` int64; an action of probability 0 is never returned.
    """
    cumulative = probs.cumsum(dim=-1)
    total = cumulative[:, -1:]
    # Rounding may carry the product up to the total, beyond which no action lies.
    below = torch.nextafter(total, torch.zeros_like(total))
    threshold = torch.minimum(uniform[:, None] * total, below)
    return torch.searchsorted(cumulative, threshold, right=True).squeeze(-1)
