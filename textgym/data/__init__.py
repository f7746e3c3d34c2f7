"""Raw text in, disjoint pools of clean text out."""

from __future__ import annotations

from textgym.data.reviews import POOLS, Review, load_reviews
from textgym.data.split import assign

__all__ = ["POOLS", "Review", "assign", "load_reviews"]
