"""Bytes as text: UTF-8 where they are that, else what they most likely are.

A stream is decoded line by line, so that one line of another encoding in the middle of a file does
not decide about the others. What is no UTF-8 is taken as the encoding that ``charset_normalizer``
finds in it, and short lines, of which nothing can be found out, as Windows-1252, whose printable
characters are those of Latin-1. A byte order mark says it for the whole stream.

Simplification: UTF-16 without its mark is taken for no text.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from textgym.data.sources import encoding_of

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "LineTooLong",
    "NotTextError",
    "decoded",
    "require_text",
    "text_lines",
    "whole_text",
]

_MARKED = ("utf-8-sig", "utf-16", "utf-32")
_HEAD = 4096  # bytes by which text is told from what is none
# What no text has but by accident; a picture, an archive or a program has a tenth of them or more.
_CONTROLS = bytes(set(range(32)) - set(b"\b\t\n\f\r\x1a\x1b"))
_FEW, _SHARE = 8, 0.03
_WIDEST = 4  # bytes of a character
_ENOUGH = 512  # bytes from which an encoding can be told
_WESTERN = "cp1252"
_NEARLY = 0.1  # of what charset_normalizer calls chaos


@dataclass(frozen=True, slots=True)
class LineTooLong:
    """Stands for a line that was passed over."""


def decoded(data: bytes) -> tuple[str, str]:
    """A text and the encoding that it was in; nothing is lost without a mark in its place.

    Args:
        data: Without a byte order mark.
    """
    try:
        return data.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        pass
    encoding = _told(data) if len(data) >= _ENOUGH else _WESTERN
    return data.decode(encoding, "replace"), encoding


def _told(data: bytes) -> str:
    """The likeliest encoding; Windows-1252 where that is nearly as likely as the first."""
    from charset_normalizer import from_bytes

    matches = list(from_bytes(data))
    if not matches:
        return _WESTERN
    western = [m.chaos for m in matches if _WESTERN in (m.encoding, *m.could_be_from_charset)]
    if western and min(western) <= matches[0].chaos + _NEARLY:
        return _WESTERN
    return str(matches[0].encoding)


class NotTextError(ValueError):
    """What shall be read is a picture, an archive, a program or the like."""


def require_text(raw: BinaryIO) -> str:
    """Names the encoding that a stream of text says it has by its mark; nothing of it is read.

    Args:
        raw: Bytes, at their beginning.

    Returns:
        UTF-8 where there is no mark, or what is behind cannot be looked at.

    Raises:
        NotTextError: If it is no text, by how many control characters it begins with.
    """
    stream: Any = raw
    head = bytes(stream.peek(_HEAD)[:_HEAD]) if hasattr(raw, "peek") else b""
    encoding = encoding_of(head)
    if encoding not in _MARKED:
        controls = len(head) - len(head.translate(None, _CONTROLS))
        if controls > max(_FEW, _SHARE * len(head)):
            raise NotTextError("no text")
    return encoding


def whole_text(raw: BinaryIO, most: int) -> tuple[str | None, str]:
    """All of a stream, or ``None`` if it is longer than so many characters; and its encoding.

    Raises:
        NotTextError: See ``require_text``.
    """
    require_text(raw)
    data = raw.read(_WIDEST * most + _WIDEST)
    marked = encoding_of(data)
    if marked in _MARKED:
        text, encoding = data.decode(marked, "replace"), marked.removesuffix("-sig")
    else:
        text, encoding = decoded(data)
    return (None, encoding) if len(text) > most else (text, encoding)


def text_lines(raw: BinaryIO, most: int) -> Iterator[tuple[int, str | LineTooLong, str]]:
    """The lines of a stream without their ends: number, text, encoding.

    Only LF and CRLF end a line: what else Unicode calls a separator stands inside texts. Of a line
    longer than ``most`` characters no more is held than that.

    Args:
        raw: Bytes.
        most: Characters of the longest line that is given.

    Raises:
        NotTextError: See ``require_text``.
    """
    marked = require_text(raw)
    if marked in _MARKED:
        yield from _marked_lines(raw, marked, most)
        return
    number = 0
    while line := raw.readline(_WIDEST * most + 2):
        number += 1
        if not line.endswith(b"\n") and len(line) > _WIDEST * most:
            while (rest := raw.readline(1 << 20)) and not rest.endswith(b"\n"):
                pass
            yield number, LineTooLong(), "utf-8"
            continue
        text, encoding = decoded(line.rstrip(b"\r\n"))
        yield number, LineTooLong() if len(text) > most else text, encoding


def _marked_lines(
    raw: BinaryIO, name: str, most: int
) -> Iterator[tuple[int, str | LineTooLong, str]]:
    lines = io.TextIOWrapper(raw, encoding=name, errors="replace", newline="\n")
    number, said = 0, name.removesuffix("-sig")
    try:
        while line := lines.readline(most + 2):
            number += 1
            if not line.endswith("\n") and len(line) > most:
                while (rest := lines.readline(1 << 20)) and not rest.endswith("\n"):
                    pass
                yield number, LineTooLong(), said
                continue
            text = line.rstrip("\r\n")
            yield number, LineTooLong() if len(text) > most else text, said
    finally:
        lines.detach()  # whoever opened the bytes closes them
