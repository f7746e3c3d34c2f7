"""What a reward reads beside the completions, and what it says when that is not there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from textgym.messages import listed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["read_column", "read_texts", "require_texts"]


def require_texts(completions: Sequence[str]) -> None:
    """Checks that completions are texts.

    Raises:
        TypeError: If one is not; the message says which.
    """
    for row, text in enumerate(completions):
        if not isinstance(text, str):
            raise TypeError(f"completion {row} is {text!r}; it must be a text, be it an empty one")


def read_column(columns: Mapping[str, Sequence[Any]], name: str, count: int) -> Sequence[Any]:
    """Returns a column that a reward cannot do without.

    Args:
        columns: What the reward was given.
        name: The column's name.
        count: N, how many completions there are.

    Returns:
        Its values, ``(N,)``.

    Raises:
        ValueError: If it is not there, which the message says beside what is, or is of another
            length.
    """
    if name not in columns:
        raise ValueError(
            f"there is no column {name!r} to read; the columns are: "
            f'{listed(columns)}. Name another one by the setting "column", or choose '
            "a reward that needs none"
        )
    values = columns[name]
    if len(values) != count:
        raise ValueError(f"the column {name!r} has {len(values)} values for {count} completions")
    return values


def read_texts(
    columns: Mapping[str, Sequence[Any]], name: str, count: int
) -> list[tuple[str, ...]]:
    """Returns a column of texts, or of several texts each.

    Args:
        columns: What the reward was given.
        name: The column's name.
        count: N, how many completions there are.

    Returns:
        At least one text for each completion, ``(N,)``.

    Raises:
        ValueError: If the column is not there, or a value is no text and no list of texts.
    """
    texts = []
    for row, value in enumerate(read_column(columns, name, count)):
        several = (value,) if isinstance(value, str) else value
        if value is None:
            raise ValueError(
                f"the column {name!r} is None in row {row}; a prompt of your own, for one, has no "
                "columns and needs another reward"
            )
        if (
            not isinstance(several, list | tuple)
            or not several
            or not all(isinstance(text, str) for text in several)
        ):
            raise ValueError(
                f"the column {name!r} is {value!r} in row {row}; it must be a text, or a list of "
                "at least one text"
            )
        texts.append(tuple(several))
    return texts
