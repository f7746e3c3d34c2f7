"""One text of a corpus, where it comes from, and how corpora are written down.

A corpus is a file of JSON Lines, compressed where its name ends in ``.gz`` or ``.zst``: a text a
line, with its provenance beside it and whatever columns came with it. It is read and written one
record at a time, so that its size is bounded by the disk alone.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import secrets
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

__all__ = [
    "CORPUS_SUFFIXES",
    "Record",
    "fingerprint",
    "open_bytes",
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


@contextmanager
def open_bytes(path: Path, mode: str = "rb") -> Iterator[BinaryIO]:
    """Opens a file of bytes, through its compression if its name ends in ``.gz`` or ``.zst``.

    Raises:
        ModuleNotFoundError: If the file is ``.zst`` and zstandard is missing.
    """
    suffix = path.suffix.lower()
    if suffix == ".gz":
        # No time of writing inside: equal corpora are equal files.
        with path.open(mode) as raw, gzip.GzipFile("", mode, 6, raw, mtime=0) as packed:
            yield cast("BinaryIO", packed)
    elif suffix == ".zst":
        # Its own file object has no lines.
        with _zstandard().open(path, mode) as packed:
            yield packed if mode == "wb" else cast("BinaryIO", io.BufferedReader(packed))
    else:
        with path.open(mode) as raw:
            yield cast("BinaryIO", raw)


def read_corpus(path: Path) -> Iterator[Record]:
    """Reads a corpus, one record at a time.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If a line is no record; the message says which and what to do.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; textgym data collect makes one")
    with open_bytes(path) as lines:
        for number, line in enumerate(lines, start=1):
            try:
                values = json.loads(line)
                text, source = values["text"], values["source"]
            except (ValueError, TypeError, KeyError) as error:
                raise ValueError(
                    f"{path}:{number} is no record of a corpus ({type(error).__name__}: {error}); "
                    "make it with textgym data collect"
                ) from None
            yield Record(
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
    """
    if not path.name.endswith(CORPUS_SUFFIXES):
        raise ValueError(f"{path} is no name of a corpus; end it in {', '.join(CORPUS_SUFFIXES)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".writing.{secrets.token_hex(8)}.{path.name}")
    try:
        with (
            open_bytes(temporary, "wb") as raw,
            io.TextIOWrapper(raw, encoding="utf-8", newline="\n", write_through=True) as lines,
        ):
            yield lambda record: _write(lines, record)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


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
