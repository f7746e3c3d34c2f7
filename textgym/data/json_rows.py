"""Rows of JSON: one object a line, or a list of objects; each readable or not by itself.

A key that stands twice in an object is refused: the format leaves open which of them counts.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

__all__ = ["array_rows", "line_rows"]

_Found = tuple[str, "dict[str, Any] | ValueError"]
_BLANK = " \t\n\r\ufeff"
_MARK = "\ufeff"  # also in the middle, where files were put together
_EXAMPLE = '{"prompt": "...", "reference": "..."}'


def line_rows(path: Path, lines: Iterable[str]) -> Iterator[_Found]:
    """Yields the place and the object of each line that is not blank, or why it is none.

    Args:
        path: The file, for messages.
        lines: Its lines, with or without their ends.
    """
    for number, line in enumerate(lines, start=1):
        text = line.strip(_BLANK)
        if not text:
            continue
        place = f"{path}:{number}"
        try:
            value, end = _DECODER.raw_decode(text)
            wrong = "there is more behind it" if end < len(text) else ""
        except (ValueError, RecursionError) as error:
            value, wrong = None, _why(error)
        if wrong:
            yield place, ValueError(f"{place} is no JSON: {wrong}; each line holds one object")
        else:
            yield place, _object(place, value, "each line")


def array_rows(path: Path, text: str) -> Iterator[_Found] | None:
    """Yields the place and the object of each element of a list, or why it is none.

    Args:
        path: The file, for messages.
        text: All of it: a list of objects; or one object, with one such list in it, or itself a
            row.

    Returns:
        The rows; None if it is neither, as where each line is an object.
    """
    start = _blank(text, 0)
    if text[start : start + 1] == "[":
        return _elements(path, text, start + 1)
    try:
        value, end = _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        return None
    if _blank(text, end) < len(text):
        return None
    lists = [v for v in value.values() if _is_rows(v)] if isinstance(value, dict) else []
    rows = lists[0] if len(lists) == 1 and not _is_row(value) else [value]
    places = (f"{path}, row {number}" for number in range(1, len(rows) + 1))
    return ((p, _object(p, row, "each row")) for p, row in zip(places, rows, strict=True))


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, dict) for v in value)


def _is_row(value: dict[str, Any]) -> bool:
    """Whether an object has a text beside its lists, as a row has and a wrapper seldom."""
    return "prompt" in value or "instruction" in value or "question" in value


def _elements(path: Path, text: str, at: int) -> Iterator[_Found]:
    """Reads a list element by element, so that those before a damage are still read."""
    number = 1
    at = _blank(text, at)
    while text[at : at + 1] != "]":
        place = f"{path}, row {number}"
        try:
            value, at = _DECODER.raw_decode(text, at)
            at = _blank(text, at)
            if text[at : at + 1] not in (",", "]"):
                raise ValueError(f"no comma and no end at character {at}")  # noqa: TRY301
        except (ValueError, RecursionError) as error:
            line = text.count("\n", 0, getattr(error, "pos", at)) + 1
            wrong = f"{place} is no JSON: {_why(error)}, line {line}"
            yield place, ValueError(f"{wrong}; it and what stands behind it cannot be read")
            return
        yield place, _object(place, value, "each element of the list")
        if text[at] == ",":
            at = _blank(text, at + 1)
        number += 1
    if _blank(text, at + 1) < len(text):
        wrong = f"{path} has something behind the list that it holds"
        yield f"{path}, row {number}", ValueError(wrong)


def _object(place: str, value: Any, what: str) -> dict[str, Any] | ValueError:
    if isinstance(value, dict):
        return value
    kind = "null" if value is None else type(value).__name__
    return ValueError(f"{place} is a JSON {kind}; {what} holds one object, as in {_EXAMPLE}")


def _blank(text: str, at: int) -> int:
    while at < len(text) and text[at] in _BLANK:
        at += 1
    return at


def _why(error: ValueError | RecursionError) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg[:1].lower()}{error.msg[1:]} at column {error.colno}"
    return str(error)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"it names {twice!r:.60} twice")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_once)
