"""Few runs of a random method: their middle, how sure it is, and what they could have shown.

A run with another seed is the replicate; prompts inside a run are no further ones. Five runs are
few, and an interval by plain percentiles of resamples is then far too narrow: of three normal
values it holds the mean in seven cases of ten. Here the resamples give the standard error alone,
widened by what they lose with so few values, and Student's t gives the factor. For the mean of
three or more normal values that is the classical interval, and coverage is simulated in the tests.

Sources: the interquartile mean, resampling inside strata, profiles and the probability of
improvement, Agarwal et al. (2021); what resamples lose with few values, Hesterberg (2015); the
interval of a probability of improvement, Hanley and McNeil's variance as Newcombe (2006) solves it.

Simplification: intervals of means are symmetric.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from textgym.statistics.bootstrap import REPETITIONS, Estimate, finite_values, tails
from textgym.statistics.proportions import wilson_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "FEWEST_SEEDS",
    "improvement",
    "interquartile_mean",
    "profile",
    "seed_interval",
    "smallest_difference",
]

FEWEST_SEEDS = 3
"""Fewer runs have no interval: two say next to nothing of how far a third would be off."""

_TRIMMED = 0.25
_POWER = 0.8
_HALVINGS = 60  # of the place of an end, down to the last digit


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


def profile(
    strata: Sequence[ArrayLike], levels: Sequence[float], confidence: float = 0.95
) -> list[Estimate]:
    """The share of runs that are above each level, which shows all of them and not a middle alone.

    Args:
        strata: The values of each condition's runs; all of them are counted together.
        levels: Values, ``(L,)``.
        confidence: How often Wilson's interval of each share shall hold it, in (0, 1).

    Returns:
        ``(L,)`` shares in [0, 1]; with fewer than three runs their interval is [0, 1].

    Raises:
        ValueError: If there is no run, or one is not finite.
    """
    runs = np.concatenate([finite_values(each, "runs", at_least=1) for each in strata])
    found = []
    for level in levels:
        above = int((runs > level).sum())
        low, high = 0.0, 1.0
        if len(runs) >= FEWEST_SEEDS:
            low, high = wilson_interval(above, len(runs), confidence)
        found.append(Estimate(value=above / len(runs), low=low, high=high))
    return found


def improvement(
    first: Sequence[ArrayLike], second: Sequence[ArrayLike], confidence: float = 0.95
) -> Estimate:
    """How likely a run of the one is above a run of the other, a tie half, mean over strata.

    A share of resamples would be certain where five runs are above five others; here an end is the
    probability that lies just as far from what was seen as its own error allows.

    Args:
        first: The values of each stratum's runs, such as those of each agent.
        second: Those of the other, in the same order of strata.
        confidence: How often the interval shall hold the probability, in (0, 1).

    Raises:
        ValueError: If strata are not as many, there is none, or one has fewer than three runs.
    """
    if len(first) != len(second) or not len(first):
        raise ValueError(f"{len(first)} and {len(second)} strata: give as many of both, at least 1")
    pairs = [
        tuple(finite_values(runs, "runs", at_least=FEWEST_SEEDS) for runs in both)
        for both in zip(first, second, strict=True)
    ]
    shares = [float((np.sign(x[:, None] - y).mean() + 1) / 2) for x, y in pairs]
    value = float(np.mean(shares))
    normal = _student(math.inf, tails(confidence)[1])
    counts = [(len(x), len(y)) for x, y in pairs]
    low, high = (_furthest(value, side, normal, counts) for side in (0.0, 1.0))
    return Estimate(value=value, low=low, high=high)


def _furthest(value: float, side: float, normal: float, counts: Sequence[tuple[int, int]]) -> float:
    """The probability nearest to one side that what was seen still goes with, by halving."""
    near, far = value, side
    for _ in range(_HALVINGS):
        middle = (near + far) / 2
        if (middle - value) ** 2 <= normal**2 * _variance(middle, counts):
            near = middle
        else:
            far = middle
    return near


def _variance(share: float, counts: Sequence[tuple[int, int]]) -> float:
    """Of a mean over strata of shares of pairs, of which each value is in many."""
    total = 0.0
    for one, other in counts:
        more = (one + other) / 2 - 1
        spread = 1 + more * (1 - share) / (2 - share) + more * share / (1 + share)
        total += share * (1 - share) * spread / (one * other)
    return total / len(counts) ** 2


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
