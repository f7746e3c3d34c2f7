"""How sure one can be of a share, by Wilson's interval.

Simplification: nothing is corrected for looking at many shares.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from textgym.statistics.bootstrap import cluster_mean_interval, tails
from textgym.statistics.linked import effective_trials, separate

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from numpy.typing import ArrayLike

__all__ = ["clustered_wilson", "share_interval", "wilson_interval"]


def wilson_interval(
    successes: float, trials: float, confidence: float = 0.95
) -> tuple[float, float]:
    """Interval of a share that stays inside [0, 1] and is never empty (Wilson 1927).

    Trials are taken as independent; see ``share_interval`` for those that are not.

    Args:
        successes: How many, in [0, trials]; a tie may count one half.
        trials: Out of how many, at least 1; no whole number where rows hang together.
        confidence: How often the interval holds the truth, in (0, 1).

    Returns:
        The lower and the upper end.

    Raises:
        ValueError: If the counts are impossible or the confidence is none.
    """
    from scipy.special import ndtri  # here, since scipy is slow to import

    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(
            f"{successes} successes out of {trials} trials are impossible: "
            "give at least one trial, and between none and all of them as successes"
        )
    z = float(ndtri(tails(confidence)[1]))
    share = successes / trials
    centre = share + z**2 / (2 * trials)
    spread = z * math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    scale = 1 + z**2 / trials
    # At the ends centre and spread are equal on paper, but not in floating point.
    low = 0.0 if successes == 0 else (centre - spread) / scale
    high = 1.0 if successes == trials else (centre + spread) / scale
    return low, high


def share_interval(
    values: ArrayLike, clusters: Sequence[Hashable], rng: np.random.Generator
) -> tuple[float, float]:
    """The 95 % interval of a share over rows of which some may belong together.

    Args:
        values: 1 for a success, 0 for none, between them for half a one, ``(N,)``.
        clusters: What each row belongs to, such as its prompt, ``(N,)``; a ``Link`` belongs to two.
        rng: What draws clusters.

    Returns:
        The lower and the upper end: by drawing clusters where several rows share one; Wilson's
        where each row has a cluster of its own, or all have the same one, which cannot be drawn,
        and where links leave nothing to draw but texts, see ``clustered_wilson``.

    Raises:
        ValueError: If there is no row.
    """
    given = np.asarray(values, dtype=np.float64)
    sets = separate(clusters)
    if sets is None:
        return clustered_wilson(given, clusters)
    if 1 < len(set(sets)) < len(sets):
        return cluster_mean_interval(given, sets, rng)
    return wilson_interval(float(given.sum()), len(given))


def clustered_wilson(values: ArrayLike, clusters: Sequence[Hashable]) -> tuple[float, float]:
    """Wilson's interval of a share, of as many independent rows as say as much as these.

    Args:
        values: As in ``share_interval``.
        clusters: As there.

    Raises:
        ValueError: If there is no row.
    """
    given = np.asarray(values, dtype=np.float64)
    if not len(given):
        raise ValueError("a share of no rows has no interval: give at least one")
    trials = effective_trials(given, clusters)
    return wilson_interval(min(trials, float(given.mean()) * trials), trials)
