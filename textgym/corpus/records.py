"""One text of a corpus, where it comes from, and how corpora are written down.

A corpus is a file of JSON Lines, compressed where its name ends in ``.gz`` or ``.zst``: a text a
line, with its provenance beside it and whatever columns came with it. It is read and written one
record at a time, so that its size is bounded by the disk alone.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import json
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from textgym.data.sources import open_bytes, reading_errors
from textgym.files import atomic_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

__all__ = [
    "CORPUS_SUFFIXES",
    "Record",
    "fingerprint",
    "read_corpus",
    "written_corpus",
]

CORPUS_SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst")
"""How the name of a corpus may end."""

_OWN = ("text", "source", "place", "digest", "licence")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One text and its provenance.

    Attributes:
        text: The text as it is now.
        source: The file, data set or package that it was read from.
        place: Where it stands in there, such as ``line 3``; empty where it is all of it.
        digest: The fingerprint of the text as it was read, which no step changes.
        licence: Under what terms it came, if that is known.
        columns: What else is known of it, as JSON holds it.
    """

    text: str
    source: str
    place: str = ""
    digest: str = ""
    licence: str | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """Where it was read, for a message."""
        return f"{self.source}, {self.place}" if self.place else self.source


def fingerprint(text: str) -> str:
    """The first 16 hexadecimal digits of a text's SHA-256, half surrogates included."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def read_corpus(path: Path) -> Iterator[Record]:
    """Reads a corpus, one record at a time.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If a line is no record, or the file is damaged; the message says which line and
            what to do.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; textgym data collect makes one")
    with open_bytes(path) as lines, reading_errors(path):
        for number, line in enumerate(lines, start=1):
            try:
                record = _record(json.loads(line))
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                why = f"it has no {error}" if isinstance(error, KeyError) else error
                raise ValueError(
                    f"{path}:{number} is no record of a corpus ({why}); make it with textgym data "
                    "collect"
                ) from None
            yield record


def _record(values: dict[str, Any]) -> Record:
    """A record of what a line holds.

    Raises:
        TypeError: If it is none.
        KeyError: If it lacks something.
    """
    text, source = values["text"], values["source"]
    if not (isinstance(text, str) and isinstance(source, str)):
        raise TypeError("text and source must be strings")
    return Record(
        text=text,
        source=source,
        place=values.get("place", ""),
        digest=values.get("digest", ""),
        licence=values.get("licence"),
        columns={name: value for name, value in values.items() if name not in _OWN},
    )


@contextmanager
def written_corpus(path: Path) -> Iterator[Callable[[Record], None]]:
    """Gives a function that writes a record; the file is there, whole, when the block ends well.

    Raises:
        ValueError: If the name is none of a corpus.
        OSError: If it cannot be written, as on a full disk; the message names the file.
        ModuleNotFoundError: If the file is ``.zst`` and zstandard is missing.
    """
    if not path.name.endswith(CORPUS_SUFFIXES):
        raise ValueError(f"{path} is no name of a corpus; end it in {', '.join(CORPUS_SUFFIXES)}")
    with atomic_file(path) as temporary, ExitStack() as stack:

        def write(record: Record) -> None:
            with _naming(path):
                _write(lines, record)

        with _naming(path):
            raw = stack.enter_context(_packing(temporary, path.suffix))
            lines = io.TextIOWrapper(raw, encoding="utf-8", newline="\n", write_through=True)
        try:
            yield write
            with _naming(path):
                lines.close()
                stack.close()
        finally:
            for close in (lines.close, stack.close):
                with suppress(OSError):  # on a full disk closing fails again, and it has been told
                    close()


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Says of what a disk refuses which file it was to be, and what to do."""
    try:
        yield
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
        said = f"{error.strerror or error}{'; make room, or write elsewhere' * full}"
        raise OSError(error.errno, said, str(path)) from error


@contextmanager
def _packing(path: Path, suffix: str) -> Iterator[BinaryIO]:
    """Opens a file of bytes to be written, packed as the suffix says."""
    with path.open("wb") as raw:
        if suffix == ".gz":
            # No time of writing inside: equal corpora are equal files.
            with gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed:
                yield cast("BinaryIO", packed)
        elif suffix == ".zst":
            with _zstandard().open(raw, "wb", closefd=False) as packed:
                yield packed
        else:
            yield raw


def _write(lines: io.TextIOWrapper, record: Record) -> None:
    values = {
        "text": record.text,
        "source": record.source,
        "place": record.place,
        "digest": record.digest,
        **({"licence": record.licence} if record.licence else {}),
        **record.columns,
    }
    # Half a surrogate pair, which UTF-8 does not hold, is written as JSON's escape.
    text = json.dumps(values, ensure_ascii=False)
    try:
        lines.write(f"{text}\n")
    except UnicodeEncodeError:
        lines.write(json.dumps(values) + "\n")


def _zstandard() -> Any:
    try:
        import zstandard
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            'files that end in .zst need zstandard: pip install "textgym[corpus]"'
        ) from None
    return zstandard
