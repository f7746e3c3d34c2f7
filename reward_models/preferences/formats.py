"""Preference files: those of other people are read and checked, ours are written.

Simplification: a whole file is in memory.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from reward_models.preferences.pairs import Preference
from reward_models.preferences.published.items import BothBad
from reward_models.preferences.published.table import KNOWN_COLUMNS, parser_of
from reward_models.preferences.rankings import Item, Ranking, Rating, completions_of
from reward_models.preferences.splitting import divide
from textgym.data.tables import read_rows
from textgym.files import atomic_file
from textgym.messages import listed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from textgym.data.tables import Row

__all__ = [
    "PreferenceData",
    "Refusals",
    "data_hash",
    "parsed_rows",
    "preference_lines",
    "read_preferences",
    "write_preferences",
]

_TIE = 0.5
_UNREADABLE = "cannot be read"
# What is not written where no item has anything else.
_SILENT = {"probability": 1.0, "margin": 0.0, "subset": "", "implicit": False}
_TRAINING = "train"
_SPLIT = "split"


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferenceData:
    """What a file or store says, ready to learn from.

    Attributes:
        items: To learn from: preferences, rankings or ratings, all of one kind.
        held_out: What the column ``split`` keeps apart, if there is one; shares no prompt with
            ``items``, see ``divide``.
        left_out: How many rows were left out, by reason; reasons without a row are not there.
        notes: What is odd but no error, a sentence each.
    """

    items: tuple[Item, ...]
    held_out: tuple[Item, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_preferences(
    name: str, *, columns: Mapping[str, str] | None = None, skip_bad: bool = False
) -> PreferenceData:
    """Reads a file of preferences; its columns say what it is, see FORMATS.md.

    Known are the columns of TRL, of transcripts, of chat arenas, of AlpacaEval, HelpSteer, SHP,
    PKU-SafeRLHF, WebGPT, UltraFeedback and others, rankings, and ratings. Lists in a CSV are JSON.
    A column ``split`` keeps the rows apart whose value does not begin with ``train``.

    Args:
        name: What ``textgym.data.read_rows`` reads, such as the path of a ``.jsonl``, ``.json``,
            ``.csv`` or ``.parquet`` file, or ``datasets:NAME``.
        columns: The file's name of a column by the one that is read, such as
            ``{"chosen": "response_1", "rejected": "response_2"}``.
        skip_bad: Leave rows out that cannot be read, and count them, instead of raising.

    Raises:
        ValueError: If the columns are unknown, a row cannot be read, or nothing is left to learn
            from; the message says where and why.
        FileNotFoundError: If there is no such file.
        ModuleNotFoundError: If a library is missing; the message says how to get it.
    """
    left_out: Counter[str] = Counter()
    notes: list[str] = []
    learned: list[Item] = []
    kept_apart: list[Item] = []
    for row, items in parsed_rows(name, columns, Refusals(left_out, notes) if skip_bad else None):
        for item in items:
            if isinstance(item, BothBad):
                left_out["both bad"] += 1
            elif isinstance(item, Preference) and item.chosen == item.rejected:
                left_out["two equal texts"] += 1
            elif str(row.values.get(_SPLIT) or _TRAINING).startswith(_TRAINING):
                learned.append(item)
            else:
                kept_apart.append(item)
    _require_something(name, learned or kept_apart, left_out, notes)
    if not learned:
        raise ValueError(f"{name} has no row whose split is {_TRAINING!r}; name one so")
    division = divide(learned, kept_apart)
    left_out.update(division.dropped)
    notes += [*_empty(learned, kept_apart), *_contradictions(learned)]
    return PreferenceData(
        items=tuple(learned),
        held_out=tuple(division.held_out),
        left_out={reason: number for reason, number in left_out.items() if number},
        notes=tuple(notes),
    )


def parsed_rows(
    name: str,
    columns: Mapping[str, str] | None = None,
    on_bad: Callable[[ValueError], None] | None = None,
) -> Iterator[tuple[Row, Sequence[Item | BothBad]]]:
    """Reads a file row by row; see ``read_preferences``.

    Args:
        name: The file.
        columns: How its columns are called.
        on_bad: Is told why a row cannot be read, which is then left out; None raises it.

    Yields:
        A row, and what it says.

    Raises:
        ValueError: As ``read_preferences``.
    """
    rows = read_rows(name, columns=columns, on_bad=on_bad)
    parse = parser_of(rows[0].values)
    if parse is None:
        raise ValueError(
            f"{name} has the columns {listed(rows[0].values)}, which are no known preferences; "
            "say which is which, as in --columns chosen=COLUMN,rejected=COLUMN; known: "
            f"{KNOWN_COLUMNS}; more in FORMATS.md"
        )
    for row in rows:
        try:
            items = parse(row)
        except ValueError as error:
            if on_bad is None:
                raise
            on_bad(error)
        else:
            yield row, items


class Refusals:
    """Counts the rows that cannot be read, and keeps why the first of them is none."""

    def __init__(self, left_out: Counter[str], notes: list[str]) -> None:
        self._left_out, self._notes = left_out, notes

    def __call__(self, error: ValueError) -> None:
        """Counts a row."""
        if not self._left_out[_UNREADABLE]:
            self._notes.append(f"the first row that cannot be read: {error}")
        self._left_out[_UNREADABLE] += 1


def data_hash(items: Sequence[Item]) -> str:
    """Returns 32 hexadecimal digits that any change of the data changes, its order included."""
    digest = hashlib.blake2b(digest_size=16)
    for item in items:
        said = asdict(item)
        said.pop("implicit", None)  # where a prompt is from changes nothing that is learned
        digest.update(json.dumps([type(item).__name__, said]).encode())
    return digest.hexdigest()


def write_preferences(
    items: Sequence[Item], path: Path, splits: Sequence[str] | None = None
) -> None:
    """Writes what was read as JSON Lines that ``read_preferences`` reads again, as it was.

    Of pairs the columns are TRL's and a few more; ``probability``, ``margin``, ``subset`` and
    ``implicit`` are there if an item has one that says something.

    Args:
        items: Preferences, rankings or ratings.
        path: The file to write; it is replaced.
        splits: The split of each; None writes no such column.
    """
    with atomic_file(path) as temporary:
        temporary.write_text(preference_lines(items, splits), encoding="utf-8", newline="\n")


def preference_lines(items: Sequence[Item], splits: Sequence[str] | None = None) -> str:
    """Gives what ``write_preferences`` writes."""
    rows = [_as_row(item) for item in items]
    for row, split in zip(rows, splits or (), strict=splits is not None):
        row["split"] = split
    silent = {
        column
        for column, nothing in _SILENT.items()
        if all(row.get(column, nothing) == nothing for row in rows)
    }
    return "".join(
        json.dumps({k: v for k, v in row.items() if k not in silent}, ensure_ascii=False) + "\n"
        for row in rows
    )


def _as_row(item: Item) -> dict[str, Any]:
    row = asdict(item)
    if isinstance(item, Ranking):
        whole = item.places == len(item.completions) - 1
        del row["places"]
        row |= {"ranks": list(range(1, len(item.completions) + 1))} if whole else {"best": 0}
    return row


def _require_something(
    name: str, items: Sequence[Item], left_out: Mapping[str, int], notes: Sequence[str]
) -> None:
    if not items:
        reasons = ", ".join(f"{number} {reason}" for reason, number in left_out.items() if number)
        why = (
            notes[0]
            if notes
            else ("if two texts are equal everywhere, one column is a copy of the other")
        )
        raise ValueError(f"{name} has nothing to learn from ({reasons}); {why}")
    if all(isinstance(item, Preference) and item.probability == _TIE for item in items):
        raise ValueError(
            f"{name}: all {len(items)} comparisons are ties, so nothing says which text is better"
        )
    if all(isinstance(item, Rating) for item in items):
        numbers = {item.rating for item in items if isinstance(item, Rating)}
        if len(numbers) == 1:
            raise ValueError(f"{name}: all {len(items)} ratings are {numbers.pop()}")


def _empty(*sides: Sequence[Item]) -> list[str]:
    """Says how many answers are empty: they were judged, and are read as they are."""
    number = sum(not text.strip() for items in sides for i in items for text in completions_of(i))
    return [f"empty texts: {number}, learned from as they are"] * bool(number)


def _contradictions(items: Sequence[Item]) -> list[str]:
    """Says how often one annotator's answer to the same two texts is there in both directions."""
    decided = [i for i in items if isinstance(i, Preference) and i.probability > _TIE]
    seen = {(i.prompt, i.chosen, i.rejected, i.annotator) for i in decided}
    turned = sum((p, worse, better, who) in seen for p, better, worse, who in seen) // 2
    if not turned:
        return []
    return [f"{turned} pairs are there in both directions, by the same annotator"]
