"""Raw text in, disjoint pools of clean text out; and text that comes with its answers."""

from __future__ import annotations

from textgym.data.aclsum import load_aclsum
from textgym.data.docstrings import load_docstrings
from textgym.data.language_packs import load_phrases
from textgym.data.packages import Package
from textgym.data.prose import load_topics, read_text
from textgym.data.reviews import POOLS, Review, load_reviews
from textgym.data.split import assign
from textgym.data.tables import read_rows

__all__ = [
    "POOLS",
    "Package",
    "Review",
    "assign",
    "load_aclsum",
    "load_docstrings",
    "load_phrases",
    "load_reviews",
    "load_topics",
    "read_rows",
    "read_text",
]
