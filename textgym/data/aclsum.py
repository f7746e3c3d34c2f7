"""Abstracts of papers with summaries by aspect, read from the installed package ``aclsum``.

The summaries were written by people: ACLSum (Takeshita et al., 2024), 250 papers of the ACL. They
are data that the reader installs; nothing of them is in this package.
"""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from textgym.data.packages import Package

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ACLSUM", "ASPECTS", "Paper", "load_aclsum"]

ACLSUM = Package(module="aclsum", pip="aclsum==0.1.2")
"""The package; with ``--no-deps`` it brings the data alone."""

ASPECTS = ("challenge", "approach", "outcome")
"""What the summaries are about."""

_FILES: Mapping[str, str] = MappingProxyType(
    {"train": "train", "validation": "val", "test": "test"}
)

# The abstracts come with spaces around every sign.
_BEFORE = re.compile(r" (?=[,.;:?!%)\]])|(?<=[(\[]) | (?='s\b)")
_FOOTNOTE = re.compile(r"(?<=\.) \d$")
_QUOTED = re.compile(r'" ([^"]*) "')


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper:
    """One paper.

    Attributes:
        abstract: Its abstract, words separated by single spaces.
        summaries: Each aspect of ``ASPECTS`` and the sentence on it.
    """

    abstract: str
    summaries: tuple[tuple[str, str], ...]


@functools.cache
def load_aclsum(split: str) -> tuple[Paper, ...]:
    """Returns the papers of one of the package's own splits, in its order.

    Args:
        split: ``"train"``, ``"validation"`` or ``"test"``: 100, 50 and 100 papers.

    Raises:
        ValueError: If ``split`` is unknown; the message lists the known ones.
        ModuleNotFoundError: If the package is missing; the message says how to get it.
        FileNotFoundError: If another version of the package is installed.
    """
    if split not in _FILES:
        raise ValueError(f"unknown split {split!r} of aclsum; known: {', '.join(_FILES)}")
    path = ACLSUM.file("the summaries of papers", "dataset", f"{_FILES[split]}.jsonl")
    with path.open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return tuple(
        Paper(
            abstract=_clean(" ".join(row["sentences"]["abstract"])),
            summaries=tuple((aspect, _clean(row["summary"][aspect])) for aspect in ASPECTS),
        )
        for row in rows
    )


def _clean(text: str) -> str:
    spaced = _BEFORE.sub("", " ".join(text.split()))
    return _FOOTNOTE.sub("", _QUOTED.sub(r'"\1"', spaced))
