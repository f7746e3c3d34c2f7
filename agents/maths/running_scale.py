"""The running mean and variance of scores, by which rewards of any size are scaled alike.

Source: Chan, Golub and LeVeque, "Algorithms for Computing the Sample Variance" (1983).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["RunningScale"]


@dataclass(slots=True)
class RunningScale:
    """Mean and variance of all numbers so far, updated batch by batch.

    Attributes:
        count: How many numbers have been added.
        mean: Their mean.
        squares: The sum of their squared distances from it.
    """

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, numbers: Tensor) -> None:
        """Adds numbers, ``(N,)`` of any floating dtype; the host sums them in float64."""
        batch = numbers.cpu().double()  # not every device has float64
        mean, added = float(batch.mean()), len(batch)
        total, shift = self.count + added, mean - self.mean
        self.squares += float(((batch - mean) ** 2).sum()) + shift**2 * self.count * added / total
        self.mean += shift * added / total
        self.count = total

    @property
    def deviation(self) -> float:
        """The (population) standard deviation; 1 while that is 0 or nothing has been added."""
        variance = self.squares / self.count if self.count else 0.0
        return math.sqrt(variance) if variance > 0 else 1.0

    def record(self) -> dict[str, float]:
        """The constructor's arguments, to save and make it anew."""
        return asdict(self)
