"""Bytes as text: UTF-8 where they are that, else what they most likely are.

A stream is decoded line by line, so that one line of another encoding in the middle of a file does
not decide about the others. What is no UTF-8 is taken as the encoding that ``charset_normalizer``
finds in it, and short lines, of which nothing can be found out, as Windows-1252, whose printable
characters are those of Latin-1. A byte order mark says it for the whole stream.
"""

from __future__ import annotations

import codecs
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, cast

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["LineTooLong", "decoded", "text_lines", "whole_text"]

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
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


def whole_text(raw: BinaryIO, most: int) -> tuple[str | None, str]:
    """All of a stream, or ``None`` if it is longer than so many characters; and its encoding."""
    data = raw.read(_WIDEST * most + _WIDEST)
    for mark, name in _MARKS:
        if data.startswith(mark):
            text, encoding = data.decode(name, "replace"), name.removesuffix("-sig")
            break
    else:
        text, encoding = decoded(data)
    return (None, encoding) if len(text) > most else (text, encoding)


def text_lines(raw: BinaryIO, most: int) -> Iterator[tuple[int, str | LineTooLong, str]]:
    """The lines of a stream without their ends: number, text, encoding.

    Only LF and CRLF end a line, and a CR alone: what else Unicode calls a separator stands inside
    texts. Of a line longer than ``most`` characters no more is held than that.

    Args:
        raw: Bytes.
        most: Characters of the longest line that is given.
    """
    buffered = cast("io.BufferedReader", raw)
    head = buffered.peek(_WIDEST)[:_WIDEST] if hasattr(buffered, "peek") else b""
    for mark, name in _MARKS:
        if head.startswith(mark):
            yield from _marked_lines(raw, name, most)
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
    lines = io.TextIOWrapper(raw, encoding=name, errors="replace", newline=None)
    number, said = 0, name.removesuffix("-sig")
    try:
        while line := lines.readline(most + 2):
            number += 1
            if not line.endswith("\n") and len(line) > most:
                while (rest := lines.readline(1 << 20)) and not rest.endswith("\n"):
                    pass
                yield number, LineTooLong(), said
                continue
            text = line.rstrip("\n")
            yield number, LineTooLong() if len(text) > most else text, said
    finally:
        lines.detach()  # whoever opened the bytes closes them
