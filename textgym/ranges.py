"""What a setting's number may be: a range with a name, and one message wherever it is left.

Every range has finite numbers alone, so that what is no number (NaN) is in none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from textgym.messages import shown

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "COUNT",
    "NOT_NEGATIVE",
    "POSITIVE",
    "SEED",
    "SHARE",
    "TRAINER_SEED",
    "Range",
    "require_ranges",
]

_LARGEST = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Range:
    """The finite numbers between two ends.

    Attributes:
        low: The lower end.
        high: The upper end.
        above: Whether the lower end itself is left out.
        below: Whether the upper end itself is left out.
    """

    low: float
    high: float
    above: bool = False
    below: bool = False

    def __contains__(self, value: float) -> bool:
        """Whether a number is in it; an infinite one, and what is no number, never is."""
        low = value > self.low if self.above else value >= self.low
        high = value < self.high if self.below else value <= self.high
        return low and high and -math.inf < value < math.inf

    def wanted(self, value: float) -> str:
        """What a number must be that is not in it, as in "must be at least 1"."""
        if self.high == math.inf:
            return f"{'above' if self.above else 'at least'} {self.low} and finite"
        if self.high < _LARGEST:
            return f"in {'[('[self.above]}{self.low}, {self.high}{'])'[self.below]}"
        return f"at most {self.high}" if value > self.high else f"at least {self.low}"


COUNT = Range(1, _LARGEST)
"""How many there are of what a computer holds."""
SEED = Range(0, 2**63 - 1)
"""What decides all that is random; torch takes no larger one."""
TRAINER_SEED = Range(0, 2**32 - 1)
"""Likewise where transformers' ``Trainer`` trains, which seeds numpy's global generator."""
POSITIVE = Range(0, math.inf, above=True)
"""A size, a rate, a time."""
NOT_NEGATIVE = Range(0, math.inf)
"""A weight, a price, a wait."""
SHARE = Range(0, 1)
"""A part of a whole, none and all included."""


def require_ranges(settings: Any, ranges: Mapping[str, Range]) -> None:
    """Requires that numbers are in their ranges.

    Args:
        settings: What has them as attributes: numbers, or several of them. What is no number, such
            as ``None``, is left alone.
        ranges: Each number's range by its name.

    Raises:
        ValueError: If one is not; the message begins with its name.
    """
    for name, range_ in ranges.items():
        value = getattr(settings, name)
        for each in value if isinstance(value, tuple | list) else [value]:
            is_number = isinstance(each, int | float) and not isinstance(each, bool)
            if is_number and each not in range_:
                raise ValueError(f"{name} must be {range_.wanted(each)}, got {shown(each)}")
