"""Rewards that look at which words a completion has.

Simplification: English only, as VADER's lexicon is; keywords may be of any language with spaces.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reward_models.metrics.columns import read_texts, require_texts
from textgym.rewards import describe
from textgym.rewards.factories import missing_package

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Constant", "Keywords", "length", "vader"]


@describe(low=-1, high=1, needs=["vaderSentiment"], extra="tasks")
def vader(
    prompts: Sequence[str],  # noqa: ARG001  a reward's signature
    completions: Sequence[str],
    **columns: Sequence[Any],  # noqa: ARG001  a reward's signature
) -> list[float]:
    """How positive each completion sounds, by VADER's lexicon and rules (Hutto and Gilbert 2014).

    Args:
        prompts: Not read.
        completions: The texts to score, ``(N,)``.
        **columns: Not read.

    Returns:
        VADER's compound score of each completion, ``(N,)`` in [-1, 1]; 0 without any known word.

    Raises:
        ModuleNotFoundError: If vaderSentiment is not installed; the message says how to get it.
    """
    require_texts(completions)
    analyzer = _vader_analyzer()
    return [float(analyzer.polarity_scores(text)["compound"]) for text in completions]


@describe(low=0)
def length(
    prompts: Sequence[str],  # noqa: ARG001  a reward's signature
    completions: Sequence[str],
    **columns: Sequence[Any],  # noqa: ARG001  a reward's signature
) -> list[float]:
    """Hundreds of words in each completion: a reward whose optimum anyone can see.

    Args:
        prompts: Not read.
        completions: The texts to score, ``(N,)``.
        **columns: Not read.

    Returns:
        The number of whitespace-separated words over 100, ``(N,)``.
    """
    require_texts(completions)
    return [len(text.split()) / 100 for text in completions]


@describe(low=0, high=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class Keywords:
    """The share of given words or phrases that a completion has, in any place.

    A keyword counts once, as whole words, whatever the case and the spaces between its words.

    Attributes:
        keywords: The words or phrases, the same for all texts; ``None`` to read them from a column.
        column: Where each text's own keywords are: a text, or a list of texts.
    """

    keywords: tuple[str, ...] | None = None
    column: str = "keywords"

    def __post_init__(self) -> None:
        """Checks the keywords.

        Raises:
            ValueError: If there are none, or one is no text.
        """
        if self.keywords is None:
            return
        words = self.keywords
        if (
            isinstance(words, str)
            or not words
            or not all(isinstance(w, str) and w.strip() for w in words)
        ):
            raise ValueError(f"keywords must be a list of at least one word, got {words!r}")
        object.__setattr__(self, "keywords", tuple(words))

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns that it cannot do without."""
        return () if self.keywords is not None else (self.column,)

    def __call__(
        self,
        prompts: Sequence[str],  # noqa: ARG002  a reward's signature
        completions: Sequence[str],
        **columns: Sequence[Any],
    ) -> list[float]:
        """Scores each completion, ``(N,)`` in [0, 1]."""
        require_texts(completions)
        count = len(completions)
        wanted = (
            read_texts(columns, self.column, count)
            if self.keywords is None
            else [self.keywords] * count
        )
        return [
            sum(_keyword(word).search(text) is not None for word in words) / len(words)
            for text, words in zip(completions, wanted, strict=True)
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """The same score for every text: the baseline of all rewards.

    Attributes:
        value: The score.
    """

    value: float = 0.0

    def __call__(
        self,
        prompts: Sequence[str],  # noqa: ARG002  a reward's signature
        completions: Sequence[str],
        **columns: Sequence[Any],  # noqa: ARG002  a reward's signature
    ) -> list[float]:
        """Scores each completion, ``(N,)``."""
        require_texts(completions)
        return [float(self.value)] * len(completions)


@functools.lru_cache(maxsize=10_000)
def _keyword(word: str) -> re.Pattern[str]:
    """Whole words: no letter, digit or underscore right before or behind."""
    spaced = r"\s+".join(map(re.escape, word.split()))
    return re.compile(rf"(?<!\w){spaced}(?!\w)", re.IGNORECASE)


@functools.cache
def _vader_analyzer() -> Any:
    """Builds the analyzer once a process: it reads a lexicon of 7,500 words from disk."""
    try:
        from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer
    except ModuleNotFoundError as error:
        raise missing_package("reward", "vader", error) from error
    return SentimentIntensityAnalyzer()
