"""Rewards that compare a completion with the example's reference, in a few lines of arithmetic.

They are the defaults of tasks that come with a reference. Both ignore spaces at the ends, so a
reference's leading space, which joins it to its prompt, costs nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["exact_match", "unigram_f1", "word_f1"]

_WORD = re.compile(r"\w+")


def unigram_f1(
    prompts: Sequence[str],
    completions: Sequence[str],
    *,
    reference: Sequence[str],
    **_: Sequence[Any],
) -> list[float]:
    """Scores the words that a completion shares with its reference, as SQuAD's F1 does.

    With ``c`` words in the completion, ``r`` in the reference and ``s`` in both, a word counting as
    often as it stands in the one that has it less often, precision is ``s / c``, recall is
    ``s / r``, and the score is their harmonic mean, ``2 s / (c + r)``: from 0 (no word shared) to 1
    (the same words in any order). If both are empty the score is 1, if only one is, 0.

    Words are runs of letters, digits and underscores, case-folded; a text without any is compared
    by its signs between spaces. Unlike SQuAD's, articles count.

    Args:
        prompts: The prompts, ``(N,)``; not looked at.
        completions: The completions, ``(N,)``.
        reference: What a good completion is, ``(N,)``.

    Returns:
        The scores, ``(N,)``.

    Reference:
        Rajpurkar et al., "SQuAD: 100,000+ Questions for Machine Comprehension of Text", 2016.
    """
    return [
        word_f1(_words(completion), _words(_require(wanted)))
        for _, completion, wanted in zip(prompts, completions, reference, strict=True)
    ]


def word_f1(written: Sequence[str], wanted: Sequence[str]) -> float:
    """Scores the words that two texts share, in [0, 1]; see ``unigram_f1``.

    Args:
        written: The words of one text, in any order.
        wanted: The words of the other.
    """
    if not written or not wanted:
        return float(not written and not wanted)
    shared = (Counter(written) & Counter(wanted)).total()
    return 2 * shared / (len(written) + len(wanted))


def exact_match(
    prompts: Sequence[str],
    completions: Sequence[str],
    *,
    reference: Sequence[str],
    **_: Sequence[Any],
) -> list[float]:
    """Scores 1 if a completion is its reference, else 0.

    Case and punctuation matter; spaces at the ends and how many there are between words do not.

    Args:
        prompts: The prompts, ``(N,)``; not looked at.
        completions: The completions, ``(N,)``.
        reference: What the completion must be, ``(N,)``.

    Returns:
        The scores, ``(N,)``.
    """
    return [
        float(completion.split() == _require(wanted).split())
        for _, completion, wanted in zip(prompts, completions, reference, strict=True)
    ]


def _require(reference: str | None) -> str:
    if reference is None:
        raise ValueError(
            "there is no reference to compare with; a prompt of your own needs another reward"
        )
    return reference


def _words(text: str) -> list[str]:
    folded = text.casefold()
    return _WORD.findall(folded) or folded.split()
