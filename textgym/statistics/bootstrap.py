"""Intervals by drawing anew what was measured (Efron 1979).

Completions of one prompt are alike, so drawing texts anew makes an interval too narrow. What is
drawn here are independent values, or whole prompts with all that belongs to them.

Comparisons without prompts are drawn by their texts, see ``textgym.statistics.linked``.

Simplification: percentile intervals, a little narrow where values or prompts are few.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from textgym.statistics.linked import linked_draws, linked_mean_interval, separate

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "REPETITIONS",
    "Estimate",
    "bootstrap_interval",
    "cluster_interval",
    "cluster_mean_interval",
    "finite_values",
    "resamples",
    "tails",
    "weighted_interval",
]

REPETITIONS = 2000
_FEWEST = 2
_BATCH_VALUES = 2**22  # numbers that one batch of resamples may hold: 32 MiB of float64
_TAILS = 0.025, 0.975


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


def bootstrap_interval(
    values: ArrayLike,
    rng: np.random.Generator,
    statistic: Callable[..., Any] = np.mean,
    repetitions: int = 10_000,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Interval of a statistic of independent values, by drawing values with replacement.

    With few values it is too narrow: for the mean of N, by a factor of about ``sqrt(1 - 1 / N)``.

    Args:
        values: ``(N,)``, at least two of them; one a prompt, or one a seed.
        rng: What draws the resamples; the same state gives the same interval.
        statistic: From ``(N,)`` to a number; called with ``axis=-1`` if it has such a parameter.
        repetitions: How many resamples.
        confidence: How often the interval shall hold the truth, in (0, 1).

    Returns:
        The lower and the upper end.

    Raises:
        ValueError: If there are fewer than two values or one is not finite.
    """
    from scipy.stats import bootstrap  # here, since scipy is slow to import

    given = finite_values(values, "values", at_least=_FEWEST)
    tails(confidence)  # refuses what scipy would take
    result = bootstrap(
        (given,),
        statistic,
        n_resamples=repetitions,
        batch=max(1, _BATCH_VALUES // len(given)),
        confidence_level=confidence,
        method="percentile",
        rng=rng,
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def cluster_mean_interval(
    values: ArrayLike,
    clusters: Sequence[Hashable],
    rng: np.random.Generator,
    repetitions: int = REPETITIONS,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Interval of a mean over rows, by drawing clusters of rows with replacement.

    Args:
        values: ``(N,)``.
        clusters: What each row belongs to, such as its prompt, ``(N,)``; a ``Link`` belongs to two
            texts, see ``textgym.statistics.linked``.
        rng: What draws; the same state gives the same interval.
        repetitions: How many resamples.
        confidence: How often the interval shall hold the truth, in (0, 1).

    Returns:
        The lower and the upper end.

    Raises:
        ValueError: If there are fewer than two clusters, or not as many of them as values.
    """
    given = np.asarray(values, dtype=np.float64)
    _require_as_many(clusters, len(given))
    sets = separate(clusters)
    if sets is None:
        return linked_mean_interval(given, clusters, confidence)
    number = _numbered(sets)
    totals, sizes = np.bincount(number, given), np.bincount(number).astype(np.float64)
    means: list[NDArray[np.float64]] = []
    step = max(1, _BATCH_VALUES // len(totals))
    for start in range(0, repetitions, step):
        counts = resamples(len(totals), rng, min(step, repetitions - start))
        means.append((counts @ totals) / (counts @ sizes))
    return _percentiles(np.concatenate(means), confidence)


def cluster_interval(
    statistic: Callable[[NDArray[np.intp]], float],
    clusters: Sequence[Hashable],
    rng: np.random.Generator,
    repetitions: int = REPETITIONS,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Interval of any statistic of rows, by drawing clusters of rows with replacement.

    Args:
        statistic: From the numbers of the rows that were drawn, ``(M,)`` with repeats, to a number.
            A resample in which it is not finite, such as a correlation of equal values, is left
            out.
        clusters: What each row belongs to, ``(N,)``; of linked rows the texts are drawn.
        rng: What draws.
        repetitions: How many resamples.
        confidence: How often the interval shall hold the truth, in (0, 1).

    Returns:
        The lower and the upper end.

    Raises:
        ValueError: If there are fewer than two clusters, or the statistic is never finite.
    """
    sets = separate(clusters)
    drawn = linked_draws(clusters, rng) if sets is None else _drawn_sets(_numbered(sets), rng)
    rows = itertools.islice(drawn, repetitions)
    values = np.array([statistic(some) if len(some) else np.nan for some in rows])
    return _percentiles(_some(values[np.isfinite(values)]), confidence)


def weighted_interval(
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    units: int,
    rng: np.random.Generator,
    repetitions: int = REPETITIONS,
    *,
    interpolated: bool = True,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The 95 % interval of a statistic that weighs each unit by how often it was drawn.

    Args:
        statistic: From the counts of all resamples, ``(R, units)``, to the values of those M that
            have one: ``(M,)``, or ``(M, K)`` for K statistics at once.
        units: How many units, such as prompts or items, at least two.
        rng: What draws.
        repetitions: R, how many resamples.
        interpolated: Whether an end may lie between two of the values; False takes one of them,
            which infinite values need.

    Returns:
        The lower and the upper ends, ``()`` or ``(K,)`` each.

    Raises:
        ValueError: If there are fewer than two units, or no resample has a value.
    """
    if units < _FEWEST:
        raise ValueError(f"an interval needs two units or more to draw from, and there is {units}")
    values = _some(statistic(resamples(units, rng, repetitions)))
    low, high = np.quantile(
        values, _TAILS, axis=0, method="linear" if interpolated else "inverted_cdf"
    )
    return low, high


def resamples(clusters: int, rng: np.random.Generator, repetitions: int) -> NDArray[np.float64]:
    """Draws how often each cluster occurs in each resample, ``(repetitions, clusters)``."""
    shares = np.full(clusters, 1 / clusters)
    return rng.multinomial(clusters, shares, size=repetitions).astype(np.float64)


def tails(confidence: float) -> tuple[float, float]:
    """Returns which share of what was drawn lies below the lower and below the upper end.

    Raises:
        ValueError: If the confidence is not in (0, 1).
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}: give a share between 0 and 1, such as 0.95")
    return (1 - confidence) / 2, (1 + confidence) / 2


def finite_values(values: ArrayLike, name: str, at_least: int) -> NDArray[np.float64]:
    """Returns values as an array, ``(N,)`` float64.

    Args:
        values: The values.
        name: What a message calls them.
        at_least: How many there must be.

    Raises:
        ValueError: If there are fewer, there is more than one dimension, or one is not finite.
    """
    given = np.asarray(values, dtype=np.float64)
    if given.ndim != 1 or len(given) < at_least:
        raise ValueError(
            f"{name} has shape {given.shape}: give one dimension with {at_least} or more values"
        )
    if not np.isfinite(given).all():
        row = int(np.argmin(np.isfinite(given)))
        raise ValueError(f"{name}[{row}] is {given[row]}: leave out or mend what is not finite")
    return given


def _drawn_sets(number: NDArray[np.intp], rng: np.random.Generator) -> Iterator[NDArray[np.intp]]:
    """Draws whole sets of rows, again and again."""
    order, sizes = np.argsort(number, kind="stable"), np.bincount(number)
    starts = np.cumsum(sizes) - sizes
    while True:
        drawn = rng.integers(0, len(sizes), size=len(sizes))
        ends = np.cumsum(sizes[drawn])
        # The place of each row in ``order``: its cluster's start, and how far into it the row is.
        into = np.arange(ends[-1]) - np.repeat(ends - sizes[drawn], sizes[drawn])
        yield order[np.repeat(starts[drawn], sizes[drawn]) + into]


def _require_as_many(clusters: Sequence[Hashable], rows: int) -> None:
    if len(clusters) != rows:
        raise ValueError(f"{rows} values came with {len(clusters)} clusters: give one each")


def _numbered(clusters: Sequence[Hashable]) -> NDArray[np.intp]:
    """Numbers the clusters in the order in which they first occur."""
    first: dict[Hashable, int] = {}
    number = np.array([first.setdefault(cluster, len(first)) for cluster in clusters], np.intp)
    if len(first) < _FEWEST:
        raise ValueError(
            f"an interval needs two prompts or more, and there are {len(first)}: give more prompts"
        )
    return number


def _some(values: NDArray[np.float64]) -> NDArray[np.float64]:
    if not len(values):
        raise ValueError("the statistic has no value in any resample: give more varied rows")
    return values


def _percentiles(values: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    low, high = np.quantile(values, tails(confidence))
    return float(low), float(high)
