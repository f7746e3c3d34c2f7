"""Rewards made of other rewards.

Each part is checked by itself, so that an error names the part. ``terms`` gives the scores of the
rewards at the bottom, before anything was done to them.
"""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from textgym.rewards.checking import RewardError, Scorer, show

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

__all__ = [
    "Affine",
    "Clipped",
    "Combination",
    "Difference",
    "Maximum",
    "Minimum",
    "Nary",
    "Product",
    "Threshold",
    "Unary",
    "WeightedReward",
]


class Combination(abc.ABC):
    """A reward made of others."""

    __slots__ = ()

    @property
    @abc.abstractmethod
    def operands(self) -> tuple[Scorer, ...]:
        """The rewards that it is made of, K of them."""

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """How messages call it."""

    @abc.abstractmethod
    def combine(self, scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Makes one score of K.

        Args:
            scores: What the operands gave, ``(K, N)`` float64, finite.

        Returns:
            ``(N,)`` float64.
        """

    @property
    def reads_ids(self) -> bool:
        """Whether a part of it wants a column ``completion_ids``."""
        return any(operand.reads_ids for operand in self.operands)

    @property
    def reads(self) -> tuple[str, ...]:
        """The other columns that a part of it cannot do without, as far as it says."""
        return tuple(dict.fromkeys(name for operand in self.operands for name in operand.reads))

    def __call__(
        self, /, prompts: Sequence[str], completions: Sequence[str], **columns: Sequence[Any]
    ) -> list[float]:
        """Scores a batch; see ``CheckedReward`` for what it raises."""
        return self.terms(prompts, completions, **columns)[0]

    def terms(
        self, /, prompts: Sequence[str], completions: Sequence[str], **columns: Sequence[Any]
    ) -> tuple[list[float], dict[str, list[float]]]:
        """Scores a batch, and says what each reward at the bottom gave.

        Returns:
            The scores, and those of the rewards that are no combinations, by their names; a name
            that occurs again gets a number.

        Raises:
            RewardError: If a part fails, or the combination is not finite.
        """
        scores, terms = np.zeros((len(self.operands), len(completions))), dict[str, list[float]]()
        for place, operand in enumerate(self.operands):
            scores[place], below = operand.terms(prompts, completions, **columns)
            for name, values in below.items():
                terms[f"{name} {len(terms) + 1}" if name in terms else name] = values
        # An overflow is found below, with the text that it is about.
        with np.errstate(over="ignore", invalid="ignore"):
            total = self.combine(scores).tolist()
        for row, score in enumerate(total):
            if not math.isfinite(score):
                raise RewardError(
                    f"the combination {self.name!r} is {score}; {show(prompts, completions, row)}"
                )
        return total, terms


@dataclass(frozen=True, slots=True)
class WeightedReward(Combination):
    """The weighted sum of several rewards.

    Attributes:
        parts: The rewards and their weights.
    """

    parts: tuple[tuple[Scorer, float], ...]

    @property
    def operands(self) -> tuple[Scorer, ...]:
        """The rewards of the sum."""
        return tuple(reward for reward, _ in self.parts)

    @property
    def name(self) -> str:
        """How messages call it."""
        return " + ".join(reward.name for reward, _ in self.parts)

    def combine(self, scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Adds in the order of the parts, so that no sum depends on how many rows there are."""
        total = np.zeros(scores.shape[1])
        for row, (_, weight) in zip(scores, self.parts, strict=True):
            total += weight * row
        return total


class Unary(Combination):
    """What is done to one reward's scores."""

    __slots__ = ()
    reward: Scorer

    @property
    def operands(self) -> tuple[Scorer, ...]:
        """The one reward."""
        return (self.reward,)

    @property
    def name(self) -> str:
        """How messages call it."""
        return f"{type(self).__name__.lower()}({self.reward.name})"


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
            ValueError: If there is none, or they are the wrong way round.
        """
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

    def combine(self, scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Decides."""
        return np.where(scores[0] >= self.at, self.above, self.below)


class Nary(Combination):
    """What is made of several rewards' scores."""

    __slots__ = ()
    rewards: tuple[Scorer, ...]

    @property
    def operands(self) -> tuple[Scorer, ...]:
        """The rewards, in order."""
        return self.rewards

    @property
    def name(self) -> str:
        """How messages call it."""
        return f"{type(self).__name__.lower()}({', '.join(r.name for r in self.rewards)})"


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
