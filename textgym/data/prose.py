"""Running text: read from a file, cut into passages of words."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import TYPE_CHECKING

from textgym.data.sources import encoding_of, require_file

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["LONGEST_WORD", "UNITS", "file_state", "key_of", "load_topics", "passages", "read_text"]

LONGEST_WORD = 100
"""What is longer without a space, as an address or encoded data, ends a passage and is left out."""

UNITS = ("paragraph", "line")
"""What may be a passage: what stands between blank lines, or each line."""

_BLANK_LINES = re.compile(r"\n\s*\n")
# What is a control character, but no white space to str.split.
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1b\x7f]")
_NO_WORD = re.compile(r"[\W_]+")  # what is no letter and no digit of any language
_LETTERS_OF_PROSE = 0.75
_NOT_PROSE = re.compile(r"^(?:\s|[*+=~^#|>-]|\d+\.\s|\.\.|Note:|See also:|[\w ]+:$)", re.MULTILINE)
# What is in double quotes is code, whose stars are its own.
_EMPHASIS = re.compile(r'(?<![\w*"])\*{1,2}([^*\s"](?:[^*"]*[^*\s"])?)\*{1,2}(?![\w*"])')


def key_of(text: str) -> str:
    """Returns what two texts share that differ in case, punctuation and spaces alone."""
    # A text of signs alone has no words, and is itself.
    return _NO_WORD.sub(" ", text.casefold()).strip() or text


def file_state(path: str | Path) -> tuple[int, ...]:
    """Returns what is different when a file has been written anew; empty if there is no file."""
    file = Path(path)
    if not file.is_file():
        return ()
    state = file.stat()
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns


def read_text(path: str | Path) -> str:
    """Reads a whole file of UTF-8, or of another encoding that its byte order mark names.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is a folder, or no such text; the message names the file and the byte.
    """
    file = Path(path)
    require_file(file)
    data = file.read_bytes()
    try:
        return data.decode(encoding_of(data).removesuffix("-sig")).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{file} is not {error.encoding.upper()}: byte 0x{data[error.start]:02x} at offset "
            f"{error.start}; save the file as UTF-8"
        ) from None


def passages(text: str, unit: str = "paragraph") -> Iterator[list[str]]:
    """Cuts a text into passages of words, in their order.

    Words are what white space or control characters separate.

    Args:
        text: Any text, of any size.
        unit: A name in ``UNITS``.

    Raises:
        ValueError: If ``unit`` is unknown; the message lists the known ones.
    """
    if unit not in UNITS:
        raise ValueError(f"unknown unit {unit!r} of passages; known: {', '.join(UNITS)}")
    lines = _CONTROL.sub(" ", text).replace("\r\n", "\n").replace("\r", "\n")
    for part in lines.split("\n") if unit == "line" else _BLANK_LINES.split(lines):
        passage: list[str] = []
        for word in part.split():
            if len(word) <= LONGEST_WORD:
                passage.append(word)
            elif passage:
                yield passage
                passage = []
        if passage:
            yield passage


@functools.cache
def load_topics() -> tuple[str, ...]:
    """Returns the paragraphs of Python's own manual that are prose, each once, in its order.

    They are those that ``help("assert")`` and its like show, from the standard library's
    ``pydoc_data``, without the stars around what is stressed.
    """
    from pydoc_data.topics import topics

    found: dict[str, None] = {}
    for name in sorted(topics):
        for paragraph in _BLANK_LINES.split(topics[name].strip()):
            text = " ".join(_EMPHASIS.sub(r"\1", paragraph).split())
            letters = sum(character.isalpha() or character == " " for character in text)
            if not _NOT_PROSE.search(paragraph) and letters >= _LETTERS_OF_PROSE * len(text):
                found.setdefault(text)
    return tuple(found)
