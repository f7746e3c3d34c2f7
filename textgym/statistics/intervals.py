"""PURE: how sure one can be of a share, a mean, a win rate, a difference.

Simplifications: values are taken as independent; completions of one prompt, or of one seed, are
not, so give one value per prompt or per seed. Intervals are per quantity: nothing is corrected for
looking at many of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import bootstrap, norm

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Estimate",
    "WinRate",
    "bootstrap_interval",
    "paired_difference",
    "wilson_interval",
    "win_rate",
]

# Numbers that one batch of resamples may hold: 32 MiB of float64 and as much of indices.
_BATCH_VALUES = 2**22


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number and its interval, all in the unit of the values.

    Attributes:
        value: The statistic of the values themselves.
        low: Lower end of the interval.
        high: Upper end.
    """

    value: float
    low: float
    high: float


def wilson_interval(successes: float, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of a share that stays inside [0, 1] and is never empty (Wilson 1927).

    Args:
        successes: How many, in [0, trials]; a tie may count one half.
        trials: Out of how many, at least 1.
        confidence: How often the interval holds the truth, in (0, 1).

    Returns:
        The lower and the upper end.

    Raises:
        ValueError: If the counts are impossible or the confidence is none.
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(
            f"{successes} successes out of {trials} trials are impossible: "
            "give at least one trial, and between none and all of them as successes"
        )
    z = float(norm.ppf((1 + _checked_confidence(confidence)) / 2))
    share = successes / trials
    centre = share + z**2 / (2 * trials)
    spread = z * math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    scale = 1 + z**2 / trials
    # At the ends centre and spread are equal on paper, but not in floating point.
    low = 0.0 if successes == 0 else (centre - spread) / scale
    high = 1.0 if successes == trials else (centre + spread) / scale
    return low, high


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


def bootstrap_interval(
    values: ArrayLike,
    rng: np.random.Generator,
    statistic: Callable[..., Any] = np.mean,
    repetitions: int = 10_000,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a statistic (Efron 1979).

    With few values it is too narrow: for the mean of N, by a factor of about ``sqrt(1 - 1 / N)``.

    Args:
        values: ``(N,)``, at least two of them.
        rng: What draws the resamples; the same state gives the same interval.
        statistic: From ``(N,)`` to a number; called with ``axis=-1`` if it has such a parameter.
        repetitions: How many resamples.
        confidence: How often the interval shall hold the truth, in (0, 1).

    Returns:
        The lower and the upper end.

    Raises:
        ValueError: If there are fewer than two values or one is not finite.
    """
    given = _checked_values(values, "values", at_least=2)
    result = bootstrap(
        (given,),
        statistic,
        n_resamples=repetitions,
        batch=max(1, _BATCH_VALUES // len(given)),
        confidence_level=_checked_confidence(confidence),
        method="percentile",
        rng=rng,
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


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
    left = _checked_values(candidate, "candidate", at_least)
    right = _checked_values(baseline, "baseline", at_least)
    if left.shape != right.shape:
        raise ValueError(
            f"candidate has {len(left)} values and baseline {len(right)}: "
            "give both for the same prompts, in the same order"
        )
    return left - right


def _checked_values(values: ArrayLike, name: str, at_least: int) -> NDArray[np.float64]:
    given = np.asarray(values, dtype=np.float64)
    if given.ndim != 1 or len(given) < at_least:
        raise ValueError(
            f"{name} has shape {given.shape}: give one dimension with {at_least} or more values"
        )
    if not np.isfinite(given).all():
        row = int(np.argmin(np.isfinite(given)))
        raise ValueError(f"{name}[{row}] is {given[row]}: leave out or mend what is not finite")
    return given


def _checked_confidence(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}: give a share between 0 and 1, such as 0.95")
    return confidence
