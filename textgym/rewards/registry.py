"""Which rewards are known by name, and what is known about them.

A name comes from an installed package, which lists it under the entry point group
``textgym.rewards``, or from ``register_reward`` in this process.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from textgym.messages import did_you_mean, shown
from textgym.rewards.calling import adapt, columns_read
from textgym.rewards.factories import is_location, load_attribute

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.metadata import EntryPoint

__all__ = [
    "RewardInfo",
    "describe",
    "find_reward",
    "info_of",
    "known_rewards",
    "locations_of",
    "makes_a_reward",
    "register_reward",
]

_GROUP = "textgym.rewards"
_INFO = "reward_info"
_Target = TypeVar("_Target", bound=Callable[..., Any])
_registered: dict[str, Callable[..., Any]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardInfo:
    """What can be said of a reward before it is called.

    Attributes:
        reads: The columns that it cannot do without; ``"prompt"`` if it reads the prompt.
        low: The lowest score that there can be; ``None`` if there is none, or nobody said.
        high: The highest score that there can be; ``None`` if there is none, or nobody said.
        needs: The modules that it imports beside this project's own requirements.
        extra: Which of this project's extras brings them.
        is_factory: Whether it is a function that makes the reward. A class always makes one.
        settings: Dataclasses whose fields a factory takes by keyword, beside what it names.
        is_shared: Whether all environments of a process that name it with equal arguments have one
            and the same: for a factory of what is large, and is not changed by scoring.
    """

    reads: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    needs: tuple[str, ...] = ()
    extra: str | None = None
    is_factory: bool = False
    settings: tuple[type, ...] = ()
    is_shared: bool = False

    @property
    def installed(self) -> bool:
        """Whether all that it needs is there; nothing is imported."""
        return all(find_spec(module) is not None for module in self.needs)


def describe(
    *,
    reads: Sequence[str] = (),
    low: float | None = None,
    high: float | None = None,
    needs: Sequence[str] = (),
    extra: str | None = None,
    is_factory: bool = False,
    settings: Sequence[type] = (),
    is_shared: bool = False,
) -> Callable[[_Target], _Target]:
    """Says about a reward, or a factory of rewards, what ``textgym rewards`` lists.

    Args:
        reads: See ``RewardInfo``.
        low: See ``RewardInfo``.
        high: See ``RewardInfo``.
        needs: See ``RewardInfo``.
        extra: See ``RewardInfo``.
        is_factory: See ``RewardInfo``.
        settings: See ``RewardInfo``.
        is_shared: See ``RewardInfo``.

    Returns:
        A decorator that gives its function or class back.
    """
    info = RewardInfo(
        reads=tuple(reads),
        low=low,
        high=high,
        needs=tuple(needs),
        extra=extra,
        is_factory=is_factory,
        settings=tuple(settings),
        is_shared=is_shared,
    )

    def decorate(target: _Target) -> _Target:
        setattr(target, _INFO, info)
        return target

    return decorate


def register_reward(name: str) -> Callable[[_Target], _Target]:
    """Makes a reward, or a factory of rewards, known by name in this process.

    Other processes know it when they have run the same code; a worker that was spawned has not.
    There, give ``"module:attribute"``, or list the name among your package's entry points.

    Args:
        name: The name; no colon is in it.

    Returns:
        A decorator that gives its function or class back.

    Raises:
        ValueError: If the name is taken, unless by an earlier version of the same definition.
    """
    if not name or is_location(name):
        raise ValueError(f"a reward's name is a word without a colon, got {name!r}")

    def decorate(target: _Target) -> _Target:
        taken = _registered.get(name)
        listed = [entry.value for entry in _listed() if entry.name == name]
        if listed or (taken is not None and _origin(taken) != _origin(target)):
            by = listed[0] if listed else ":".join(_origin(taken))
            raise ValueError(f"there is a reward {name!r} already, {by}; choose another name")
        _registered[name] = target
        return target

    return decorate


def known_rewards() -> list[str]:
    """Returns the names that installed packages list or this process registered, sorted."""
    return sorted({*_registered, *(entry.name for entry in _listed())})


def locations_of(name: str) -> set[str]:
    """Returns where installed packages say that a reward of this name is; nothing is imported."""
    return {entry.value for entry in _listed() if entry.name == name}


def find_reward(name: str) -> Any:
    """Loads what a name or ``"module:attribute"`` stands for: a reward, or what makes one.

    Raises:
        ValueError: If nothing has that name, or several packages list it.
        ModuleNotFoundError: If a package is missing; the message says how to get it.
    """
    if name in _registered:
        return _registered[name]
    locations = locations_of(name)
    if len(locations) > 1:
        raise ValueError(
            f"several installed packages call a reward {name!r}; name the one that is meant: "
            f"{', '.join(sorted(locations))}"
        )
    location = locations.pop() if locations else name
    if not is_location(location):
        raise ValueError(
            f"unknown reward {shown(name)}; known: {', '.join(known_rewards())}; or give "
            '"module:attribute", a folder with a config.json, or a callable'
            f"{did_you_mean(name, known_rewards())}"
        )
    return load_attribute("reward", name, location)


def info_of(target: Any) -> RewardInfo:
    """Returns what ``describe`` said of a reward; of others, the columns that they name."""
    info = getattr(target, _INFO, None)
    if isinstance(info, RewardInfo):
        return info
    return (
        RewardInfo() if isinstance(target, type) else RewardInfo(reads=columns_read(adapt(target)))
    )


def makes_a_reward(target: Any) -> bool:
    """Whether something is called to make the reward, and is not the reward itself."""
    if isinstance(target, type):
        return True
    return inspect.isroutine(target) and info_of(target).is_factory


def _origin(target: Any) -> tuple[str, str]:
    return str(target.__module__), str(target.__qualname__)


def _listed() -> tuple[EntryPoint, ...]:
    """Returns what installed packages list; read anew when a folder of ``sys.path`` has changed."""
    return _read(tuple((path, _changed(path)) for path in sys.path))


@functools.lru_cache(maxsize=1)
def _read(_folders: tuple[tuple[str, int | None], ...]) -> tuple[EntryPoint, ...]:
    """Reads a file of every installed package: more work than making a toy environment is."""
    return tuple(entry_points(group=_GROUP))


def _changed(path: str) -> int | None:
    try:
        return Path(path).stat().st_mtime_ns
    except OSError:
        return None
