"""What all rewards made of other rewards have in common, and the weighted sum.

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

__all__ = ["Combination", "Nary", "Unary", "WeightedReward"]


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

    @property
    def has_history(self) -> bool:
        """Whether a score of a part of it depends on what was scored before."""
        return any(operand.has_history for operand in self.operands)

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
            for name, values in (below or {operand.name: scores[place].tolist()}).items():
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
    def weights(self) -> tuple[float, ...] | None:
        """What each of the ``terms`` counts in the sum, in their order.

        ``None`` if one of them is changed before it is added, as by a clip.
        """
        weights: list[float] = []
        for reward, weight in self.parts:
            if isinstance(reward, WeightedReward):
                below = reward.weights
            else:
                below = None if isinstance(reward, Combination) else (1.0,)
            if below is None:
                return None
            weights += [weight * each for each in below]
        return tuple(weights)

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
