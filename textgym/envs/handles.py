"""Objects in an environment's spec, held so that Gymnasium's deep copies do not copy them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Handle", "hold", "release"]

_HELD = frozenset(
    {"task", "tokenizer"}
    | {
        f"{role}{kwargs}"
        for role in ("reward", "proposer", "drafter")
        for kwargs in ("", "_kwargs")
    }
)
_PLAIN = (str, int, float, bool, Path, type(None))


class Handle:
    """Holds an object in an environment's spec, where Gymnasium copies every argument deeply.

    A copy of a handle is the handle itself, so a reward model is never copied by reading ``spec``.

    Attributes:
        target: The object.
    """

    __slots__ = ("target",)

    def __init__(self, target: Any) -> None:
        self.target = target

    def __deepcopy__(self, _memo: dict[int, Any]) -> Handle:
        """Returns the handle itself."""
        return self

    def __repr__(self) -> str:
        """Names the type of what is held."""
        return f"Handle({type(self.target).__name__})"


def hold(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Puts every object among an environment's arguments into a handle."""
    return {key: _hold(value) if key in _HELD else value for key, value in kwargs.items()}


def release(value: Any) -> Any:
    """Returns what a handle holds, also within lists and dictionaries; anything else as it is."""
    if isinstance(value, list | tuple):
        return [release(item) for item in value]
    if isinstance(value, dict):
        return {key: release(item) for key, item in value.items()}
    return value.target if isinstance(value, Handle) else value


def _hold(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_hold(item) for item in value]
    if isinstance(value, dict):
        return {key: _hold(item) for key, item in value.items()}
    return value if isinstance(value, (*_PLAIN, Handle)) else Handle(value)
