"""PURE: intervals of what is measured on texts that share prompts.

Completions of one prompt are alike, so drawing texts anew makes an interval too narrow. What is
drawn here are whole prompts, with all that belongs to them.

Simplification: percentile intervals (Efron 1979), a little narrow where prompts are few.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = ["REPETITIONS", "cluster_interval", "cluster_mean_interval", "resamples"]

REPETITIONS = 2000
_FEWEST = 2
_BATCH_VALUES = 2**22  # counts in one batch of resamples: 32 MiB


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
        clusters: What each row belongs to, such as its prompt, ``(N,)``.
        rng: What draws; the same state gives the same interval.
        repetitions: How many resamples.
        confidence: How often the interval shall hold the truth, in (0, 1).

    Returns:
        The lower and the upper end.

    Raises:
        ValueError: If there are fewer than two clusters, or not as many of them as values.
    """
    given = np.asarray(values, dtype=np.float64)
    number = _numbered(clusters, len(given))
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
        clusters: What each row belongs to, ``(N,)``.
        rng: What draws.
        repetitions: How many resamples.
        confidence: How often the interval shall hold the truth, in (0, 1).

    Returns:
        The lower and the upper end.

    Raises:
        ValueError: If there are fewer than two clusters, or the statistic is never finite.
    """
    number = _numbered(clusters, len(clusters))
    order, sizes = np.argsort(number, kind="stable"), np.bincount(number)
    starts = np.cumsum(sizes) - sizes
    values = np.empty(repetitions)
    for repetition in range(repetitions):
        drawn = rng.integers(0, len(sizes), size=len(sizes))
        ends = np.cumsum(sizes[drawn])
        # The place of each row in ``order``: its cluster's start, and how far into it the row is.
        into = np.arange(ends[-1]) - np.repeat(ends - sizes[drawn], sizes[drawn])
        values[repetition] = statistic(order[np.repeat(starts[drawn], sizes[drawn]) + into])
    finite = values[np.isfinite(values)]
    if not len(finite):
        raise ValueError("the statistic has no value in any resample: give more varied rows")
    return _percentiles(finite, confidence)


def resamples(clusters: int, rng: np.random.Generator, repetitions: int) -> NDArray[np.float64]:
    """Draws how often each cluster occurs in each resample, ``(repetitions, clusters)``."""
    shares = np.full(clusters, 1 / clusters)
    return rng.multinomial(clusters, shares, size=repetitions).astype(np.float64)


def _numbered(clusters: Sequence[Hashable], rows: int) -> NDArray[np.intp]:
    """Numbers the clusters in the order in which they first occur."""
    if len(clusters) != rows:
        raise ValueError(f"{rows} values came with {len(clusters)} clusters: give one each")
    first: dict[Hashable, int] = {}
    number = np.array([first.setdefault(cluster, len(first)) for cluster in clusters], np.intp)
    if len(first) < _FEWEST:
        raise ValueError(
            f"an interval needs two prompts or more, and there are {len(first)}: give more prompts"
        )
    return number


def _percentiles(values: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}: give a share between 0 and 1, such as 0.95")
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
