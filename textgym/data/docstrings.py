"""Docstrings as pairs of a description and its summary, read from the sources of installed code.

A docstring's first paragraph sums up the paragraphs below it, which makes every installation of
Python a small corpus of summaries. The sources are read, never imported. Which docstrings there are
depends on the installed versions, so whoever splits the pairs must go by their text.

Simplifications: a docstring is a triple-quoted string that opens a file or follows a colon at the
end of a line, which finds what a full parse finds but for one in a hundred, five times as fast. Of
the paragraphs below the first, only those of plain prose before the first section, list, example
or field are read, and their markup is removed.
"""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import os
import re
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from textgym.data.packages import Package
from textgym.data.prose import key_of

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["DEFAULT_SOURCES", "STDLIB", "DocstringPair", "load_docstrings"]

STDLIB = "stdlib"
"""The source that is always there: the standard library of the running Python."""

DEFAULT_SOURCES = (STDLIB, "numpy", "gymnasium")
"""Read unless others are named. Any installed package will do, torch among them."""

_HEAD_WORDS = (3, 25)
_BODY_WORDS = (25, 300)

# Tests and what is generated or bundled describe nothing; the rest goes away in later versions.
_SKIPPED_FOLDERS = frozenset(
    [
        "__pycache__",
        "_tests",
        "dist-packages",
        "distutils",
        "ensurepip",
        "idlelib",
        "lib2to3",
        "pydoc_data",
        "site-packages",
        "test",
        "testing",
        "tests",
        "turtledemo",
    ]
)
_LETTERS_OF_PROSE = 0.75

_DOCSTRING = re.compile(
    r"(?:\A(?:\s*#[^\n]*\n)*|:[ \t]*(?:#[^\n]*)?\n)\s*([rR]?)(\"{3}|'{3})(.*?)\2", re.DOTALL
)
_BLANK_LINES = re.compile(r"\n\s*\n")
_ROLE = re.compile(r":[\w:+]+:`~?([^`<]+?)(?:\s*<[^`]*>)?`")
_MARKUP = re.compile(r"``|`_*|\*\*|(?<!\w)\*(?=\w)|(?<=\w)\*(?!\w)")
_NOT_PROSE = re.compile(
    r"^(?:[ \t]|>>>|\.\.\s|:\w|@\w|[-*+]\s|\d+[.)]\s|[-=~^*#|$]|[A-Z][\w ]{0,30}:\s*$)",
    re.MULTILINE,
)
_UNFINISHED = re.compile(r"(?:^|(?<=[.!?])\s)[^.!?]*[^.!?)\"'\]]$")
_ADDRESS = re.compile(r"https?://|www\.")
_SENTENCE = re.compile(r"^[A-Z][^:]*[.\w)]$")


@dataclass(frozen=True, slots=True, kw_only=True)
class DocstringPair:
    """What a docstring says at length, and what it says in brief.

    Attributes:
        body: The description, 25 to 300 words separated by single spaces, without the summary.
        head: The summary, 3 to 25 words.
    """

    body: str
    head: str


@functools.lru_cache(maxsize=4)
def load_docstrings(sources: tuple[str, ...] = DEFAULT_SOURCES) -> tuple[DocstringPair, ...]:
    """Returns the pairs of some sources, in the order of their files.

    No two heads and no two bodies begin with the same 12 words, whatever their case and signs: near
    copies, of which libraries have many, would fall into different splits. The files are read once
    per process; the default sources take half a second, torch another second.

    Args:
        sources: ``"stdlib"``, or names of installed packages as one imports them.

    Raises:
        ModuleNotFoundError: If a package is not installed; the message says how to get it.
    """
    seen: set[str] = set()
    pairs = []
    for source in sources:
        for path in _files(_locate(source)):
            # Old sources in another encoding lose a letter, not the file.
            for docstring in _docstrings(path.read_text(encoding="utf-8", errors="replace")):
                pair = _parse(docstring)
                if pair is None:
                    continue
                keys = {_key("head", pair.head), _key("body", pair.body)}
                if not keys & seen:
                    seen |= keys
                    pairs.append(pair)
    return tuple(pairs)


def _locate(source: str) -> Path:
    if source == STDLIB:
        return Path(sysconfig.get_path("stdlib"))
    return Package(module=source, pip=source).folder(f"the source {source!r} of docstrings")


def _files(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        # os.walk goes where this list says, and the order of a directory is the file system's.
        folders[:] = sorted(set(folders) - _SKIPPED_FOLDERS)
        yield from (Path(folder, name) for name in sorted(names) if name.endswith(".py"))


def _docstrings(source: str) -> Iterator[str]:
    for match in _DOCSTRING.finditer(source):
        raw, quotes, text = match.groups()
        if "\\" in text and not raw:
            try:
                text = ast.literal_eval(f"{quotes}{text}{quotes}")
            except (SyntaxError, ValueError):
                continue
        yield inspect.cleandoc(text)


def _parse(docstring: str) -> DocstringPair | None:
    first, *rest = _BLANK_LINES.split(docstring)
    prose = itertools.takewhile(lambda paragraph: not _NOT_PROSE.search(paragraph), rest)
    head, body = _clean(first), _UNFINISHED.sub("", _clean(" ".join(prose)))
    if not _fits(head, _HEAD_WORDS) or not _fits(body, _BODY_WORDS):
        return None
    if _NOT_PROSE.search(first) or not _SENTENCE.match(head) or not body[0].isupper():
        return None
    # A body that quotes its summary is summed up by copying.
    if _ADDRESS.search(body) or head.casefold().rstrip(".") in body.casefold():
        return None
    letters = sum(character.isalpha() or character == " " for character in body)
    if letters < _LETTERS_OF_PROSE * len(body):
        return None
    return DocstringPair(body=body, head=head)


def _clean(text: str) -> str:
    return " ".join(_MARKUP.sub("", _ROLE.sub(r"\1", text)).split())


def _fits(text: str, words: tuple[int, int]) -> bool:
    return words[0] <= len(text.split()) <= words[1]


def _key(kind: str, text: str) -> str:
    return f"{kind} {' '.join(key_of(text).split()[:12])}"
