"""Looking at answers while they come in, as often as one likes, and still being right as often.

An ordinary interval holds the truth with 95 % when it is looked at once. Who looks after every
answer and stops when it leaves one half will find a difference between two equals in the end. A
confidence sequence holds the truth at all times together with 95 %, so that one may stop whenever
it says enough. This one bets on each answer against each possible mean (Waudby-Smith and Ramdas
2024, the hedged capital with predictable bets): a mean against which the bets have won twentyfold
is ruled out, which Ville's inequality allows once in twenty at most, however long one plays.

Simplifications: answers are taken in the order they came, each with the same mean given those
before it, so draw prompts and annotators at random; a tie counts one half; the means are looked
at on a grid, whose ruled-out points widen the interval by at most one step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from textgym.statistics.bootstrap import finite_values, tails

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Verdict", "betting_capital", "confidence_sequence", "decide"]

_GRID = 1001
_LARGEST_BET = 0.5  # of what may be lost at once
_EVEN = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What may be said of a share now.

    Attributes:
        said: ``more`` or ``less`` than one half; ``even`` where it lies within the margin of one
            half; ``open`` where more answers are needed.
        low: Lower end of what has not been ruled out at any time.
        high: Upper end.
        answers: How many answers this rests on.
    """

    said: Literal["more", "less", "even", "open"]
    low: float
    high: float
    answers: int


def betting_capital(
    values: ArrayLike, means: ArrayLike, confidence: float = 0.95
) -> NDArray[np.float64]:
    """PURE: what bets against each mean have made of one, after each value.

    Args:
        values: In [0, 1], in the order they came, ``(..., T)``.
        means: The means that are bet against, in (0, 1), ``(M,)``.
        confidence: What the bets' size suits; the capital is fair whatever it is.

    Returns:
        ``(..., M, T)``. Where a mean is the true one, the capital ever reaches ``c`` with a
        probability of ``1 / c`` at most.
    """
    given = np.asarray(values, dtype=np.float64)
    mean = np.asarray(means, dtype=np.float64)
    if given.size and not ((given >= 0) & (given <= 1)).all():
        raise ValueError("a value lies outside [0, 1]: code answers as 1, 0 and 0.5 for a tie")
    time = np.arange(1, given.shape[-1] + 1)
    # What is known before each value: the mean and the variance so far, begun with half a value.
    total = np.cumsum(given, axis=-1)
    mean_so_far = (1 / 2 + total) / (time + 1)
    squares = np.cumsum((given - mean_so_far) ** 2, axis=-1)
    variance = (1 / 4 + squares) / (time + 1)
    before = np.concatenate([np.full((*given.shape[:-1], 1), 1 / 4), variance[..., :-1]], axis=-1)
    level = np.log(2 / (1 - confidence))
    bet = np.sqrt(2 * level / (before * time * np.log(time + 1)))[..., None, :]
    column = mean[:, None]
    up = np.minimum(bet, _LARGEST_BET / column)
    down = np.minimum(bet, _LARGEST_BET / (1 - column))
    off = given[..., None, :] - column
    rising = np.cumsum(np.log1p(up * off), axis=-1)
    falling = np.cumsum(np.log1p(-down * off), axis=-1)
    return np.asarray(np.exp(np.logaddexp(rising, falling) - np.log(2)), dtype=np.float64)


def confidence_sequence(
    values: ArrayLike, confidence: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ends of the interval after each value; all of them hold the mean together.

    Args:
        values: In [0, 1], in the order they came, ``(T,)``.
        confidence: How often the mean stays inside for ever.

    Returns:
        The lower ends, which never fall, and the upper ends, which never rise, ``(T,)`` each.

    Raises:
        ValueError: If there is no value, or one is not finite or outside [0, 1].
    """
    tails(confidence)  # refuses what is no share
    given = finite_values(values, "values", 1)
    grid = (np.arange(_GRID) + 1 / 2) / _GRID
    capital = betting_capital(given, grid, confidence)
    ruled_out = np.maximum.accumulate(capital, axis=1) >= 1 / (1 - confidence)
    low, high = np.empty(len(given)), np.empty(len(given))
    for time in range(len(given)):
        kept = np.flatnonzero(~ruled_out[:, time])
        # A mean between two points of the grid may be left over where neither is.
        first, last = (kept[0], kept[-1]) if len(kept) else (0, _GRID - 1)
        low[time], high[time] = max(0, first - 1 / 2) / _GRID, min(_GRID, last + 3 / 2) / _GRID
    return np.maximum.accumulate(low), np.minimum.accumulate(high)


def decide(values: ArrayLike, margin: float = 0.0, confidence: float = 0.95) -> Verdict:
    """Says whether a share is more or less than one half, whenever one asks.

    Args:
        values: 1, 0, or .5 for a tie, in the order they came, ``(T,)``.
        margin: A share within ``1/2 - margin`` to ``1/2 + margin`` counts as even; with 0 two
            equals stay open for ever.
        confidence: How often no wrong word is said, however often one asks.

    Raises:
        ValueError: As ``confidence_sequence``.
    """
    lows, highs = confidence_sequence(values, confidence)
    low, high = float(lows[-1]), float(highs[-1])
    said: Literal["more", "less", "even", "open"] = "open"
    if low > _EVEN:
        said = "more"
    elif high < _EVEN:
        said = "less"
    elif low >= _EVEN - margin and high <= _EVEN + margin:
        said = "even"
    return Verdict(said=said, low=low, high=high, answers=len(lows))
