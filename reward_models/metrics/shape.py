"""Rewards that look at how a completion is built: its length, its repetitions, its long words.

Words are runs of letters, digits and apostrophes, case-folded, unless a reward says otherwise.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from reward_models.metrics.columns import require_texts
from textgym.rewards import describe

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Distinct", "LengthWindow", "Readability", "Repetition", "syllables"]

_WORD = re.compile(r"\w+(?:['\u2019]\w+)*")  # with an apostrophe, straight or typographic
_SENTENCE_END = re.compile(r"[.!?]+(?=\s|$)")
_VOWELS = re.compile(r"[aeiouyäöüàâéèêëîïôûùœæ]+")
_SILENT = re.compile(r"(?:[^aeiouy]e|[^aeiouydt]ed|[^aeiouy]es)$")
_APART = re.compile(r"[aeiouy]ing")
_SOUNDED = re.compile(r"(?:[^aeiouy]le|[szxc]es|[sc]hes|ges)$")


@describe(low=0, high=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class LengthWindow:
    """1 for a text of a wanted length, less the further a text is from it, down to 0.

    Attributes:
        low: The smallest wanted length.
        high: The greatest wanted length.
        slope: At which distance from the window the score is 0; it falls in a straight line.
        unit: ``"words"``, separated by spaces, or ``"characters"``.
    """

    low: int
    high: int
    slope: int = 10
    unit: Literal["words", "characters"] = "words"

    def __post_init__(self) -> None:
        """Checks the window.

        Raises:
            ValueError: If it is none.
        """
        if not 0 <= self.low <= self.high:
            raise ValueError(f"0 <= low <= high must hold, got low={self.low}, high={self.high}")
        if self.slope < 1:
            raise ValueError(f"slope must be positive, got {self.slope}")
        if self.unit not in ("words", "characters"):
            raise ValueError(f"unknown unit {self.unit!r}; known: words, characters")

    def __call__(
        self,
        prompts: Sequence[str],  # noqa: ARG002  a reward's signature
        completions: Sequence[str],
        **columns: Sequence[Any],  # noqa: ARG002  a reward's signature
    ) -> list[float]:
        """Scores each completion, ``(N,)`` in [0, 1]."""
        require_texts(completions)
        sizes = [len(text.split() if self.unit == "words" else text) for text in completions]
        away = [max(self.low - size, size - self.high, 0) for size in sizes]
        return [max(0.0, 1 - distance / self.slope) for distance in away]


@describe(low=0, high=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class Repetition:
    """The share of a text's n-grams of words that occurred in it before; weigh it negatively.

    A text that is shorter repeats nothing and scores 0.

    Attributes:
        n: How many words an n-gram has. Longer ones find copied phrases, short ones common words.
    """

    n: int = 3

    def __post_init__(self) -> None:
        """Checks ``n``.

        Raises:
            ValueError: If it is not positive.
        """
        _require_positive(self.n)

    def __call__(
        self,
        prompts: Sequence[str],  # noqa: ARG002  a reward's signature
        completions: Sequence[str],
        **columns: Sequence[Any],  # noqa: ARG002  a reward's signature
    ) -> list[float]:
        """Scores each completion, ``(N,)`` in [0, 1)."""
        require_texts(completions)
        found = [_ngrams(text, self.n) for text in completions]
        return [1 - len(set(grams)) / len(grams) if grams else 0.0 for grams in found]


@describe(low=0, high=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class Distinct:
    """The share of different n-grams of words among all in a text: distinct-n of that text.

    A text that is shorter has none and scores 0, so that writing nothing is no way to a high score.
    Of two good texts the longer one has less of it.

    Reference:
        Li et al., "A Diversity-Promoting Objective Function for Neural Conversation Models", 2016,
        who count over all texts together.

    Attributes:
        n: How many words an n-gram has.
    """

    n: int = 2

    def __post_init__(self) -> None:
        """Checks ``n``.

        Raises:
            ValueError: If it is not positive.
        """
        _require_positive(self.n)

    def __call__(
        self,
        prompts: Sequence[str],  # noqa: ARG002  a reward's signature
        completions: Sequence[str],
        **columns: Sequence[Any],  # noqa: ARG002  a reward's signature
    ) -> list[float]:
        """Scores each completion, ``(N,)`` in [0, 1]."""
        require_texts(completions)
        found = [_ngrams(text, self.n) for text in completions]
        return [len(set(grams)) / len(grams) if grams else 0.0 for grams in found]


@describe(low=0, high=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class Readability:
    """Flesch's reading ease over 100, cut to [0, 1]: short words in short sentences score high.

    ``206.835 - 1.015 * words / sentences - 84.6 * syllables / words``: above 90 a child of ten
    reads it easily, below 30 it is an academic's prose. A text without words scores 0. Syllables
    are counted by rules of spelling, see ``syllables``, which puts a movie review off by 1.3 points
    in the mean against a dictionary of pronunciations. It is for English.

    Reference:
        Flesch, "A New Readability Yardstick", Journal of Applied Psychology 32, 1948.

    Attributes:
        clipped: Whether scores are cut to [0, 1]; Flesch's measure itself has no lower bound.
    """

    clipped: bool = True

    def __call__(
        self,
        prompts: Sequence[str],  # noqa: ARG002  a reward's signature
        completions: Sequence[str],
        **columns: Sequence[Any],  # noqa: ARG002  a reward's signature
    ) -> list[float]:
        """Scores each completion, ``(N,)``."""
        require_texts(completions)
        eases = [_reading_ease(text) / 100 for text in completions]
        return [min(1.0, max(0.0, ease)) for ease in eases] if self.clipped else eases


def syllables(word: str) -> int:
    """Counts an English word's syllables by its spelling: groups of vowels without a silent e.

    Simplification: rules instead of a dictionary. Of vowels that meet and are spoken apart, as in
    "chaos", one is missed. Of the running words of movie reviews 97 % are counted as CMU's
    pronouncing dictionary counts them.

    Args:
        word: A word, in any case.

    Returns:
        At least 1.
    """
    folded = word.casefold()
    count = len(_VOWELS.findall(folded)) + len(_APART.findall(folded))
    if _SILENT.search(folded) and not _SOUNDED.search(folded):
        count -= 1
    return max(1, count)


def _reading_ease(text: str) -> float:
    words = _WORD.findall(text)
    if not words:
        return 0.0
    sentences = max(1, sum(bool(_WORD.search(part)) for part in _SENTENCE_END.split(text)))
    spoken = sum(map(syllables, words))
    return 206.835 - 1.015 * len(words) / sentences - 84.6 * spoken / len(words)


def _ngrams(text: str, n: int) -> list[tuple[str, ...]]:
    words = _WORD.findall(text.casefold())
    return [tuple(words[start : start + n]) for start in range(len(words) - n + 1)]


def _require_positive(n: int) -> None:
    if n < 1:
        raise ValueError(f"n must be positive, got {n}")
