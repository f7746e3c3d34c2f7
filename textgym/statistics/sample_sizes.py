"""How many answers a question needs, before anybody is asked.

Answers are taken as independent. Where each prompt or each annotator gives several, those are
alike, and more are needed: by ``1 + (k - 1) r`` for k answers that are correlated with r.

Simplification: normal approximations, good from some thirty answers on.
"""

from __future__ import annotations

import math

from textgym.statistics.bootstrap import tails

__all__ = ["answers_for_difference", "answers_for_width", "detectable_win_rate"]

_EVEN = 0.5
_CLOSE = 1e-9


def answers_for_difference(
    win_rate: float, *, ties: float = 0.0, power: float = 0.8, confidence: float = 0.95
) -> int:
    """How many answers tell a win rate from one half.

    Args:
        win_rate: The rate that shall be noticed, a tie being half a win; not .5.
        ties: The share of ties that is expected, in [0, 1).
        power: How often it shall be noticed where it is so.
        confidence: How often nothing shall be noticed where both are equal.

    Raises:
        ValueError: If the rate is .5 or impossible beside so many ties.
    """
    most = 1 - ties / 2
    if not 0 <= ties < 1 or not 1 - most <= win_rate <= most or win_rate == _EVEN:
        raise ValueError(
            f"a win rate of {win_rate} with a share of ties of {ties} is impossible or one half: "
            f"give one from {1 - most:g} to {most:g}, but for 0.5"
        )
    off = abs(win_rate - _EVEN)
    # Variances of an outcome of 1, 1/2 or 0 where both are equal, and where they are not.
    even, uneven = (1 - ties) / 4, (1 - ties) / 4 - off**2
    reach = _quantile(tails(confidence)[1]) * math.sqrt(even) + _quantile(
        _share(power)
    ) * math.sqrt(max(uneven, 0))
    return max(1, math.ceil((reach / off) ** 2))


def answers_for_width(half_width: float, *, ties: float = 0.0, confidence: float = 0.95) -> int:
    """How many answers make a win rate's interval ``+- half_width`` around one half.

    Raises:
        ValueError: If the half width is not in (0, .5], or the share of ties no share.
    """
    if not 0 < half_width <= _EVEN or not 0 <= ties < 1:
        raise ValueError(
            f"half_width is {half_width} and ties {ties}: give a half width in (0, 0.5], and a "
            "share of ties in [0, 1)"
        )
    z = _quantile(tails(confidence)[1])
    return math.ceil(z**2 * (1 - ties) / 4 / half_width**2)


def detectable_win_rate(
    answers: int, *, ties: float = 0.0, power: float = 0.8, confidence: float = 0.95
) -> float | None:
    """The least win rate above one half that so many answers tell from it; None where none is.

    Raises:
        ValueError: If there is no answer, or the share of ties is no share.
    """
    if answers < 1 or not 0 <= ties < 1:
        raise ValueError(f"{answers} answers with a share of ties of {ties} show nothing")
    low, high = _EVEN, 1 - ties / 2
    if answers_for_difference(high, ties=ties, power=power, confidence=confidence) > answers:
        return None
    while high - low > _CLOSE:
        middle = (low + high) / 2
        needed = answers_for_difference(middle, ties=ties, power=power, confidence=confidence)
        low, high = (low, middle) if needed <= answers else (middle, high)
    return high


def _share(power: float) -> float:
    if not 0 < power < 1:
        raise ValueError(f"power is {power}: give a share between 0 and 1, such as 0.8")
    return power


def _quantile(share: float) -> float:
    from scipy.special import ndtri  # here, since scipy is slow to import

    return float(ndtri(share))
