"""One reward for all who ask for the same one: a model is large, and environments are many.

Gymnasium's and the agent libraries' batches make each of their environments by its arguments. A
reward that ``describe`` calls shared is made once in a process for equal arguments, as long as
somebody holds it, and again where the files that they name have changed since. Processes share
nothing.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from textgym.rewards.registry import info_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["make_shared"]

# A memory and no setting: what nobody holds is gone from it.
_made: WeakValueDictionary[tuple[Any, ...], Any] = WeakValueDictionary()


def make_shared(factory: Callable[..., Any], kwargs: Mapping[str, Any]) -> Any:
    """Makes a reward, or returns the one that was made of equal arguments and is still held.

    Args:
        factory: Makes it. Unless ``describe`` said that what it makes is shared, it is called.
        kwargs: Its arguments. What JSON cannot write is not compared, and the factory called.
    """
    key = _key(factory, kwargs) if info_of(factory).is_shared else None
    if key is None:
        return factory(**kwargs)
    made = _made.get(key)
    if made is None:
        made = factory(**kwargs)
        _made[key] = made
    return made


def _key(factory: Callable[..., Any], kwargs: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """What decides a reward: who makes it, of what, and how the files stand that are named."""
    try:
        words = json.dumps(dict(kwargs), sort_keys=True, default=_path)
    except (TypeError, ValueError):
        return None
    named = [value for value in kwargs.values() if isinstance(value, str | Path)]
    return factory, os.getcwd(), words, tuple(map(_stand, named))  # noqa: PTH109 - as os.stat sees it


def _path(value: Any) -> str:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(type(value).__name__)


def _stand(name: str | Path) -> tuple[tuple[str, int, int], ...]:
    """When the files of a model's folder were last written, and how long they are.

    Files below its folders count: an ensemble keeps its members there. Anything else has none.
    """
    folder = Path(name)
    try:
        is_model = (folder / "config.json").is_file()
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()] if is_model else []
        stats = [(str(path), path.stat()) for path in files]
    except (OSError, ValueError):
        return ()
    return tuple((path, stat.st_mtime_ns, stat.st_size) for path, stat in stats)
