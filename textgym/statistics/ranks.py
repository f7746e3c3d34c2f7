"""Ranks of methods, and rank correlations: what an order is worth that noise has had a hand in.

Sources: the interval of a rank from simultaneous comparisons, Mogstad et al. (2024); that of a rank
correlation, Bonett and Wright (2000).

Simplifications: differences of paired runs are taken as normal; each method's rank is covered by
itself, not all ranks at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from textgym.statistics.bootstrap import Estimate, tails
from textgym.statistics.seeds import FEWEST_SEEDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = ["FEWEST_RANKED", "RankInterval", "rank_correlation", "rank_intervals"]

FEWEST_RANKED = 5
"""Fewer items have no interval of their rank correlation: of four it reaches from -1 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankInterval:
    """Between which ranks a method may be; 1 is the highest value.

    Attributes:
        low: The best rank that the runs leave open.
        high: The worst.
    """

    low: int
    high: int


def rank_intervals(runs: ArrayLike, confidence: float = 0.95) -> list[RankInterval]:
    """Says of each method which ranks its runs leave open.

    A method is above another where Student's paired test of the runs that both have says so, at a
    level that is shared out among all that the one is compared with (Bonferroni). With fewer than
    three such runs the two are not told apart. So a method's true rank is in its interval at least
    as often as asked for.

    Args:
        runs: Values, ``(K, S)``: K methods with S runs each, paired by their column. What a failed
            run would have given is NaN.
        confidence: How often each interval shall hold the rank, in (0, 1).

    Raises:
        ValueError: If ``runs`` has another shape.
    """
    values = np.asarray(runs, dtype=np.float64)
    if values.ndim != 2:  # noqa: PLR2004 - methods and runs
        raise ValueError(f"runs have shape {values.shape}: give a row a method, a column a seed")
    methods = len(values)
    each = 1 - (1 - confidence) / max(1, methods - 1)
    intervals = []
    for method in range(methods):
        signs = [
            _told_apart(values[other] - values[method], each)
            for other in range(methods)
            if other != method
        ]
        intervals.append(RankInterval(low=1 + signs.count(1), high=methods - signs.count(-1)))
    return intervals


def rank_correlation(
    first: Sequence[float], second: Sequence[float], confidence: float = 0.95
) -> Estimate:
    """Spearman's correlation of two figures of the same items, and its interval.

    The interval is symmetric on Fisher's scale, where its error is ``sqrt((1 + r^2 / 2) / (N -
    3))``. A perfect order counts there as half a step of one neighbouring pair below 1.

    Args:
        first: ``(N,)``, five items or more.
        second: ``(N,)`` of the same items.
        confidence: How often the interval shall hold the truth, in (0, 1).

    Raises:
        ValueError: If there are fewer items, they are not as many, or all of one figure are equal.
    """
    from scipy.stats import spearmanr

    x, y = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    count = len(x)
    if x.shape != y.shape or count < FEWEST_RANKED:
        raise ValueError(
            f"{count} and {len(y)} values have no rank correlation with an interval: give two "
            f"figures of the same items, {FEWEST_RANKED} or more"
        )
    if not (np.ptp(x) > 0 and np.ptp(y) > 0):
        raise ValueError("all values of a figure are equal, so that there is nothing to rank")
    value = float(spearmanr(x, y).statistic)
    largest = 1 - 6 / (count**3 - count)
    centre = math.atanh(max(-largest, min(largest, value)))
    reach = math.sqrt((1 + value**2 / 2) / (count - 3)) * _normal(tails(confidence)[1])
    return Estimate(value=value, low=math.tanh(centre - reach), high=math.tanh(centre + reach))


def _told_apart(difference: NDArray[np.float64], confidence: float) -> int:
    """1 where runs are above 0 beyond chance, -1 where below, 0 where that is open."""
    from scipy.special import stdtrit

    known = difference[np.isfinite(difference)]
    if len(known) < FEWEST_SEEDS:
        return 0
    reach = float(stdtrit(len(known) - 1, tails(confidence)[1])) * known.std(ddof=1)
    reach /= math.sqrt(len(known))
    return int(known.mean() > reach) - int(known.mean() < -reach)


def _normal(share: float) -> float:
    """What a share of the standard normal distribution lies below."""
    from scipy.special import ndtri

    return float(ndtri(share))
