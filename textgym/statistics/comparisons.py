"""Two scores of each prompt held against each other: how often one wins, and by how much.

Simplifications: prompts are taken as independent, so give one value a prompt; intervals are per
quantity: nothing is corrected for looking at many of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from textgym.statistics.bootstrap import Estimate, bootstrap_interval, finite_values
from textgym.statistics.proportions import wilson_interval

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["WinRate", "paired_difference", "win_rate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WinRate:
    """How often one of two scores of the same prompt is the higher one.

    Attributes:
        rate: ``(wins + ties / 2) / N``, in [0, 1].
        low: Lower end of its Wilson interval.
        high: Upper end.
        wins: Rows where the candidate is higher.
        ties: Rows where both are equal.
        losses: Rows where the baseline is higher.
    """

    rate: float
    low: float
    high: float
    wins: int
    ties: int
    losses: int


def win_rate(candidate: ArrayLike, baseline: ArrayLike, confidence: float = 0.95) -> WinRate:
    """Compares two scores of each prompt; a tie is half a win.

    Args:
        candidate: Scores ``(N,)``, row n for prompt n.
        baseline: Scores ``(N,)`` of the same prompts in the same order.
        confidence: How often the interval holds the truth, in (0, 1).

    Raises:
        ValueError: If shapes differ, there is no row, or a score is not finite.
    """
    difference = _checked_pair(candidate, baseline, at_least=1)
    wins = int(np.sum(difference > 0))
    ties = int(np.sum(difference == 0))
    points = wins + ties / 2
    low, high = wilson_interval(points, len(difference), confidence)
    return WinRate(
        rate=points / len(difference),
        low=low,
        high=high,
        wins=wins,
        ties=ties,
        losses=len(difference) - wins - ties,
    )


def paired_difference(
    candidate: ArrayLike,
    baseline: ArrayLike,
    rng: np.random.Generator,
    repetitions: int = 10_000,
    confidence: float = 0.95,
) -> Estimate:
    """Mean of ``candidate - baseline`` over prompts, with a percentile bootstrap interval.

    Pairing takes out what makes prompts differ, which is most of the noise.

    Args:
        candidate: ``(N,)``, row n for prompt n, at least two rows.
        baseline: ``(N,)`` of the same prompts in the same order.
        rng: What draws the resamples.
        repetitions: How many resamples.
        confidence: How often the interval shall hold the truth, in (0, 1).

    Raises:
        ValueError: If shapes differ, there are fewer than two rows, or a value is not finite.
    """
    difference = _checked_pair(candidate, baseline, at_least=2)
    low, high = bootstrap_interval(difference, rng, repetitions=repetitions, confidence=confidence)
    return Estimate(value=float(difference.mean()), low=low, high=high)


def _checked_pair(candidate: ArrayLike, baseline: ArrayLike, at_least: int) -> NDArray[np.float64]:
    """Returns ``candidate - baseline``, ``(N,)``."""
    left = finite_values(candidate, "candidate", at_least)
    right = finite_values(baseline, "baseline", at_least)
    if left.shape != right.shape:
        raise ValueError(
            f"candidate has {len(left)} values and baseline {len(right)}: "
            "give both for the same prompts, in the same order"
        )
    return left - right
