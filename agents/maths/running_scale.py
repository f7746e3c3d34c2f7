"""The spread of all scores so far, so that rewards of any size can be learned from alike."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["RunningScale"]


@dataclass(slots=True)
class RunningScale:
    """Mean and variance of a stream, batch by batch (Chan, Golub and LeVeque 1983).

    Attributes:
        count: How many numbers have been added.
        mean: Theirs.
        squares: Sum of their squared distances from it.
    """

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, numbers: Tensor) -> None:
        """Adds numbers, ``(n,)`` of any floating dtype; they are summed in float64."""
        new = numbers.double()
        mean, added = float(new.mean()), len(new)
        total, shift = self.count + added, mean - self.mean
        self.squares += float(((new - mean) ** 2).sum()) + shift**2 * self.count * added / total
        self.mean += shift * added / total
        self.count = total

    @property
    def deviation(self) -> float:
        """The standard deviation; 1 as long as there is none."""
        variance = self.squares / self.count if self.count else 0.0
        return math.sqrt(variance) if variance > 0 else 1.0

    def record(self) -> dict[str, float]:
        """What the constructor takes to make this one again."""
        return asdict(self)
