"""How a reward orders texts that people rated one by one, with intervals that draw texts anew.

Two texts are taken to be comparable whatever their prompts, since ratings share one scale. No pair
is ever made of them: N texts have N (N - 1) / 2, which are far from independent.

Simplification: percentile intervals; of fewer than some thirty texts they are too narrow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import kendalltau, rankdata

from textgym.statistics.bootstrap import Estimate, cluster_interval

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from numpy.typing import ArrayLike, NDArray

    Statistic = Callable[[NDArray[np.float64], NDArray[np.float64]], float]

__all__ = ["RatingReport", "evaluate_ratings", "order_share"]

_REPETITIONS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class RatingReport:
    """What scores are worth beside ratings of the same texts.

    Attributes:
        correlation: Spearman's rank correlation, in [-1, 1].
        order: The share of pairs of texts with different ratings that the scores order alike, equal
            scores one half: the area under the ROC curve where there are two ratings.
    """

    correlation: Estimate
    order: Estimate


def evaluate_ratings(
    scores: ArrayLike,
    ratings: ArrayLike,
    clusters: Sequence[Hashable],
    rng: np.random.Generator,
    repetitions: int = _REPETITIONS,
) -> RatingReport:
    """Holds scores against ratings.

    Args:
        scores: ``(N,)``.
        ratings: ``(N,)``, not all alike.
        clusters: What the intervals draw, such as the prompt, or the text if there is none,
            ``(N,)``.
        rng: What draws.
        repetitions: How many resamples.

    Raises:
        ValueError: If there are fewer than two clusters, or all scores or ratings are alike.
    """
    given, rated = np.asarray(scores, dtype=np.float64), np.asarray(ratings, dtype=np.float64)

    def estimate(statistic: Statistic) -> Estimate:
        low, high = cluster_interval(
            lambda rows: statistic(given[rows], rated[rows]), clusters, rng, repetitions
        )
        return Estimate(value=statistic(given, rated), low=low, high=high)

    return RatingReport(correlation=estimate(_correlation), order=estimate(order_share))


def order_share(scores: NDArray[np.float64], ratings: NDArray[np.float64]) -> float:
    """The share of pairs of texts with different ratings that the scores order alike.

    Args:
        scores: ``(N,)``; equal ones of a pair count one half.
        ratings: ``(N,)``.

    Returns:
        The share, counted in N log N steps; NaN where no two ratings differ.
    """
    whole = len(scores) * (len(scores) - 1) / 2
    different = whole - _tied(ratings)
    if not different:
        return np.nan
    apart = whole - _tied(scores)
    if not apart:
        return 0.5
    tau = float(kendalltau(scores, ratings, method="asymptotic").statistic)
    # Tau b is the surplus of pairs in order over this root.
    return 0.5 + tau * float(np.sqrt(different * apart)) / different / 2


def _tied(values: NDArray[np.float64]) -> float:
    counts = np.unique(values, return_counts=True)[1].astype(np.float64)
    return float((counts * (counts - 1) / 2).sum())


def _correlation(scores: NDArray[np.float64], ratings: NDArray[np.float64]) -> float:
    one, other = (rank - rank.mean() for rank in (rankdata(scores), rankdata(ratings)))
    spread = float(np.sqrt((one**2).sum() * (other**2).sum()))
    return float((one * other).sum()) / spread if spread else np.nan
