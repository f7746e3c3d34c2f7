"""How often one side wins, and how often it would if both texts were equally long.

Whoever compares texts likes longer ones, and a policy can win by length alone. After Dubois et al.
(2024) the log-odds of winning are taken as a constant and a multiple of the difference of lengths,
pressed into (-1, 1); the rate at equal length is what the constant alone gives.

Simplifications: one slope for all prompts and annotators; no term for how hard a prompt is; lengths
are in whatever unit they are given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from textgym.statistics.bootstrap import Estimate, finite_values, weighted_interval

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = ["EqualLength", "equal_length_win_rate"]

_PULL = 1e-2  # of a squared coefficient in the log-likelihood, against infinite ones
_MOST_STEPS = 50
_LONGEST_STEP = 2.0
_CONVERGED = 1e-8
_REPETITIONS = 1000
_BATCH_VALUES = 2**22


@dataclass(frozen=True, slots=True, kw_only=True)
class EqualLength:
    """A win rate as it is, and without what length explains.

    Attributes:
        raw: Share of wins, a tie being half of one.
        equal: The same at equal length.
        slope: Log-odds by which a text wins that is longer by the usual difference, divided by
            ``tanh(1)``.
        longer: Share of comparisons in which the first text was the longer one, half for equals.
    """

    raw: Estimate
    equal: Estimate
    slope: float
    longer: float


def equal_length_win_rate(
    outcomes: ArrayLike,
    differences: ArrayLike,
    clusters: Sequence[Hashable],
    rng: np.random.Generator,
    repetitions: int = _REPETITIONS,
) -> EqualLength:
    """Measures a win rate with and without the help of length; intervals refit each resample.

    Args:
        outcomes: 1 for a win of the first text, 0 for one of the second, .5 for a tie, ``(N,)``.
        differences: Length of the first text minus that of the second, ``(N,)``.
        clusters: What is drawn together, such as the prompt, ``(N,)``.
        rng: What draws.
        repetitions: How many resamples.

    Raises:
        ValueError: If shapes differ, a value is not finite, or there are fewer than two clusters.
    """
    won = finite_values(outcomes, "outcomes", 2)
    off = finite_values(differences, "differences", 2)
    if not len(won) == len(off) == len(clusters):
        raise ValueError(
            f"{len(won)} outcomes came with {len(off)} differences and {len(clusters)} clusters: "
            "give one each"
        )
    number = {cluster: place for place, cluster in enumerate(dict.fromkeys(clusters))}
    of = np.array([number[cluster] for cluster in clusters], np.intp)
    spread = float(np.sqrt((off**2).mean()))
    pressed = np.tanh(off / spread) if spread else np.zeros_like(off)

    def both(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        parts = []
        step = max(1, _BATCH_VALUES // len(won))
        for start in range(0, len(counts), step):
            weights = counts[start : start + step, of]
            constant = _logistic(won, pressed, weights)[:, 0]
            raw = (weights @ won) / weights.sum(axis=1)
            parts.append(np.stack([raw, _sigmoid(constant)], axis=1))
        return np.concatenate(parts)

    low, high = weighted_interval(both, len(number), rng, repetitions)
    raw, equal = both(np.ones((1, len(number))))[0]
    slope = _logistic(won, pressed, np.ones((1, len(won))))[0, 1]
    return EqualLength(
        raw=Estimate(value=float(raw), low=float(low[0]), high=float(high[0])),
        equal=Estimate(value=float(equal), low=float(low[1]), high=float(high[1])),
        slope=float(slope),
        longer=float(((np.sign(off) + 1) / 2).mean()),
    )


def _logistic(
    won: NDArray[np.float64], pressed: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Constant and slope of R weighted regressions at once, ``(R, N)`` weights to ``(R, 2)``."""
    found = np.zeros((len(weights), 2))
    for _step in range(_MOST_STEPS):
        share = _sigmoid(found[:, :1] + found[:, 1:] * pressed)
        off = weights * (won - share)
        gradient = np.stack([off.sum(axis=1), off @ pressed], axis=1) - _PULL * found
        curve = weights * share * (1 - share)
        ones, mixed, squares = curve.sum(axis=1), curve @ pressed, curve @ pressed**2
        ones, squares = ones + _PULL, squares + _PULL
        step = (
            np.stack(
                [
                    squares * gradient[:, 0] - mixed * gradient[:, 1],
                    ones * gradient[:, 1] - mixed * gradient[:, 0],
                ],
                axis=1,
            )
            / (ones * squares - mixed**2)[:, None]
        )
        found += np.clip(step, -_LONGEST_STEP, _LONGEST_STEP)
        if np.abs(step).max() < _CONVERGED:
            break
    return found


def _sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((1 + np.tanh(values / 2)) / 2, dtype=np.float64)
