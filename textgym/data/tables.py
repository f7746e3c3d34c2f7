"""Rows of a user's own data: JSON, JSON Lines, CSV, TSV, Parquet, or a dataset by name.

Each row knows where it stands, so that a message can say where to look. What cannot be a row is an
error of its own, so that whoever reads can leave it out and count it.

Simplification: all rows are in memory, about twice the size of the file.
"""

from __future__ import annotations

import csv
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textgym.data.json_rows import array_rows, line_rows
from textgym.data.packages import Package
from textgym.data.sources import open_text, reading_errors, require_file, suffix_of
from textgym.messages import did_you_mean, listed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import TextIO

__all__ = [
    "DATASETS_PREFIX",
    "Row",
    "SkippedRows",
    "checked_rows",
    "dataset_rows",
    "is_table",
    "parse_columns",
    "read_rows",
]

DATASETS_PREFIX = "datasets:"
"""Begins the name of a dataset for the library ``datasets``, as in ``datasets:owner/name``."""

# The most that the C long of every platform holds.
_LONGEST_FIELD = 2**31 - 1
_DEEPEST = 100

_DATASETS = Package(module="datasets", pip="datasets")
_PYARROW = Package(module="pyarrow", pip="pyarrow")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row.

    Attributes:
        place: Where it stands, as in ``data.jsonl:3``.
        values: Its columns; the same ones in every row of a file, ``None`` where one has no value.
    """

    place: str
    values: Mapping[str, Any]


class SkippedRows:
    """Counts the rows that are left out because they cannot be read: an ``on_bad``.

    Attributes:
        number: How many there are.
        first: Why the first of them is none.
    """

    def __init__(self) -> None:
        self.number, self.first = 0, ""

    def __call__(self, error: ValueError) -> None:
        """Counts a row."""
        self.number += 1
        self.first = self.first or str(error)

    @property
    def notes(self) -> list[str]:
        """What is to be said about them, if there are any."""
        said = f"left out: {self.number} rows that cannot be read; the first: {self.first}"
        return [said] * (self.number > 0)


_Found = tuple[str, "dict[str, Any] | ValueError"]
"""A place, and the row that stands there or why none does."""


def is_table(name: str) -> bool:
    """Says whether ``read_rows`` reads what is called so; does not look whether it exists."""
    return name.startswith(DATASETS_PREFIX) or suffix_of(name) in _READERS


def parse_columns(words: str | None) -> dict[str, str]:
    """Reads which column of a file is which: ``chosen=response_1,rejected=response_2``.

    Args:
        words: Names of ours and of the file, or None for none.

    Returns:
        The file's name by ours.

    Raises:
        ValueError: If it is written in another way, or names one of ours twice.
    """
    named: dict[str, str] = {}
    for word in words.split(",") if words else ():
        ours, equals, theirs = (part.strip() for part in word.partition("="))
        if not (ours and equals and theirs) or ours in named:
            raise ValueError(
                f"columns are {words!r}; they are written ours=theirs, with a comma between two "
                "and each of ours once, as in prompt=question,chosen=answer_1,rejected=answer_2"
            )
        named[ours] = theirs
    return named


def read_rows(
    name: str,
    *,
    columns: Mapping[str, str] | None = None,
    on_bad: Callable[[ValueError], None] | None = None,
) -> tuple[Row, ...]:
    """Reads all the rows of a file or dataset.

    Args:
        name: The path of a ``.json`` (a list of objects, an object with one such list, or JSON
            Lines), ``.jsonl``, ``.csv``, ``.tsv`` or ``.parquet`` file, with ``.gz`` or ``.zst``
            behind it if it is packed; or ``datasets:NAME``, where ``NAME`` is what
            ``datasets.load_dataset`` takes, with ``:CONFIGURATION`` behind it if there are several.
            The splits of a dataset become the column ``split``.
        columns: The file's name of a column by the name that it shall have. ``a.b`` is what a
            column ``a`` of objects holds under ``b``.
        on_bad: Is told why a row cannot be read, which is then left out; None raises it.

    Raises:
        ValueError: If it cannot be read or has no rows; the message says where.
        FileNotFoundError: If there is no such file.
        ModuleNotFoundError: If a library is missing; the message says how to get it.
    """
    rows: list[tuple[str, dict[str, Any]]] = []
    bad: list[ValueError] = []
    for place, values in _found(name):
        flaw = values if isinstance(values, ValueError) else _flaw(place, values)
        if flaw is None and not isinstance(values, ValueError):
            rows.append((place, values))
        elif flaw is not None:
            bad.append(flaw)
            if on_bad is None:
                break
            on_bad(flaw)
    if bad and not (rows and on_bad):
        raise bad[0]
    if not rows:
        raise ValueError(f"{name} has no rows")
    names = dict.fromkeys(column for _, values in rows for column in values)
    for _, values in rows:
        for column in names.keys() - values.keys():
            values[column] = None  # what one row lacks is nothing, not another set of columns
    moves = _moves(name, list(names), columns or {})
    return tuple(Row(place=place, values=_renamed(values, moves)) for place, values in rows)


def checked_rows(
    rows: Sequence[Row],
    check: Callable[[Row], object],
    on_bad: Callable[[ValueError], None] | None = None,
) -> list[Row]:
    """Returns the rows that pass a check.

    Args:
        rows: What ``read_rows`` gave.
        check: Raises ``ValueError``, with the row's place, of a row that cannot be used.
        on_bad: Is told why, and the row is left out; None raises it.

    Raises:
        ValueError: If none passes.
    """
    kept, first = [], None
    for row in rows:
        try:
            check(row)
        except ValueError as error:
            if on_bad is None:
                raise
            on_bad(error)
            first = first or error
        else:
            kept.append(row)
    if first is not None and not kept:
        raise first
    return kept


def _found(name: str) -> Iterator[_Found]:
    """What is read; what ends it too early, such as a damage, comes last."""
    try:
        yield from _read(name)
    except ValueError as error:
        yield name, error


def _read(name: str) -> Iterator[_Found]:
    if name.startswith(DATASETS_PREFIX):
        return dataset_rows(name)
    reader = _READERS.get(suffix_of(name))
    if reader is None:
        raise ValueError(
            f"{name} is no table; known: {', '.join(_READERS)} (also packed as .gz or .zst) and "
            f"{DATASETS_PREFIX}NAME"
        )
    return reader(Path(name))


def _flaw(place: str, values: dict[str, Any]) -> ValueError | None:
    """Says what of a row is no text, or deeper than anybody reads."""
    left: list[tuple[Any, Any, int]] = [(name, value, 1) for name, value in values.items()]
    left += [("", name, 1) for name in values]
    while left:
        name, value, depth = left.pop()
        if depth > _DEEPEST:
            return ValueError(
                f"{place}: the column {name!r:.60} is nested more than {_DEEPEST} deep"
            )
        if isinstance(value, str):
            if not value.isascii() and (wrong := _no_text(value)):
                where = f"the column {name!r:.60}" if name else "the name of a column"
                return ValueError(f"{place}: {where} has {wrong}, which is no text")
        elif isinstance(value, dict):
            left += [(name, inner, depth + 1) for pair in value.items() for inner in pair]
        elif isinstance(value, list | tuple):
            left += [(name, inner, depth + 1) for inner in value]
    return None


def _no_text(value: str) -> str:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        wrong = ord(value[error.start])
        if 0xDC80 <= wrong <= 0xDCFF:  # noqa: PLR2004 - where a byte that is no UTF-8 is put
            return f"the byte 0x{wrong - 0xDC00:02x} at character {error.start}, not UTF-8"
        return f"half a surrogate pair at character {error.start}"
    return ""


def _moves(
    name: str, found: Sequence[str], columns: Mapping[str, str]
) -> list[tuple[str, str, tuple[str, ...]]]:
    """Which column goes where: the new name, the old one, and the way inside what it holds."""
    moves = []
    for ours, theirs in columns.items():
        outer, *inner = (theirs,) if theirs in found else theirs.split(".")
        if outer not in found:
            raise ValueError(
                f"{name} has no column {theirs!r}{did_you_mean(theirs, found)}; it has: "
                f"{listed(found)}"
            )
        moves.append((ours, outer, tuple(inner)))
    return moves


def _renamed(
    values: dict[str, Any], moves: Sequence[tuple[str, str, tuple[str, ...]]]
) -> dict[str, Any]:
    if not moves:
        return values
    moved = {outer for _, outer, inner in moves if not inner}
    kept = {column: value for column, value in values.items() if column not in moved}
    for ours, outer, way in moves:
        value = values[outer]
        for step in way:
            if isinstance(value, list) and step.isdecimal() and int(step) < len(value):
                value = value[int(step)]
            else:
                value = value.get(step) if isinstance(value, dict) else None
        kept[ours] = value
    return kept


def _read_jsonl(path: Path) -> Iterator[_Found]:
    with open_text(path) as file, reading_errors(path):
        yield from line_rows(path, file)


def _read_json(path: Path) -> Iterator[_Found]:
    with open_text(path) as file, reading_errors(path):
        text = file.read()
    rows = array_rows(path, text)
    yield from line_rows(path, text.split("\n")) if rows is None else rows


def _read_csv(path: Path) -> Iterator[_Found]:
    with open_text(path, newline="") as file, reading_errors(path):
        yield from _delimited(path, file)


def _delimited(path: Path, file: TextIO) -> Iterator[_Found]:
    """Rows of fields; the first line names the columns."""
    first = file.readline()
    by = "\t" if suffix_of(path) == ".tsv" else next((s for s in ",;\t" if s in first), ",")
    reader = csv.reader(itertools.chain([first], file), delimiter=by, strict=True)
    columns: list[str] = []
    while True:
        place = f"{path}:{reader.line_num + 1}"
        try:
            fields = _next_fields(reader)
        except csv.Error as error:
            yield place, ValueError(f"{place} is no {suffix_of(path)[1:].upper()}: {error}")
            if not columns:
                return
            continue
        if fields is None:
            return
        if not fields:
            continue
        if not columns:
            columns = _check_columns(place, [field.strip() for field in fields])
        elif len(fields) == len(columns):
            yield place, dict(zip(columns, fields, strict=True))
        else:
            yield (
                place,
                ValueError(
                    f"{place} has {len(fields)} fields where the first line names {len(columns)} "
                    f"columns; put quotes around a field with {_NAMES[by]}"
                ),
            )


_NAMES = {",": "a comma", ";": "a semicolon", "\t": "a tab"}


def _next_fields(reader: Iterator[list[str]]) -> list[str] | None:
    # The library's limit on a field is one for the whole process, and texts may be longer.
    limit = csv.field_size_limit(_LONGEST_FIELD)
    try:
        return next(reader, None)
    finally:
        csv.field_size_limit(limit)


def _check_columns(place: str, columns: list[str]) -> list[str]:
    if len(set(columns)) != len(columns):
        raise ValueError(f"{place} names a column twice: {listed(columns)}")
    return columns


def _read_parquet(path: Path) -> Iterator[_Found]:
    if not _PYARROW.is_installed():
        raise _PYARROW.missing(str(path))
    import pyarrow.parquet

    require_file(path)
    numbers = itertools.count(1)
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches():
                for values in batch.to_pylist():
                    yield f"{path}, row {next(numbers)}", values
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise ValueError(f"{path} is no Parquet: {_one_line(error)}") from error


def dataset_rows(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Reads the rows of a data set one at a time, as the library maps it into memory.

    Args:
        name: As of ``read_rows``, ``datasets:NAME``.

    Yields:
        Where a row stands, and its columns.

    Raises:
        ValueError: If it cannot be loaded.
        ModuleNotFoundError: If the library is missing; the message says how to get it.
    """
    if not _DATASETS.is_installed():
        raise _DATASETS.missing(name)
    import datasets

    from textgym.pretrained.checkpoints import asking_hub

    dataset, _, configuration = name.removeprefix(DATASETS_PREFIX).partition(":")
    with asking_hub() as trouble:
        try:
            splits = datasets.load_dataset(dataset, configuration or None)
        except Exception as error:  # the library's errors are of many kinds
            said = trouble or f"{type(error).__name__}: {_one_line(error)}"
            raise ValueError(f"{name} cannot be loaded: {said}") from error
    for split, rows in splits.items():
        for number, values in enumerate(rows, start=1):
            yield f"{name}, {split} row {number}", {**values, "split": split}


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


_READERS: Mapping[str, Callable[[Path], Iterator[_Found]]] = {
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".json": _read_json,
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".parquet": _read_parquet,
}
