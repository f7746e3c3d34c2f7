"""What ``textgym train sft`` learns from: texts, completions or chats, by the columns of a file."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agents.models.documents import (
    Document,
    chat_documents,
    completion_documents,
    text_documents,
)
from textgym.corpus.sources import Collection, Faults, collect
from textgym.data.split import position
from textgym.data.tables import SkippedRows, is_table, parse_columns, read_rows
from textgym.messages import listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from textgym.data.tables import Row
    from textgym.types import Tokenizer

__all__ = ["Material", "read_material"]


@dataclass(slots=True, kw_only=True)
class Material:
    """What is to be learned, by its form.

    Attributes:
        texts: Plain texts.
        completions: Prompts and what shall be written after them.
        chats: Messages with ``role`` and ``content``.
        notes: What is to be said about the reading.
    """

    texts: list[str] = field(default_factory=list)
    completions: list[tuple[str, str]] = field(default_factory=list)
    chats: list[list[dict[str, str]]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        """The number of texts, completions and chats."""
        return len(self.texts) + len(self.completions) + len(self.chats)

    def divided(self, share: float) -> tuple[Material, Material]:
        """Divides by a hash of each text, prompt or first message, so equal ones stay together."""
        learned, held_out = Material(notes=self.notes), Material()
        for text in self.texts:
            (held_out if _place(text) < share else learned).texts.append(text)
        for pair in self.completions:
            side = held_out if _place(pair[0] or pair[1]) < share else learned
            side.completions.append(pair)
        for chat in self.chats:
            side = held_out if _place(json.dumps(chat[0])) < share else learned
            side.chats.append(chat)
        return learned, held_out

    def documents(self, tokenizer: Tokenizer, length: int, *, whole: bool) -> list[Document]:
        """Encodes all of it; see ``agents.models.documents``.

        Raises:
            ValueError: If there are chats, and the tokenizer has no template for them.
        """
        found = text_documents(tokenizer, self.texts, length, whole=whole)
        found += completion_documents(tokenizer, self.completions, length)
        return found + (chat_documents(tokenizer, self.chats, length) if self.chats else [])


def read_material(sources: Sequence[str], columns: str | None, *, skip_bad: bool) -> Material:
    """Reads files, folders and data sets.

    Args:
        sources: A table with the columns messages, or prompt and completion, or text; or what
            ``textgym data collect`` reads, as plain texts.
        columns: Which of a table's columns are which, as in ``prompt=question``.
        skip_bad: Whether rows that cannot be read are left out and counted.

    Raises:
        ValueError: If a row cannot be read, or a table has none of these columns.
        FileNotFoundError: If a source is not there.
    """
    material = Material()
    for source in sources:
        if is_table(source):
            skipped = SkippedRows()
            on_bad = skipped if skip_bad else None
            _take(
                read_rows(source, columns=parse_columns(columns), on_bad=on_bad), material, on_bad
            )
            material.notes += skipped.notes
            continue
        faults = Faults()
        material.texts += [one.text for one in collect(Collection(sources=[source]), faults)]
        if faults.counts:
            material.notes.append(
                f"passed over in {source}: {faults.counts.total()}, such as {faults.places[0]}"
            )
    return material


def _take(rows: Iterable[Row], material: Material, on_bad: SkippedRows | None) -> None:
    for row in rows:
        try:
            _take_one(row, material)
        except ValueError as error:
            if on_bad is None:
                raise
            on_bad(error)


def _take_one(row: Row, material: Material) -> None:
    values = row.values
    if values.get("messages") is not None:
        material.chats.append(_chat(row.place, values["messages"]))
    elif "completion" in values:
        pair = _text(row, "prompt", values.get("prompt") or ""), _text(row, "completion")
        material.completions.append(pair)
    elif "text" in values:
        material.texts.append(_text(row, "text"))
    else:
        raise ValueError(
            f"{row.place} has the columns {listed(values)}; needed are text, or prompt and "
            "completion, or messages: say which is which by --columns text=body"
        )


def _text(row: Row, name: str, value: Any = None) -> str:
    found = row.values.get(name) if value is None else value
    if not isinstance(found, str):
        raise ValueError(f"{row.place} has no text in the column {name}")  # noqa: TRY004 - of a file
    return found


def _chat(place: str, messages: Any) -> list[dict[str, str]]:
    whole = isinstance(messages, list) and all(
        isinstance(one, dict)
        and isinstance(one.get("role"), str)
        and isinstance(one.get("content"), str)
        for one in messages
    )
    if not whole or not any(one["role"] == "assistant" for one in messages[1:]):
        raise ValueError(
            f"{place} has no chat in messages: a list of objects with role and content, in which "
            "assistant answers"
        )
    return [{"role": one["role"], "content": one["content"]} for one in messages]


def _place(text: str) -> float:
    return position(text.encode("utf-8", "replace").decode("utf-8"))
