"""One finite score for every completion, or an error that shows the text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from textgym.messages import listed, shown
from textgym.rewards.calling import columns_read
from textgym.rewards.factories import missing_package

if TYPE_CHECKING:
    from textgym.types import RewardFunction

__all__ = ["CheckedReward", "RewardError", "Scorer", "as_float", "finite", "show"]

_SHOWN_CHARACTERS = 200


class RewardError(RuntimeError):
    """A reward raised, or returned something that is no finite score for every completion."""


@runtime_checkable
class Scorer(Protocol):
    """A reward that has been checked, alone or made of others."""

    @property
    def name(self) -> str:
        """How messages call it."""

    @property
    def reads_ids(self) -> bool:
        """Whether it wants a column ``completion_ids``, the ids that the agent wrote."""

    @property
    def reads(self) -> tuple[str, ...]:
        """The other columns that it cannot do without, as far as it says."""

    @property
    def has_history(self) -> bool:
        """Whether a score depends on what was scored before it."""

    def __call__(
        self, /, prompts: Sequence[str], completions: Sequence[str], **columns: Sequence[Any]
    ) -> list[float]:
        """Scores a batch; see ``CheckedReward`` for what it raises."""

    def terms(
        self, /, prompts: Sequence[str], completions: Sequence[str], **columns: Sequence[Any]
    ) -> tuple[list[float], dict[str, list[float]]]:
        """Scores a batch, and says what each of the rewards that it is made of gave."""


@dataclass(frozen=True, slots=True)
class CheckedReward:
    """A reward that raises ``RewardError`` unless there is one finite score per completion.

    Attributes:
        name: How messages call it.
        function: The reward itself.
    """

    name: str
    function: RewardFunction

    @property
    def reads_ids(self) -> bool:
        """Whether it wants a column ``completion_ids``, the ids that the agent wrote."""
        return bool(getattr(self.function, "reads_ids", False))

    @property
    def reads(self) -> tuple[str, ...]:
        """The other columns that it cannot do without, as far as it says."""
        return columns_read(self.function)

    @property
    def has_history(self) -> bool:
        """Whether a score depends on what was scored before it, as far as it says."""
        return bool(getattr(self.function, "has_history", False))

    def __call__(
        self, /, prompts: Sequence[str], completions: Sequence[str], **columns: Sequence[Any]
    ) -> list[float]:
        """Scores a batch; see ``textgym.types.RewardFunction``.

        Raises:
            RewardError: If the reward raises (chained), returns a wrong number of scores, or one
                that is not finite; if a completion is no text, or there are not as many prompts or
                values of a column as completions. The message shows the first offending text,
                shortened.
            ModuleNotFoundError: If the reward needs a package that is missing; the message says
                how to get it.

        What a reward raises may say which text it was about, by an integer attribute ``row``. Else
        the reward is asked again, about halves of the batch, until the text is found.
        """
        self._check_input(prompts, completions, columns)
        try:
            # Lists of its own, so that a reward can change nothing of ours.
            given = {key: list(values) for key, values in columns.items()}
            scores = self.function(list(prompts), list(completions), **given)
        except ModuleNotFoundError as error:
            raise missing_package("reward", self.name, error) from error
        except Exception as error:
            missing = [name for name in self.reads if name not in columns]
            if missing:
                raise RewardError(
                    f"reward {self.name!r} reads the column {missing[0]!r}, which is not there; "
                    f"the columns are: {listed(columns)}"
                ) from error
            row = _row_of(error, len(completions))
            if row is None:
                row = _first_failure(self.function, prompts, completions, columns)
            raise RewardError(
                f"reward {self.name!r} raised {type(error).__name__}: {error}; "
                f"{show(prompts, completions, row)}"
            ) from error
        return self._check(scores, prompts, completions)

    def terms(
        self, /, prompts: Sequence[str], completions: Sequence[str], **columns: Sequence[Any]
    ) -> tuple[list[float], dict[str, list[float]]]:
        """Scores a batch; it is made of no others, and so there are no terms."""
        return self(prompts, completions, **columns), {}

    def _check_input(
        self,
        prompts: Sequence[str],
        completions: Sequence[str],
        columns: Mapping[str, Sequence[Any]],
    ) -> None:
        count = len(completions)
        for name, values in (("prompts", prompts), *columns.items()):
            if len(values) != count:
                raise RewardError(
                    f"reward {self.name!r} was given {count} completions and {len(values)} values "
                    f"of {name!r}; there must be one for each completion"
                )
        for what, texts in (("prompt", prompts), ("completion", completions)):
            if set(map(type, texts)) <= {str}:
                continue  # the usual case, without a loop of Python's
            for row, text in enumerate(texts):
                if not isinstance(text, str):
                    raise RewardError(
                        f"reward {self.name!r} was given {text!r} as {what} {row} of {count}; "
                        "it must be a text, be it an empty one"
                    )

    def _check(
        self, scores: Any, prompts: Sequence[str], completions: Sequence[str]
    ) -> list[float]:
        # tolist covers arrays and tensors on any device; their items become Python numbers.
        values = scores.tolist() if hasattr(scores, "tolist") else scores
        if not isinstance(values, Sequence) or isinstance(values, str):
            raise RewardError(
                f"reward {self.name!r} returned {type(scores).__name__}; it must return a list "
                f"of {len(completions)} floats; {show(prompts, completions, 0)}"
            )
        if len(values) != len(completions):
            raise RewardError(
                f"reward {self.name!r} returned {len(values)} scores for {len(completions)} "
                f"completions; {show(prompts, completions, 0)}"
            )
        if set(map(type, values)) <= {float} and all(map(math.isfinite, values)):
            return list(values)  # the usual case, without a loop of Python's
        checked = []
        for row, value in enumerate(values):
            number = as_float(value)
            if not math.isfinite(number):
                raise RewardError(
                    f"reward {self.name!r} returned {shown(value)}, which is no finite number; "
                    f"{show(prompts, completions, row)}"
                )
            checked.append(number)
        return checked


def as_float(value: Any) -> float:
    """Makes a number of what may be one; NaN of anything else, a text that spells one included."""
    if isinstance(value, str | bytes | bytearray):
        return math.nan
    try:
        return float(value)
    except OverflowError:  # an integer that no float holds
        return math.inf
    except (TypeError, ValueError):
        return math.nan


def finite(name: str, value: Any) -> float:
    """Returns a setting of a reward as a float.

    Raises:
        ValueError: If it is no finite number; ``name`` says of what.
    """
    number = math.nan if isinstance(value, bool) else as_float(value)
    if not math.isfinite(number):
        raise ValueError(f"{name} must be a finite number, got {shown(value)}")
    return number


def _row_of(error: Exception, count: int) -> int | None:
    """Which of ``count`` rows an error says that it is about; None if it does not."""
    row = getattr(error, "row", None)
    known = isinstance(row, int) and not isinstance(row, bool) and 0 <= row < count
    return row if known else None


def _first_failure(
    function: RewardFunction,
    prompts: Sequence[str],
    completions: Sequence[str],
    columns: Mapping[str, Sequence[Any]],
) -> int:
    """Finds the first row that fails by halving the batch; 0 if no row fails by itself."""

    def fails(start: int, stop: int) -> bool:
        rows = slice(start, stop)
        part = {key: values[rows] for key, values in columns.items()}
        try:
            function(prompts[rows], completions[rows], **part)
        except Exception:
            return True
        return False

    low, high = 0, len(completions)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fails(low, middle) else (middle, high)
    return low if fails(low, high) else 0


def show(prompts: Sequence[str], completions: Sequence[str], row: int) -> str:
    """Says which row, and shows its texts, shortened."""
    if not completions:
        return "there was no text"
    return (
        f"row {row} of {len(completions)}: prompt {_shorten(prompts[row])!r}, "
        f"completion {_shorten(completions[row])!r}"
    )


def _shorten(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
