"""Files of text as they come: packed or not, and in whatever encoding they say they have.

UTF-8 is read with or without a byte order mark, UTF-16 and UTF-32 with one. Lines end as on Unix,
Windows or an old Mac; no other character ends one.

Simplification: an encoding that a file does not name, such as Latin-1, is not guessed.
"""

from __future__ import annotations

import codecs
import contextlib
import gzip
import io
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from textgym.data.packages import Package

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO, TextIO

__all__ = [
    "PACKED",
    "encoding_of",
    "open_bytes",
    "open_text",
    "reading_errors",
    "require_file",
    "suffix_of",
]

PACKED = (".gz", ".zst")
"""What a packed file's name ends with, behind the ending of what is in it."""

_PYARROW = Package(module="pyarrow", pip="pyarrow")
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LONGEST_MARK = 4


def suffix_of(name: str | Path) -> str:
    """Returns what a file's name ends with, in small letters, without what it is packed by."""
    path = Path(name)
    if path.suffix.lower() in PACKED:
        path = path.with_suffix("")
    return path.suffix.lower()


def encoding_of(head: bytes) -> str:
    """Names the encoding of a file by its first bytes, four or more; UTF-8 if they do not say."""
    return next((name for mark, name in _MARKS if head.startswith(mark)), "utf-8")


def require_file(path: Path) -> None:
    """Refuses what is no file.

    Raises:
        ValueError: If it is a folder.
        FileNotFoundError: If there is nothing.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give the path of a file")
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")


@contextlib.contextmanager
def open_text(path: Path, *, newline: str | None = None) -> Iterator[TextIO]:
    r"""Opens a file of text, for a while.

    A byte that is not of the encoding becomes half a surrogate pair, which no text has, so that
    whoever reads can say in which row it is.

    Args:
        path: The file; one of ``PACKED`` is unpacked on the way.
        newline: As for ``open``: ``None`` makes every end of a line ``\n``, ``""`` keeps them.

    Raises:
        ValueError: If it is a folder, or not packed as its name says.
        FileNotFoundError: If there is no such file.
        ModuleNotFoundError: If a library is missing; the message says how to get it.
    """
    require_file(path)
    with contextlib.ExitStack() as stack, reading_errors(path):
        with open_bytes(path) as first:
            encoding = encoding_of(first.read(_LONGEST_MARK))
        file = stack.enter_context(open_bytes(path))
        errors = "surrogateescape" if encoding.startswith("utf-8") else "replace"
        text = io.TextIOWrapper(file, encoding=encoding, errors=errors, newline=newline)
        yield stack.enter_context(text)


@contextlib.contextmanager
def reading_errors(path: Path) -> Iterator[None]:
    """Turns what goes wrong while a file is unpacked and decoded into one line.

    Raises:
        ValueError: If the file is damaged or cut short.
    """
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is not whole, or no {path.suffix}: {error}") from None
    except UnicodeError as error:
        raise ValueError(f"{path} is not the text that it begins as: {error}") from None
    except OSError as error:
        if path.suffix.lower() in PACKED and error.errno is None:  # of the unpacking, not of a disk
            raise ValueError(f"{path} is not whole, or no {path.suffix}: {error}") from None
        raise


def open_bytes(path: Path) -> BinaryIO:
    """Opens a file of bytes, unpacked on the way if its name ends in one of ``PACKED``.

    What is damaged in it raises while it is read, see ``reading_errors``.

    Raises:
        ModuleNotFoundError: If a library is missing; the message says how to get it.
    """
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rb")  # type: ignore[return-value] # a BufferedIOBase with a name
    if path.suffix.lower() == ".zst":
        if not _PYARROW.is_installed():
            raise _PYARROW.missing(str(path))
        import pyarrow as pa

        return io.BufferedReader(pa.CompressedInputStream(str(path), "zstd"))
    return path.open("rb")
