"""What is done to one reward's scores, or to several rewards' at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from textgym.rewards.checking import finite
from textgym.rewards.combining import Nary, Unary

if TYPE_CHECKING:
    import numpy.typing as npt

    from textgym.rewards.checking import Scorer

__all__ = ["Affine", "Clipped", "Difference", "Maximum", "Minimum", "Product", "Threshold"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Clipped(Unary):
    """Scores cut off at bounds.

    Attributes:
        reward: The reward.
        low: No score is below it; ``None`` for no bound.
        high: No score is above it; ``None`` for no bound.
    """

    reward: Scorer
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        """Checks the bounds.

        Raises:
            ValueError: If there is none, one is no finite number, or they are the wrong way round.
        """
        for name in ("low", "high"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, finite(name, getattr(self, name)))
        if self.low is None and self.high is None:
            raise ValueError("give low, high or both")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low is {self.low}, which is above high, {self.high}")

    def combine(self, scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Cuts off."""
        return np.asarray(np.clip(scores[0], self.low, self.high))


@dataclass(frozen=True, slots=True, kw_only=True)
class Affine(Unary):
    """``scale * score + shift``.

    Attributes:
        reward: The reward.
        scale: What scores are multiplied by; a negative one turns the reward round.
        shift: What is added then.
    """

    reward: Scorer
    scale: float = 1.0
    shift: float = 0.0

    def __post_init__(self) -> None:
        """Checks the numbers.

        Raises:
            ValueError: If one is not finite.
        """
        for name in ("scale", "shift"):
            object.__setattr__(self, name, finite(name, getattr(self, name)))

    def combine(self, scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Multiplies and adds."""
        return np.asarray(self.scale * scores[0] + self.shift)


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold(Unary):
    """One of two scores.

    Attributes:
        reward: The reward.
        at: Where the upper score begins; a score of just that much gets it.
        above: The upper score.
        below: The lower score.
    """

    reward: Scorer
    at: float
    above: float = 1.0
    below: float = 0.0

    def __post_init__(self) -> None:
        """Checks the numbers.

        Raises:
            ValueError: If one is not finite.
        """
        for name in ("at", "above", "below"):
            object.__setattr__(self, name, finite(name, getattr(self, name)))

    def combine(self, scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Decides."""
        return np.where(scores[0] >= self.at, self.above, self.below)


@dataclass(frozen=True, slots=True, kw_only=True)
class Maximum(Nary):
    """The best of several scores: any of the rewards is enough.

    Attributes:
        rewards: At least one.
    """

    rewards: tuple[Scorer, ...]

    def combine(self, scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Takes the best of each row."""
        return np.asarray(scores.max(axis=0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Minimum(Nary):
    """The worst of several scores: all of the rewards are needed.

    Attributes:
        rewards: At least one.
    """

    rewards: tuple[Scorer, ...]

    def combine(self, scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Takes the worst of each row."""
        return np.asarray(scores.min(axis=0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Product(Nary):
    """The product of several scores: one that is 0 or 1 is a gate for the others.

    Attributes:
        rewards: At least one.
    """

    rewards: tuple[Scorer, ...]

    def combine(self, scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Multiplies."""
        return np.asarray(scores.prod(axis=0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference(Nary):
    """The first reward's score minus the second's.

    Attributes:
        rewards: Two of them.
    """

    rewards: tuple[Scorer, ...]

    def __post_init__(self) -> None:
        """Checks how many there are.

        Raises:
            ValueError: If they are not two.
        """
        if len(self.rewards) != len(("first", "second")):
            raise ValueError(f"a difference is of two rewards, got {len(self.rewards)}")

    def combine(self, scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Subtracts."""
        return np.asarray(scores[0] - scores[1])
