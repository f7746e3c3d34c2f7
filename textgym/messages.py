"""What a text and an integer are, and how messages show what may be anything, and long."""

from __future__ import annotations

import difflib
import operator
import reprlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["did_you_mean", "listed", "require_text", "require_texts", "shown", "whole_number"]

_SHOWN = 80
_MOST_LISTED = 20

_reprs = reprlib.Repr()
_reprs.maxstring = _reprs.maxother = _SHOWN


def shown(value: Any) -> str:
    """Returns what Python writes for a value, shortened; always one line."""
    try:
        return " ".join(_reprs.repr(value).split("\n"))
    except ValueError:  # Python writes no integer of so many digits
        return f"an {type(value).__name__} of more digits than Python writes"


def listed(names: Iterable[Any]) -> str:
    """Returns names that somebody gave, such as those of columns, as one line of bounded length."""
    given = list(names)
    more = [f"and {len(given) - _MOST_LISTED} more"] if len(given) > _MOST_LISTED else []
    return ", ".join([*map(_word, given[:_MOST_LISTED]), *more]) or "none"


def _word(name: Any) -> str:
    """A name as it is, where it can stand in a line, and else as Python writes it."""
    word = str(name)
    return word if word.isprintable() and 0 < len(word) <= _SHOWN else shown(word)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Returns the end of a message about an unknown word: the known one that is nearest, or ""."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {_word(near[0])}?)" if near else ""


def whole_number(value: Any) -> int | None:
    """Returns an integer of any kind as one of Python's; ``None`` for all else, bools included."""
    if isinstance(value, bool | np.bool_):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def require_text(text: Any, what: str = "the text") -> None:
    """Refuses what is no text, or one that UTF-8 cannot hold: a lone surrogate is half a character.

    Args:
        text: What may be one.
        what: How the message calls it.

    Raises:
        TypeError: If it is no string.
        ValueError: If it is no valid text.
    """
    if not isinstance(text, str):
        raise TypeError(f"{what} must be a text, got {shown(text)}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"{what} {shown(text)} is no valid text: {error.reason}") from None


def require_texts(texts: Iterable[Any], what: str = "the text") -> None:
    """Refuses the first of many that is no valid text; see ``require_text``."""
    for text in texts:
        require_text(text, what)
