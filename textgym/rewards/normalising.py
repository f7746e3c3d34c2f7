"""Scores on a running scale: the mean and the variance of all that came by, without keeping it.

Source: Welford, "Note on a Method for Calculating Corrected Sums of Squares and Products",
Technometrics 4(3), 1962; for batches, Chan, Golub and LeVeque, "Updating Formulae and a Pairwise
Algorithm for Computing Sample Variances", 1979.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from textgym.files import write_json
from textgym.messages import shown, whole_number
from textgym.rewards.checking import finite
from textgym.rewards.combining import Unary

if TYPE_CHECKING:
    import numpy.typing as npt

    from textgym.rewards.checking import Scorer

__all__ = ["Normalised", "RunningMoments"]


@dataclass(slots=True)
class RunningMoments:
    """Moments of all numbers so far, in float64.

    Attributes:
        count: How many there were.
        mean: Their mean; 0 before the first.
        squares: The sum of the squares of their distances from the mean.
    """

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    @property
    def variance(self) -> float:
        """The mean square of the distances from the mean; 0 before the second number."""
        return self.squares / self.count if self.count else 0.0

    def update(self, values: npt.NDArray[np.float64]) -> None:
        """Adds numbers, ``(N,)``; how they are put into batches does not matter, to rounding."""
        if not values.size:
            return
        mean = float(values.mean())
        total, delta = self.count + values.size, mean - self.mean
        self.squares += float(((values - mean) ** 2).sum())
        self.squares += delta * delta * self.count * values.size / total
        self.mean += delta * values.size / total
        self.count = total

    def save(self, path: str | Path) -> None:
        """Writes them into a JSON file."""
        write_json(Path(path), asdict(self))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Reads what ``save`` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it holds something else.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f"there is no state of a normalised reward in {path}")
        wrong = f"{path} holds no state of a normalised reward; save() writes one"
        try:
            read = json.loads(Path(path).read_text(encoding="utf-8"))
            moments = cls(**{name: read[name] for name in ("count", "mean", "squares")})
            sound = moments.count >= 0 and moments.squares >= 0 and math.isfinite(moments.mean)
        except (TypeError, ValueError, KeyError) as error:
            raise ValueError(wrong) from error
        if not sound:
            raise ValueError(wrong)
        return moments


@dataclass(slots=True, kw_only=True)
class Normalised(Unary):
    """Scores minus their mean, over their standard deviation, over all that was scored so far.

    **A score then depends on history**: the same text gets another score later, or in another
    order, and every environment and every process has a memory of its own. Only its frozen form
    keeps the contract of rewards (``textgym.testing.check_reward_function`` refuses the other).
    With ``dense=True`` the unfinished texts are scored, and counted, as well.

    A batch is counted first and normalised then, as in Stable-Baselines3's ``VecNormalize``, so
    that the very first score of all is 0.

    Attributes:
        reward: The reward.
        state: A file that ``save`` wrote, to go on from; ``None`` to begin anew.
        freeze: Whether to count no more from the beginning: with a ``state``, the reward is a fixed
            one again.
        freeze_after: After how many scores to count no more; ``None`` for never.
        epsilon: Is added to the variance. A reward that is constant gives 0.
        moments: What was counted.
    """

    reward: Scorer
    state: str | Path | None = None
    freeze: bool = False
    freeze_after: int | None = None
    epsilon: float = 1e-8
    moments: RunningMoments = field(default_factory=RunningMoments)

    def __post_init__(self) -> None:
        """Checks the settings, and reads the state.

        Raises:
            FileNotFoundError: If it is not there.
            ValueError: If it is no such state, there is nothing to be frozen, or a setting is none.
        """
        self.epsilon = finite("epsilon", self.epsilon)
        if self.epsilon <= 0:
            raise ValueError(f"epsilon must be positive, got {self.epsilon}")
        if not isinstance(self.freeze, bool):
            raise ValueError(  # noqa: TRY004 - a setting is wrong, not an argument
                f"freeze must be True or False, got {shown(self.freeze)}"
            )
        if self.freeze_after is not None:
            count = whole_number(self.freeze_after)
            if count is None or count < 1:
                raise ValueError(
                    f"freeze_after must be a positive integer or None, got "
                    f"{shown(self.freeze_after)}"
                )
            self.freeze_after = count
        if self.state is not None:
            if not isinstance(self.state, str | Path):
                raise ValueError(f"state must be the path of a file, got {shown(self.state)}")
            self.moments = RunningMoments.load(self.state)
        if self.freeze and not self.moments.count:
            raise ValueError("there is nothing to freeze: give a state that counted something")

    @property
    def has_history(self) -> bool:
        """It has, unless it is frozen from the beginning."""
        return not self.freeze or self.reward.has_history

    def combine(self, scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Counts, unless frozen, and normalises."""
        limit = self.freeze_after
        if not self.freeze and (limit is None or self.moments.count < limit):
            self.moments.update(scores[0])
        scale = math.sqrt(self.moments.variance + self.epsilon)
        return np.asarray((scores[0] - self.moments.mean) / scale)

    def save(self, path: str | Path) -> None:
        """Writes what was counted into a JSON file, which is whole or absent."""
        self.moments.save(path)
