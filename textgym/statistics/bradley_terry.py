"""Ratings from comparisons of two, ties among them, and how sure their order is.

Bradley and Terry's model (1952) with Davidson's ties (1970): with ``d`` the difference of two
ratings, the first one wins in a share of ``e^(d/2) / (e^(d/2) + e^(-d/2) + nu)``, and a tie's share
has ``nu`` above the same sum. A rating is in units of log-odds; their mean is 0.

Ranks come with sets that hold all true ranks together (Mogstad, Romano, Shaikh and Wilhelm 2024):
one policy counts as better than another where their difference is beyond what the largest of all
differences, each in units of its own spread, reaches by drawing anew.

Simplifications: a weak pull towards equality keeps the rating of who never lost finite; nothing of
who compared or in which order enters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from textgym.statistics.bootstrap import REPETITIONS, Estimate, resamples
from textgym.statistics.linked import connected

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = ["Ratings", "expected_score", "fit_ratings", "maximum_likelihood", "rank_sets"]

_PULL = 1e-3  # of a squared rating in the log-likelihood; as if drawn with a spread of 32
_MOST_STEPS = 100
_LONGEST_STEP = 1.0
_CONVERGED = 1e-9
_FEWEST = 2
_TAILS = 0.025, 0.975
_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratings:
    """What P players are worth.

    Attributes:
        players: Their names, best first.
        ratings: In log-odds, mean 0, best first, each with its 95 % interval.
        ranks: The least and the greatest rank that each may have, from 1; the sets of all hold
            together with 95 %.
        ties: ``nu``: equals tie in a share of ``nu / (nu + 2)``; 0 where there is no tie.
        comparisons: How many comparisons each took part in.
    """

    players: list[str]
    ratings: list[Estimate]
    ranks: list[tuple[int, int]]
    ties: float
    comparisons: list[int]


def fit_ratings(
    first: Sequence[str],
    second: Sequence[str],
    outcomes: ArrayLike,
    clusters: Sequence[Hashable],
    rng: np.random.Generator,
    repetitions: int = REPETITIONS,
) -> Ratings:
    """Rates whoever was compared.

    Args:
        first: Names of the one, ``(N,)``.
        second: Names of the other, ``(N,)``.
        outcomes: 1 where the first won, 0 where the second did, .5 for a tie, ``(N,)``.
        clusters: What belongs together and is drawn together, such as the prompt, ``(N,)``.
        rng: What draws.
        repetitions: How many resamples.

    Raises:
        ValueError: If there are fewer than two players or clusters, a player meets itself, an
            outcome is none of the three, or the players fall into groups that never met.
    """
    given = np.asarray(outcomes, dtype=np.float64)
    names, one, other = _numbered(first, second, given)
    number = {cluster: place for place, cluster in enumerate(dict.fromkeys(clusters))}
    of = np.array([number[cluster] for cluster in clusters])
    if len(number) < _FEWEST:
        raise ValueError(
            f"an interval needs two prompts or more, and there are {len(number)}: give more prompts"
        )
    players = len(names)
    wins = np.zeros((len(number), players, players))
    ties = np.zeros_like(wins)
    np.add.at(wins, (of, one, other), (given == 1).astype(np.float64))
    np.add.at(wins, (of, other, one), (given == 0).astype(np.float64))
    np.add.at(ties, (of, one, other), (given == 1 / 2).astype(np.float64))
    ties += ties.transpose(0, 2, 1)
    ratings, nu = maximum_likelihood(wins.sum(axis=0)[None], ties.sum(axis=0)[None])
    counts = resamples(len(number), rng, repetitions)
    drawn, _ = maximum_likelihood(
        np.tensordot(counts, wins, axes=1), np.tensordot(counts, ties, axes=1)
    )
    low, high = np.quantile(drawn, _TAILS, axis=0)
    ranks = rank_sets(ratings[0], drawn)
    met = (wins + ties).sum(axis=0) + wins.sum(axis=0).T
    order = np.argsort(-ratings[0], kind="stable")
    return Ratings(
        players=[names[p] for p in order],
        ratings=[
            Estimate(value=float(ratings[0, p]), low=float(low[p]), high=float(high[p]))
            for p in order
        ],
        ranks=[ranks[p] for p in order],
        ties=float(nu[0]),
        comparisons=[int(met[p].sum()) for p in order],
    )


def maximum_likelihood(
    wins: NDArray[np.float64], ties: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """PURE: the ratings under which what happened is likeliest, of R tables at once, by Newton.

    Args:
        wins: How often the row's player beat the column's, ``(R, P, P)``.
        ties: How often the two tied, symmetric, ``(R, P, P)``.

    Returns:
        The ratings, ``(R, P)`` of mean 0, and ``nu``, ``(R,)``, which is 0 where no table has ties.
    """
    tables, players = wins.shape[:2]
    met = wins + wins.transpose(0, 2, 1) + ties
    scored = (wins + ties / 2).sum(axis=2)
    tied = ties.sum(axis=(1, 2)) / 2
    has_ties = bool(tied.any())
    size = players + has_ties
    state = np.zeros((tables, size))
    for _step in range(_MOST_STEPS):
        nu = np.exp(state[:, -1]) if has_ties else np.zeros(tables)
        ratings = state[:, :players]
        win, tie = _shares(ratings, nu)
        score = win + tie / 2
        gradient = np.zeros((tables, size))
        curvature = np.zeros((tables, size, size))
        gradient[:, :players] = scored - (met * score).sum(axis=2)
        spread = met * (win + tie / 4 - score**2)
        curvature[:, :players, :players] = -spread
        places = np.arange(players)
        curvature[:, places, places] += spread.sum(axis=2)
        if has_ties:
            gradient[:, -1] = tied - (met * tie).sum(axis=(1, 2)) / 2
            between = (met * tie * (1 / 2 - score)).sum(axis=2)
            curvature[:, :players, -1] = between
            curvature[:, -1, :players] = between
            curvature[:, -1, -1] = (met * tie * (1 - tie)).sum(axis=(1, 2)) / 2
        gradient -= _PULL * state
        curvature[:, np.arange(size), np.arange(size)] += _PULL
        step = np.linalg.solve(curvature, gradient[..., None])[..., 0]
        length = np.abs(step).max(axis=1, keepdims=True)
        state += step * np.minimum(1, _LONGEST_STEP / np.maximum(length, _LONGEST_STEP))
        if length.max() < _CONVERGED:
            break
    ratings = state[:, :players]
    nu = np.exp(state[:, -1]) if has_ties else np.zeros(tables)
    return ratings - ratings.mean(axis=1, keepdims=True), nu


def expected_score(difference: ArrayLike, ties: ArrayLike = 0.0) -> NDArray[np.float64]:
    """Share of wins, a tie being half of one, of who is ``difference`` better, elementwise.

    Args:
        difference: In log-odds.
        ties: ``nu``.
    """
    half = np.asarray(difference, dtype=np.float64) / 2
    nu = np.asarray(ties, dtype=np.float64)
    top = np.abs(half)
    win, loss, tie = np.exp(half - top), np.exp(-half - top), nu * np.exp(-top)
    return np.asarray((win + tie / 2) / (win + loss + tie), dtype=np.float64)


def rank_sets(
    ratings: NDArray[np.float64], drawn: NDArray[np.float64], confidence: float = _CONFIDENCE
) -> list[tuple[int, int]]:
    """PURE: which ranks each player may have; all sets hold the truth together.

    Args:
        ratings: ``(P,)``.
        drawn: The same of resamples, ``(R, P)``.
        confidence: How often all sets shall hold the true ranks.

    Returns:
        The least and the greatest rank of each, from 1, the best.
    """
    difference = ratings[:, None] - ratings[None, :]
    off = drawn[:, :, None] - drawn[:, None, :] - difference
    spread = np.sqrt((off**2).mean(axis=0))
    apart = spread > 0
    scale = np.where(apart, spread, 1)
    largest = (np.abs(off) / scale).max(axis=(1, 2))
    bound = np.quantile(largest, confidence)
    better = apart & (difference / scale > bound)
    beaten_by, beats = better.sum(axis=0), better.sum(axis=1)
    players = len(ratings)
    return [(1 + int(beaten_by[p]), players - int(beats[p])) for p in range(players)]


def _shares(
    ratings: NDArray[np.float64], nu: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The shares of wins and of ties of every two, ``(R, P, P)`` each."""
    half = (ratings[:, :, None] - ratings[:, None, :]) / 2
    top = np.abs(half)  # so that nothing overflows
    win, loss = np.exp(half - top), np.exp(-half - top)
    tie = nu[:, None, None] * np.exp(-top)
    total = win + loss + tie
    return win / total, tie / total


