"""Continue the beginning of a movie review, and be liked for it."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textgym.data.reviews import POOLS, load_reviews
from textgym.tasks.splits import check_split
from textgym.types import Example

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["PROMPT_WORDS", "REFERENCE_WORDS", "Sentiment"]

PROMPT_WORDS = 8
"""How many words of a review are its prompt."""

REFERENCE_WORDS = 40
"""How many of the words after them are the reference, at most."""


@dataclass(frozen=True, slots=True)
class Sentiment:
    """The first words of an IMDb review; what is scored is how the text goes on.

    The columns are ``label`` (1 if the whole review likes its film, else 0) and ``reference`` (what
    the reviewer wrote next, with its leading space, so that ``prompt + reference`` begins the
    review). The splits are the pools of ``textgym.data``.
    """

    name: str = "Sentiment"
    prompt_tokens: int = 24
    completion_tokens: int = 36
    tokenizer: str = "reviews-4096"
    reward: str = "vader"
    splits: tuple[str, ...] = tuple(POOLS)

    def examples(self, split: str) -> Sequence[Example]:
        """Returns one example per review of the pool ``split``.

        Raises:
            ValueError: If ``split`` is unknown; the message lists the known ones.
            ModuleNotFoundError: If the reviews' package is missing; the message says how to get it.
            FileNotFoundError: If another version of the package is installed.
        """
        check_split(self, split)
        return _examples(split)


@functools.cache
def _examples(split: str) -> tuple[Example, ...]:
    examples = []
    for review in load_reviews(split):
        words = review.text.split(" ")
        reference = " ".join(words[PROMPT_WORDS : PROMPT_WORDS + REFERENCE_WORDS])
        examples.append(
            Example(
                prompt=" ".join(words[:PROMPT_WORDS]),
                columns={"label": review.label, "reference": f" {reference}"},
            )
        )
    return tuple(examples)
