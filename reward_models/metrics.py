"""Rewards that need no training.

Each has the signature of a reward function, ``(prompts, completions, **columns)``, looks at the
completions only, and is listed by name among the entry points ``textgym.rewards``.

Simplification: English only, as VADER's lexicon is.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["length", "vader"]


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
    analyzer = _vader_analyzer()
    return [float(analyzer.polarity_scores(text)["compound"]) for text in completions]


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
    return [len(text.split()) / 100 for text in completions]


@functools.cache
def _vader_analyzer() -> Any:
    """Builds the analyzer once a process: it reads a lexicon of 7,500 words from disk."""
    try:
        from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'the reward "vader" needs the package vaderSentiment: pip install "textgym[tasks]"'
        ) from error
    return SentimentIntensityAnalyzer()