def _numbered(
    first: Sequence[str], second: Sequence[str], outcomes: NDArray[np.float64]
) -> tuple[list[str], NDArray[np.intp], NDArray[np.intp]]:
    """Returns the names in order and the numbers of either side; refuses what has no ratings."""
    names = sorted({*first, *second})
    if len(names) < _FEWEST:
        raise ValueError("ratings need two players or more that were compared")
    if not np.isin(outcomes, (0, 1 / 2, 1)).all():
        raise ValueError("an outcome is 1 (the first won), 0 (the second did) or 0.5 (a tie)")
    if any(one == other for one, other in zip(first, second, strict=True)):
        raise ValueError("a player was compared with itself, which says nothing: leave that out")
    groups = connected(list(zip(first, second, strict=True)))
    if len(set(groups)) > 1:
        apart: dict[int, set[str]] = {}
        for group, one, other in zip(groups, first, second, strict=True):
            apart.setdefault(group, set()).update((one, other))
        raise ValueError(
            "there is no common scale, since no comparison joins "
            + " with ".join("{" + ", ".join(sorted(some)) + "}" for some in apart.values())
        )
    place = {name: number for number, name in enumerate(names)}
    numbers = [np.array([place[name] for name in side], np.intp) for side in (first, second)]
    return names, numbers[0], numbers[1]
