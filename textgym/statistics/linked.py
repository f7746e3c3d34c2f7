"""PURE: rows that hang together by what they share, such as comparisons that share a text.

Of comparisons without prompts the texts are what was drawn. Where they hang together in many small
sets, the sets are drawn anew, as prompts are. In a tournament all hang together, and there is
nothing to draw but the texts: two comparisons move together where they share one, so that the
variance of a mean is the sum over such pairs of rows of what both are off (Aronow, Samii and
Assenova 2015, "Cluster-robust variance estimation for dyadic data").

Simplification: what is no mean has no such sum. There texts are drawn, and a row counts by the
product of its texts' counts (Owen 2007, "The pigeonhole bootstrap"): at most three times the
variance, where texts matter little, and the right one where they matter much.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Link",
    "connected",
    "effective_trials",
    "grouped",
    "linked_draws",
    "linked_mean_interval",
    "separate",
    "variance_of_mean",
]

_FEWEST_SETS = 20  # of rows that hang together, for sets to be drawn
_TAIL = 0.975
_LARGEST_SHARE = 0.1  # of all rows that one such set may have


class Link(NamedTuple):
    """What a row is drawn with that hangs on two things at once, such as the texts it compares."""

    first: Hashable
    second: Hashable


def connected(units: Sequence[Iterable[Hashable]]) -> list[int]:
    """Says which rows hang together: those that share a unit, and those that share one with them.

    Args:
        units: The units of each row, at least one, ``(N,)``.

    Returns:
        A number for each row, ``(N,)``, the same where rows hang together.
    """
    above: dict[Hashable, Hashable] = {}
    firsts: list[Hashable] = []

    def top(unit: Hashable) -> Hashable:
        above.setdefault(unit, unit)
        while above[unit] != unit:
            above[unit] = above[above[unit]]  # shortens the way for the next one who asks
            unit = above[unit]
        return unit

    for row in units:
        first, *others = map(top, row)
        for other in others:
            above[top(other)] = top(first)
        firsts.append(first)
    number: dict[Hashable, int] = {}
    return [number.setdefault(top(first), len(number)) for first in firsts]


def grouped(clusters: Sequence[Hashable]) -> list[int]:
    """Numbers what must stay together of each row, ``(N,)``: its cluster, or what its links reach.

    Args:
        clusters: What each row is drawn with, ``(N,)``: a cluster, or a ``Link``.
    """
    return connected([_units(cluster) for cluster in clusters])


def separate(clusters: Sequence[Hashable]) -> Sequence[Hashable] | None:
    """Turns links into sets of rows that hang together, where these can be drawn.

    Args:
        clusters: What each row is drawn with, ``(N,)``: a cluster, or a ``Link``.

    Returns:
        A cluster for each row, ``(N,)``; None where rows hang together so far that there are too
        few sets, or too large ones.
    """
    if not any(isinstance(cluster, Link) for cluster in clusters):
        return clusters
    sets = grouped(clusters)
    sizes = Counter(sets)
    if len(sizes) < _FEWEST_SETS or max(sizes.values()) > _LARGEST_SHARE * len(sets):
        return None
    return sets


def variance_of_mean(values: ArrayLike, clusters: Sequence[Hashable]) -> float:
    """The variance of a mean over rows of which two are independent unless they share a unit.

    Args:
        values: ``(N,)``.
        clusters: What each row is drawn with, ``(N,)``: a cluster, or a ``Link``.

    Returns:
        The variance; 0 where all values are equal.

    Raises:
        ValueError: If there are too few units: one, or four texts or fewer that all link rows.
    """
    given = np.asarray(values, dtype=np.float64)
    off = given - given.mean()
    places, of_link, links = _numbered(clusters)
    count = int(places.max()) + 1
    free = count - _used_up(places)
    if free <= 0:
        raise ValueError(
            f"an interval needs more texts or prompts to draw from than {count}: give more of them"
        )
    each = sum(np.bincount(place, off * mine, count) for place, mine in _sides(places))
    # Rows of the same two texts were counted for either of them.
    twice = np.bincount(of_link[of_link >= 0], off[of_link >= 0], max(1, links))
    total = float((np.asarray(each) ** 2).sum() - (twice**2).sum())
    if total <= 0:  # of few texts, by chance
        total = float((off**2).sum())
    # The mean itself is of these units, and takes from what each is off.
    return total / len(given) ** 2 * count / free


def linked_mean_interval(
    values: ArrayLike, clusters: Sequence[Hashable], confidence: float = 0.95
) -> tuple[float, float]:
    """Interval of a mean over rows that hang together by what they share.

    Args:
        values: ``(N,)``.
        clusters: As in ``variance_of_mean``.
        confidence: How often the interval shall hold the truth, in (0, 1).

    Returns:
        The lower and the upper end, by Student's quantile of as many units.

    Raises:
        ValueError: As ``variance_of_mean``.
    """
    from scipy.special import stdtrit  # here, since scipy is slow to import

    mean = float(np.mean(np.asarray(values, dtype=np.float64)))
    deviation = math.sqrt(variance_of_mean(values, clusters))
    places = _numbered(clusters)[0]
    free = int(places.max()) + 1 - _used_up(places)
    half = float(stdtrit(free, (1 + confidence) / 2)) * deviation
    return mean - half, mean + half


def effective_trials(values: ArrayLike, clusters: Sequence[Hashable]) -> float:
    """How many independent rows would say as much about a share as these do.

    Args:
        values: Between 0 and 1, ``(N,)``.
        clusters: As in ``variance_of_mean``.

    Returns:
        A number in [1, N]: where all values are equal, or there are too few units to say, of the
        clusters, or half as many as there are linked texts.
    """
    from scipy.special import ndtri, stdtrit  # here, since scipy is slow to import

    given = np.asarray(values, dtype=np.float64)
    places, _, links = _numbered(clusters)
    units = int(places.max()) + 1
    spread = float(given.mean()) * (1 - float(given.mean()))
    try:
        variance = variance_of_mean(given, clusters) if spread else 0.0
    except ValueError:
        variance = 0.0
    if variance:
        # A variance of few units is itself uncertain: Student's quantile in place of the normal's.
        wider = float(stdtrit(units - _used_up(places), _TAIL)) / float(ndtri(_TAIL))
        trials = spread / variance / wider**2
    else:
        trials = units / (2 if links else 1)
    return float(min(len(given), max(1.0, trials)))


def linked_draws(
    clusters: Sequence[Hashable], rng: np.random.Generator
) -> Iterator[NDArray[np.intp]]:
    """Draws units with replacement; each row comes as often as the product of its units' counts.

    Args:
        clusters: As in ``variance_of_mean``.
        rng: What draws.

    Yields:
        The rows' numbers, with repeats, without end.
    """
    places, _, _ = _numbered(clusters)
    count, rows = int(places.max()) + 1, np.arange(len(places))
    alone = places[:, 0] == places[:, 1]
    while True:
        drawn = np.bincount(rng.integers(0, count, size=count), minlength=count)
        first, second = drawn[places[:, 0]], drawn[places[:, 1]]
        yield np.repeat(rows, np.where(alone, first, first * second))


def _units(cluster: Hashable) -> tuple[Hashable, ...]:
    return tuple(cluster) if isinstance(cluster, Link) else ((cluster,),)


def _numbered(
    clusters: Sequence[Hashable],
) -> tuple[NDArray[np.intp], NDArray[np.intp], int]:
    """Numbers units, ``(N, 2)``, one twice where a row has one; and links, -1 where it has none."""
    number: dict[Hashable, int] = {}
    link: dict[frozenset[int], int] = {}
    places, of_link = [], []
    for cluster in clusters:
        units = _units(cluster)
        two = [number.setdefault(unit, len(number)) for unit in (units[0], units[-1])]
        places.append(two)
        of_link.append(-1 if two[0] == two[1] else link.setdefault(frozenset(two), len(link)))
    return np.array(places, np.intp).reshape(-1, 2), np.array(of_link, np.intp), len(link)


def _used_up(places: NDArray[np.intp]) -> float:
    """The square of how many units a row has on average: how many of them a mean takes up."""
    return float(1 + (places[:, 0] != places[:, 1]).mean()) ** 2


def _sides(places: NDArray[np.intp]) -> list[tuple[NDArray[np.intp], NDArray[np.float64]]]:
    """Each side of the rows, and which rows count there: one of a single unit counts once."""
    both = (places[:, 0] != places[:, 1]).astype(np.float64)
    return [(places[:, 0], np.ones(len(places))), (places[:, 1], both)]
