"""How far a policy has moved from its reference, and what that should cost.

``log_ratio`` is always ``log pi(a) - log pi_ref(a)`` for an action drawn from ``pi``. The
estimators are the three of Schulman's note "Approximating KL divergence" (2020).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "ESTIMATORS",
    "LARGEST_LOG_RATIO",
    "adapted_coefficient",
    "k1",
    "k2",
    "k3",
    "sequence_kl",
]

LARGEST_LOG_RATIO = 20.0
"""Nats beyond which no ratio of probabilities is formed: e^20 is 5e8, and one action's gradient
would be all that is left of a minibatch's."""

_LARGEST_ERROR = 0.2  # Ziegler et al. 2019, section 2.2


def k1(log_ratio: Tensor) -> Tensor:
    """``log pi - log pi_ref``: unbiased, may be negative for one sample."""
    return log_ratio


def k2(log_ratio: Tensor) -> Tensor:
    """``(log pi - log pi_ref)**2 / 2``: never negative, biased, low variance near the reference."""
    return log_ratio.square() / 2


def k3(log_ratio: Tensor) -> Tensor:
    """``exp(-log_ratio) - 1 + log_ratio``: never negative, unbiased.

    Below minus ``LARGEST_LOG_RATIO`` it rises no more, and has no gradient: float32 ends at e^88.
    """
    bounded = log_ratio.clamp(min=-LARGEST_LOG_RATIO)
    return torch.expm1(-bounded) + bounded


ESTIMATORS: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {"k1": k1, "k2": k2, "k3": k3}
)
"""The estimators by name."""


def sequence_kl(log_ratio: Tensor, mask: Tensor) -> Tensor:
    """The KL divergence of whole completions: k1 summed over a row, averaged over rows, in nats.

    Args:
        log_ratio: ``(N, C)``.
        mask: ``(N, C)`` bools, true where an action was taken.

    Returns:
        A scalar. It is the quantity that KL targets and gates in the literature speak of: a sum
        over tokens, not a mean per token.
    """
    return torch.where(mask, log_ratio, 0.0).sum(dim=1).mean()


def adapted_coefficient(coefficient: float, kl: float, *, target: float, gain: float) -> float:
    """The KL coefficient of the next iteration: higher if ``kl`` is above target, lower if below.

    Ziegler et al. 2019, section 2.2: ``coefficient * (1 + gain * error)``, where the error is
    ``kl / target - 1``, clipped to 0.2 either way, so that one odd batch cannot move it far.

    Args:
        coefficient: This iteration's.
        kl: Its sequence KL, in nats.
        target: The sequence KL to hold, above 0.
        gain: How fast to follow; the paper's is 0.1, over thousands of iterations.
    """
    error = max(-_LARGEST_ERROR, min(_LARGEST_ERROR, kl / target - 1))
    return coefficient * (1 + gain * error)
