"""Rows of a user's own data: JSON Lines, CSV, Parquet, or a dataset by name.

Each row knows where it stands, so that a message can say where to look.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textgym.data.packages import Package
from textgym.data.prose import read_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["DATASETS_PREFIX", "Row", "is_table", "read_rows"]

DATASETS_PREFIX = "datasets:"
"""Begins the name of a dataset for the library ``datasets``, as in ``datasets:owner/name``."""

# The most that the C long of every platform holds.
_LONGEST_FIELD = 2**31 - 1

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


def is_table(name: str) -> bool:
    """Says whether ``read_rows`` reads what is called so; does not look whether it exists."""
    return name.startswith(DATASETS_PREFIX) or Path(name).suffix.lower() in _readers()


def read_rows(name: str) -> tuple[Row, ...]:
    """Reads all the rows of a file or dataset.

    Args:
        name: The path of a ``.jsonl``, ``.csv`` or ``.parquet`` file, or ``datasets:NAME``, where
            ``NAME`` is what ``datasets.load_dataset`` takes, with ``:CONFIGURATION`` behind it if
            there are several. The splits of a dataset become the column ``split``.

    Raises:
        ValueError: If it cannot be read or has no rows; the message says where.
        FileNotFoundError: If there is no such file.
        ModuleNotFoundError: If a library is missing; the message says how to get it.
    """
    if name.startswith(DATASETS_PREFIX):
        rows = list(_read_dataset(name))
    else:
        reader = _readers().get(Path(name).suffix.lower())
        if reader is None:
            raise ValueError(
                f"{name} is no table; known: {', '.join(_readers())} and {DATASETS_PREFIX}NAME"
            )
        rows = list(reader(Path(name)))
    if not rows:
        raise ValueError(f"{name} has no rows")
    # What one row lacks is nothing, not another set of columns.
    columns = dict.fromkeys(column for row in rows for column in row.values)
    return tuple(
        Row(place=row.place, values={column: row.values.get(column) for column in columns})
        for row in rows
    )


def _readers() -> Mapping[str, Callable[[Path], Iterator[Row]]]:
    return {".jsonl": _read_jsonl, ".csv": _read_csv, ".parquet": _read_parquet}


def _read_jsonl(path: Path) -> Iterator[Row]:
    # Other characters that end a line for str.splitlines may stand inside a JSON string.
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{path}:{number}"
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{place} is no JSON: {error}; each line holds one object") from None
        if not isinstance(values, dict):
            raise ValueError(  # noqa: TRY004 - the file is wrong, not the type of an argument
                f"{place} is a JSON {type(values).__name__}; each line holds one object, as in "
                '{"prompt": "...", "reference": "..."}'
            )
        yield Row(place=place, values=values)


def _read_csv(path: Path) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    # The library's limit on a field is one for the whole process, and texts may be longer.
    limit = csv.field_size_limit(_LONGEST_FIELD)
    columns: list[str] = []
    try:
        for fields in reader:
            place = f"{path}:{reader.line_num}"
            if not fields:
                continue
            if not columns:
                columns = _check_columns(place, fields)
            elif len(fields) != len(columns):
                raise ValueError(
                    f"{place} has {len(fields)} fields where the first line names {len(columns)} "
                    "columns; put quotes around a field with a comma"
                )
            else:
                yield Row(place=place, values=dict(zip(columns, fields, strict=True)))
    except csv.Error as error:
        raise ValueError(f"{path}:{reader.line_num} is no CSV: {error}") from None
    finally:
        csv.field_size_limit(limit)


def _check_columns(place: str, columns: list[str]) -> list[str]:
    if len(set(columns)) != len(columns):
        raise ValueError(f"{place} names a column twice: {', '.join(columns)}")
    return columns


def _read_parquet(path: Path) -> Iterator[Row]:
    if not _PYARROW.is_installed():
        raise _PYARROW.missing(str(path))
    import pyarrow.parquet

    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    try:
        rows = pyarrow.parquet.read_table(path).to_pylist()
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise ValueError(f"{path} is no Parquet: {_one_line(error)}") from error
    for number, values in enumerate(rows, start=1):
        yield Row(place=f"{path}, row {number}", values=values)


def _read_dataset(name: str) -> Iterator[Row]:
    if not _DATASETS.is_installed():
        raise _DATASETS.missing(name)
    import datasets

    dataset, _, configuration = name.removeprefix(DATASETS_PREFIX).partition(":")
    try:
        splits = datasets.load_dataset(dataset, configuration or None)
    except Exception as error:
        # The library's errors are of many kinds, and a hub out of reach is the most common.
        raise ValueError(
            f"{name} cannot be loaded: {type(error).__name__}: {_one_line(error)}"
        ) from error
    for split, rows in splits.items():
        for number, values in enumerate(rows, start=1):
            yield Row(place=f"{name}, {split} row {number}", values={**values, "split": split})


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
