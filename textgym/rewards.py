"""From a name, a ``"module:attribute"``, a folder, a callable or a weighted list to one reward.

Every reward runs behind one check, so that a failing or senseless score stops the run at once and
shows the text that caused it. A name is known when an installed package lists it under the entry
point group ``textgym.rewards``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textgym.factories import is_location, load_attribute, missing_package

if TYPE_CHECKING:
    from textgym.types import RewardFunction

__all__ = ["CheckedReward", "RewardError", "WeightedReward", "known_rewards", "resolve"]

_GROUP = "textgym.rewards"
_FOLDER_REWARD = "preference_model"
_SHOWN_CHARACTERS = 200


class RewardError(RuntimeError):
    """A reward raised, or returned something that is no finite score for every completion."""


@dataclass(frozen=True, slots=True)
class CheckedReward:
    """A reward that raises ``RewardError`` unless there is one finite score per completion.

    Attributes:
        name: How messages call it.
        function: The reward itself.
    """

    name: str
    function: RewardFunction

    def __call__(
        self, /, prompts: Sequence[str], completions: Sequence[str], **columns: Sequence[Any]
    ) -> list[float]:
        """Scores a batch; see ``textgym.types.RewardFunction``.

        Raises:
            RewardError: If the reward raises (chained), returns a wrong number of scores, or one
                that is not finite. The message shows the first offending text, shortened.
            ModuleNotFoundError: If the reward needs a package that is missing; the message says
                how to get it.
        """
        try:
            # Lists of its own, so that a reward can change nothing of ours.
            given = {key: list(values) for key, values in columns.items()}
            scores = self.function(list(prompts), list(completions), **given)
        except ModuleNotFoundError as error:
            raise missing_package("reward", self.name, error) from error
        except Exception as error:
            row = _first_failure(self.function, prompts, completions, columns)
            raise RewardError(
                f"reward {self.name!r} raised {type(error).__name__}: {error}; "
                f"{_show(prompts, completions, row)}"
            ) from error
        return self._check(scores, prompts, completions)

    def _check(
        self, scores: Any, prompts: Sequence[str], completions: Sequence[str]
    ) -> list[float]:
        # tolist covers arrays and tensors on any device; their items become Python numbers.
        values = scores.tolist() if hasattr(scores, "tolist") else scores
        if not isinstance(values, Sequence) or isinstance(values, str):
            raise RewardError(
                f"reward {self.name!r} returned {type(scores).__name__}; it must return a list "
                f"of {len(completions)} floats; {_show(prompts, completions, 0)}"
            )
        if len(values) != len(completions):
            raise RewardError(
                f"reward {self.name!r} returned {len(values)} scores for {len(completions)} "
                f"completions; {_show(prompts, completions, 0)}"
            )
        checked = []
        for row, value in enumerate(values):
            number = _as_float(value)
            if not math.isfinite(number):
                raise RewardError(
                    f"reward {self.name!r} returned {value!r}, which is no finite number; "
                    f"{_show(prompts, completions, row)}"
                )
            checked.append(number)
        return checked


@dataclass(frozen=True, slots=True)
class WeightedReward:
    """The weighted sum of several rewards, each checked by itself.

    Attributes:
        parts: The rewards and their weights.
    """

    parts: tuple[tuple[CheckedReward | WeightedReward, float], ...]

    @property
    def name(self) -> str:
        """How messages call it."""
        return " + ".join(reward.name for reward, _ in self.parts)

    def __call__(
        self, /, prompts: Sequence[str], completions: Sequence[str], **columns: Sequence[Any]
    ) -> list[float]:
        """Scores a batch; see ``CheckedReward`` for what it raises."""
        return self.terms(prompts, completions, **columns)[0]

    def terms(
        self, /, prompts: Sequence[str], completions: Sequence[str], **columns: Sequence[Any]
    ) -> tuple[list[float], dict[str, list[float]]]:
        """Scores a batch, and says what each part gave.

        Returns:
            The sums, and each part's scores, without its weight, by the part's name; a name that
            occurs again gets a number.
        """
        total = [0.0] * len(completions)
        terms: dict[str, list[float]] = {}
        for reward, weight in self.parts:
            scores = reward(prompts, completions, **columns)
            total = [sum_ + weight * score for sum_, score in zip(total, scores, strict=True)]
            name = reward.name
            terms[f"{name} {len(terms) + 1}" if name in terms else name] = scores
        for row, score in enumerate(total):
            if not math.isfinite(score):
                raise RewardError(
                    f"the weighted sum {self.name!r} is {score}; {_show(prompts, completions, row)}"
                )
        return total, terms


def known_rewards() -> list[str]:
    """Returns the names that installed packages list, sorted."""
    return sorted({entry.name for entry in entry_points(group=_GROUP)})


def resolve(
    reward: Any, reward_kwargs: Mapping[str, Any] | None = None
) -> CheckedReward | WeightedReward:
    """Makes one checked reward of whatever names it.

    Args:
        reward: A known name; ``"module:attribute"``; a folder with a ``config.json``, short for
            ``"preference_model"`` with that ``path``; a callable; or a list of
            ``[reward, weight]`` pairs.
        reward_kwargs: If given, ``reward`` names a factory: it is called with them, once, and
            returns the reward. Not for a folder or a list.

    Raises:
        ValueError: If nothing has that name (the message lists the known ones), or the
            arguments do not fit together.
        ModuleNotFoundError: If a package is missing; the message says how to get it.
        TypeError: If what was named is not callable.
    """
    if isinstance(reward, list | tuple):
        if reward_kwargs is not None:
            raise ValueError("reward_kwargs go with one reward, not with a list of them")
        return _weighted(reward)
    if isinstance(reward, CheckedReward | WeightedReward) and reward_kwargs is None:
        return reward
    if isinstance(reward, str | Path):
        name = str(reward)
        if name not in known_rewards() and (Path(name) / "config.json").is_file():
            if reward_kwargs is not None:
                raise ValueError(
                    f"a folder takes no reward_kwargs; give reward={_FOLDER_REWARD!r} and "
                    f"reward_kwargs={{'path': {name!r}, ...}}"
                )
            reward_kwargs = {"path": name}
            target = _load(_FOLDER_REWARD)
        else:
            target = _load(name)
    else:
        name, target = _name_of(reward), reward
    if reward_kwargs is not None:
        target = _build(name, target, reward_kwargs)
    if not callable(target):
        raise TypeError(f"reward {name!r} is a {type(target).__name__}, which cannot be called")
    return CheckedReward(name, target)


def _weighted(pairs: Sequence[Any]) -> WeightedReward:
    parts = []
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != len(("reward", "weight")):
            raise ValueError(f"a list of rewards holds [reward, weight] pairs; got {pair!r}")
        weight = _as_float(pair[1])
        if not math.isfinite(weight):
            raise ValueError(f"a weight is a finite number; got {pair[1]!r} for {pair[0]!r}")
        parts.append((resolve(pair[0]), weight))
    if not parts:
        raise ValueError("a list of rewards holds at least one [reward, weight] pair")
    return WeightedReward(tuple(parts))


def _load(name: str) -> Any:
    locations = {entry.value for entry in entry_points(group=_GROUP, name=name)}
    if len(locations) > 1:
        raise ValueError(
            f"several installed packages call a reward {name!r}; name the one that is meant: "
            f"{', '.join(sorted(locations))}"
        )
    location = locations.pop() if locations else name
    if not is_location(location):
        raise ValueError(
            f"unknown reward {name!r}; known: {', '.join(known_rewards())}; or give "
            '"module:attribute", a folder with a config.json, or a callable'
        )
    return load_attribute("reward", name, location)


def _build(name: str, factory: Callable[..., Any], kwargs: Mapping[str, Any]) -> Any:
    try:
        return factory(**kwargs)
    except ModuleNotFoundError as error:
        raise missing_package("reward", name, error) from error


def _name_of(reward: Any) -> str:
    return str(getattr(reward, "__name__", type(reward).__name__))


def _as_float(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


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


def _show(prompts: Sequence[str], completions: Sequence[str], row: int) -> str:
    return (
        f"row {row} of {len(completions)}: prompt {_shorten(prompts[row])!r}, "
        f"completion {_shorten(completions[row])!r}"
    )


def _shorten(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
