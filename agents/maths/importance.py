"""Importance weights for actions that another function drew than the one that is updated.

A sampler that computes in bfloat16, or an engine of its own, draws from a policy that is slightly
another than the update's. ``log_ratio`` is ``log pi_update(a) - log pi_sampler(a)`` of an action
that the sampler drew, before any update, ``(N, C)`` float32.

Source: Ionides, "Truncated Importance Sampling" (2008); for language models Yao et al., "Your
Efficient RL Framework Secretly Brings You Off-Policy RL Training" (2025).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agents.maths.kl import LARGEST_LOG_RATIO

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["corrected", "effective_share", "largest_weight", "truncated_weights"]

_USUAL = 2.0


def truncated_weights(log_ratio: Tensor, cap: float) -> Tensor:
    """``min(pi_update / pi_sampler, cap)``: biased by what is cut off, of a bounded variance.

    Args:
        log_ratio: See above.
        cap: The largest weight, at least 1.

    Returns:
        Of the same shape, without gradients.
    """
    bounded = log_ratio.detach().clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO)
    return bounded.exp().clamp(max=cap)


def largest_weight(cap: float | None, *, is_own: bool) -> float | None:
    """The largest weight that is used; ``None`` where actions are not weighed.

    Args:
        cap: What is asked for.
        is_own: Whether the policy itself samples; an engine's actions are always weighed, at most
            by 2 if nothing else is asked for.
    """
    return _USUAL if cap is None and not is_own else cap


def corrected(advantages: Tensor, log_ratio: Tensor, cap: float | None) -> Tensor:
    """Advantages of actions that another function drew, times their importance weights.

    A surrogate is a sum of terms that are proportional to them, so each term is weighed.

    Args:
        advantages: ``(N, C)``, or ``(N, 1)`` of whole texts.
        log_ratio: See above; of whole texts where they are one action.
        cap: The largest weight; ``None`` leaves the advantages as they are.
    """
    return advantages if cap is None else advantages * truncated_weights(log_ratio, cap)


def effective_share(count: float, total: float, squares: float) -> float:
    """The effective sample size of weighted actions, as a share of their number (Kish 1965).

    Args:
        count: Of actions, above 0.
        total: The sum of their weights, above 0.
        squares: The sum of their weights' squares.

    Returns:
        1 where all weights are equal; ``1 / count`` where one action has them all.
    """
    return total**2 / (count * squares)
