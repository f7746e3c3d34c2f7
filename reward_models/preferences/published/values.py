"""What stands in one row of somebody's file: texts, conversations, numbers, names; each checked.

A message says where the row stands, what is wrong, and what to do. A text may be empty: a model
that said nothing gave an answer that people judged. What is not there at all is an error.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from reward_models.preferences.published.conversations import as_turns, prompt_and_completions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textgym.data.tables import Row

__all__ = [
    "annotator_of",
    "checked_number",
    "checked_text",
    "decoded",
    "divided",
    "has_prompt",
    "is_texts",
    "list_of",
    "number_of",
    "subset_of",
    "text_of",
    "turns_of",
    "whole_number_of",
    "wrong",
]

_PROMPTS = (
    "prompt",
    "query",
    "instruction",
    "question",
    "context",
    "history",
    "info",
    "conversations",
    "input",
)
_INSIDE = ("full_text", "text", "content", "value", "post", "article")
_SYSTEMS = ("system", "system_prompt")
_ANNOTATORS = ("annotator", "judge", "worker")
_SUBSETS = ("subset", "domain", "scenario")


def wrong(row: Row, what: str) -> ValueError:
    """Makes the error that says what is wrong with a row."""
    return ValueError(f"{row.place}: {what}")


def text_of(row: Row, column: str) -> str | list[Any]:
    """Returns a column's text, or the messages of a conversation.

    Raises:
        ValueError: If there is neither.
    """
    return checked_text(row, column, decoded(row, column))


def checked_text(row: Row, column: str, value: Any) -> str | list[Any]:
    """Refuses what is neither a text nor a conversation; one message becomes a list of it."""
    if value is None:
        raise ValueError(f"{row.place} has no {column!r}; give it a text, or remove the row")
    if isinstance(value, dict) and ("role" in value or "from" in value):
        return [value]
    if isinstance(value, dict):
        value = _inside(value)
    if not isinstance(value, str | list):
        raise wrong(row, f"{column!r} holds {value!r:.60}, but it is made of texts")
    if value == []:
        raise wrong(row, f"{column!r} is a conversation without a message")
    return value


def list_of(row: Row, column: str) -> list[Any]:
    """Returns a column's list.

    Raises:
        ValueError: If it holds none.
    """
    value = decoded(row, column, lists=True)
    if not isinstance(value, list):
        raise wrong(row, f"{column!r} is {value!r:.60}, but it is a list")
    return value


def decoded(row: Row, column: str, *, lists: bool = False) -> Any:
    """A column's value; a list that a CSV could only hold as JSON is a list again.

    A text may look like a list of something else, and stays what it is.

    Args:
        row: The row.
        column: The column.
        lists: Whether it holds a list whatever is in it, and not only one of messages.
    """
    value = row.values.get(column)
    if not (isinstance(value, str) and value.startswith("[") and value.endswith("]")):
        return value
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return value
    messages = bool(found) and all(isinstance(message, dict) for message in found)
    return found if messages or lists else value


def divided(
    row: Row,
    texts: Sequence[str | list[Any]],
    *,
    implicit: bool = False,
) -> tuple[str, list[str]]:
    """Prompt and completions.

    Args:
        row: The row that has the prompt.
        texts: What follows it.
        implicit: Whether the texts may begin with their prompt, where no column has one.

    Raises:
        ValueError: If there is no prompt, or it does not go with the texts.
    """
    column = _prompt_column(row)
    if column is None and not implicit:
        raise ValueError(f"{row.place} has no prompt; add a column 'prompt', empty if need be")
    prompt = None if column is None else _prompt(row, column)
    try:
        return prompt_and_completions(prompt, texts)
    except ValueError as error:
        raise wrong(row, str(error)) from None


def turns_of(row: Row, columns: Sequence[str]) -> list[list[dict[str, Any]]] | None:
    """Reads texts that are lists of what was answered by and by, in turn with the prompt's list.

    Returns:
        A whole conversation a column; None if one of them, or the prompt, is no list of texts.

    Raises:
        ValueError: If there are not as many answers as there is to answer.
    """
    column = _prompt_column(row)
    if column is None:
        return None
    said, *answers = (decoded(row, name, lists=True) for name in (column, *columns))
    if not all(is_texts(listed) for listed in (said, *answers)):
        return None
    try:
        return [as_turns(said, answer) for answer in answers]
    except ValueError as error:
        raise wrong(row, str(error)) from None


def is_texts(value: Any) -> bool:
    """Says whether a value is a list of texts, some of which may be missing."""
    return isinstance(value, list) and bool(value) and all(isinstance(t, str | None) for t in value)


def has_prompt(row: Row) -> bool:
    """Says whether a column names the prompt."""
    return _prompt_column(row) is not None


def annotator_of(row: Row) -> str:
    """Returns who decided; empty if nobody says."""
    return _first(row, _ANNOTATORS)


def subset_of(row: Row) -> str:
    """Returns the part of the data that the row is counted in; empty if nobody says."""
    return _first(row, _SUBSETS)


def number_of(
    row: Row,
    column: str,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    default: float | None = None,
) -> float:
    """Returns a column's number.

    Args:
        row: The row.
        column: The column.
        low: The least that it may be.
        high: The most that it may be.
        default: What it is where there is none; None if there has to be one.

    Raises:
        ValueError: If it is no finite number between the two.
    """
    value = row.values.get(column)
    if value in (None, "") and default is not None:
        return default
    return checked_number(row, column, value, low, high)


def whole_number_of(row: Row, column: str, *, low: int, high: int) -> int:
    """Returns a column's number without a fraction, from low to high.

    Raises:
        ValueError: If it is none.
    """
    number = number_of(row, column, low=low, high=high)
    if number != int(number):
        value = row.values[column]
        raise wrong(row, f"{column!r} is {value!r:.60}, but it is a whole number")
    return int(number)


def checked_number(
    row: Row, column: str, value: Any, low: float = -math.inf, high: float = math.inf
) -> float:
    """Refuses what is no finite number from low to high."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not low <= number <= high or math.isinf(number):
        bounds = "" if math.isinf(low) else f" from {low:g} to {high:g}"
        raise wrong(row, f"{column!r} is {value!r:.60}, but it is a number{bounds}")
    return number


def _prompt_column(row: Row) -> str | None:
    return next((name for name in _PROMPTS if row.values.get(name) is not None), None)


def _prompt(row: Row, column: str) -> str | list[Any]:
    """The prompt, with a system's text in front of it and an instruction's input behind it."""
    prompt = decoded(row, column)
    if isinstance(prompt, dict):
        prompt = [prompt] if {"role", "from"} & prompt.keys() else _inside(prompt)
    if not isinstance(prompt, str | list):
        raise wrong(row, f"{column!r} is {prompt!r:.60}, but it holds a text")
    system = _first(row, _SYSTEMS)
    behind = row.values.get("input") if column == "instruction" else None
    if isinstance(prompt, list):
        return [{"role": "system", "content": system}, *prompt] if system else prompt
    said = [system] if system else []
    said += [prompt, behind] if isinstance(behind, str) and behind.strip() else [prompt]
    return "\n".join(said)


def _inside(value: dict[str, Any]) -> Any:
    """The text of an object that holds one beside other things, or the object."""
    return next((value[name] for name in _INSIDE if isinstance(value.get(name), str)), value)


def _first(row: Row, columns: Sequence[str]) -> str:
    """What the first of some columns names; a text or a number, as names are."""
    for column in columns:
        value = row.values.get(column)
        if isinstance(value, str | int) and value != "":
            return str(value)
    return ""
