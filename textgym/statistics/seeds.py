"""Few runs of a random method: their middle, how sure it is, and what they could have shown.

A run with another seed is the replicate; prompts inside a run are no further ones. Five runs are
few, and an interval by plain percentiles of resamples is then far too narrow: of three normal
values it holds the mean in seven cases of ten. Here the resamples give the standard error alone,
widened by what they lose with so few values, and Student's t gives the factor. For the mean of
three or more normal values that is the classical interval, and coverage is simulated in the tests.

Sources: the interquartile mean and resampling inside strata, Agarwal et al. (2021); what resamples
lose with few values, Hesterberg (2015).

Simplification: intervals are symmetric.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from textgym.statistics.bootstrap import REPETITIONS, Estimate, finite_values, tails

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = ["FEWEST_SEEDS", "interquartile_mean", "seed_interval", "smallest_difference"]

FEWEST_SEEDS = 3
"""Fewer runs have no interval: two say next to nothing of how far a third would be off."""

_TRIMMED = 0.25
_POWER = 0.8


def interquartile_mean(values: ArrayLike) -> float:
    """The mean without the lowest and the highest quarter, of which the part is rounded down.

    Of fewer than four values it is the mean.

    Args:
        values: ``(N,)``, at least one.

    Raises:
        ValueError: If there is none, or one is not finite.
    """
    return float(_middle(finite_values(values, "values", at_least=1)))


def seed_interval(
    strata: Sequence[ArrayLike],
    rng: np.random.Generator,
    repetitions: int = REPETITIONS,
    confidence: float = 0.95,
) -> Estimate:
    """The interquartile mean of runs and its interval, by drawing runs inside each stratum.

    Args:
        strata: The values of each condition's runs, such as those of one learner, three or more.
        rng: What draws; the same state gives the same interval.
        repetitions: How many resamples.
        confidence: How often the interval shall hold the truth, in (0, 1).

    Raises:
        ValueError: If there is no stratum, one has fewer than three runs, or a value is not finite.
    """
    given = [finite_values(stratum, "runs", at_least=FEWEST_SEEDS) for stratum in strata]
    if not given:
        raise ValueError("there are no runs: give the values of one condition at least")
    drawn = [runs[rng.integers(0, len(runs), (repetitions, len(runs)))] for runs in given]
    middles = _middle(np.concatenate(drawn, axis=1))
    fewest = min(map(len, given))
    error = float(np.std(middles)) * math.sqrt(fewest / (fewest - 1))
    reach = error * _student(_freedom(given), tails(confidence)[1])
    value = float(_middle(np.concatenate(given)))
    return Estimate(value=value, low=value - reach, high=value + reach)


def smallest_difference(
    deviation: float, runs: int, power: float = _POWER, confidence: float = 0.95
) -> float:
    """The true mean difference that so many paired runs would have found, in the values' unit.

    By the power of Student's paired test, from the noncentral t distribution; that the test says
    the opposite of what is true is left out of it, which it hardly ever does.

    Args:
        deviation: The standard deviation of the differences between paired runs.
        runs: How many pairs, three or more.
        power: How often the test shall find it, in (0, 1).
        confidence: Of the test.

    Raises:
        ValueError: If there are fewer than three, or the deviation is negative or not finite.
    """
    from scipy.special import nctdtrinc

    if runs < FEWEST_SEEDS or not (math.isfinite(deviation) and deviation >= 0):
        raise ValueError(
            f"{runs} runs with a deviation of {deviation} have no smallest difference: give "
            f"{FEWEST_SEEDS} or more, and a deviation of 0 or above"
        )
    critical = _student(runs - 1, tails(confidence)[1])
    shift = float(nctdtrinc(runs - 1, 1 - power, critical))
    return shift * deviation / math.sqrt(runs)


def _middle(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The interquartile means of rows, over the last axis."""
    count = values.shape[-1]
    cut = int(_TRIMMED * count)
    return np.asarray(np.sort(values, axis=-1)[..., cut : count - cut].mean(axis=-1))


def _freedom(strata: Sequence[NDArray[np.float64]]) -> float:
    """Welch and Satterthwaite's degrees of freedom of a mean over strata."""
    errors = np.array([runs.var(ddof=1) / len(runs) for runs in strata])
    largest = errors.max()
    if not largest > 0:
        return float(sum(len(runs) - 1 for runs in strata))
    shares = errors / largest
    each = np.array([len(runs) - 1 for runs in strata])
    return float(shares.sum() ** 2 / (shares**2 / each).sum())


def _student(freedom: float, share: float) -> float:
    """What a share of Student's t lies below."""
    from scipy.special import stdtrit  # here, since scipy is slow to import

    return float(stdtrit(freedom, share))
