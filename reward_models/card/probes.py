"""What a reward says of texts that were changed on purpose, and whether it says it again.

A controlled change shows what a correlation cannot: two texts that differ in nothing but length,
repetition or order. The changes need no language and add no text from elsewhere. Effects are in
standard deviations of the reward's scores on the unchanged texts, so that rewards of any unit can
be compared.

Simplifications: words are what stands between spaces, so a language without spaces is one word.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from numpy.typing import NDArray

__all__ = [
    "CHANGES",
    "Change",
    "batch_difference",
    "changed_texts",
    "neighbour_difference",
    "standardised_effects",
    "truncated",
]

_REPEATED_WORDS = 5
_NEIGHBOUR_TIMES = 8
_SPECIAL_TOKENS = " [SEP] </s> <|im_end|> <|endoftext|>"  # as the most used models spell theirs


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change of a completion.

    Attributes:
        name: What is done, in words.
        asks: What a large effect means.
        apply: From the completion, another completion and a generator to the changed completion.
    """

    name: str
    asks: str
    apply: Callable[[str, str, random.Random], str]


def _twice(text: str, _other: str, _rng: random.Random) -> str:
    return f"{text} {text.strip()}"


def _stutter(text: str, _other: str, _rng: random.Random) -> str:
    return " ".join([text, *(text.split()[-_REPEATED_WORDS:] * 3)])


def _lengthened(text: str, other: str, _rng: random.Random) -> str:
    return f"{text} {other.strip()}"


def _first_half(text: str, _other: str, _rng: random.Random) -> str:
    return truncated(text, 0.5)


def _shuffled(text: str, _other: str, rng: random.Random) -> str:
    words = text.split()
    rng.shuffle(words)
    return text[: len(text) - len(text.lstrip())] + " ".join(words)


def _spaces(text: str, _other: str, _rng: random.Random) -> str:
    return f"{text}   \n\n"


def _special(text: str, _other: str, _rng: random.Random) -> str:
    return text + _SPECIAL_TOKENS


def _upper(text: str, _other: str, _rng: random.Random) -> str:
    return text.upper()


CHANGES: tuple[Change, ...] = (
    Change(name="said twice", asks="length and repetition without news", apply=_twice),
    Change(name="last words thrice more", asks="repetition", apply=_stutter),
    Change(name="another text appended", asks="length without relevance", apply=_lengthened),
    Change(name="first half only", asks="truncation", apply=_first_half),
    Change(name="words shuffled", asks="order, at the same length and words", apply=_shuffled),
    Change(name="blanks appended", asks="padding; should be nothing", apply=_spaces),
    Change(
        name="special tokens appended",
        asks="a text that ends itself, or opens another's turn; should be little",
        apply=_special,
    ),
    Change(name="capitals", asks="spelling without a change of words", apply=_upper),
)


def changed_texts(
    change: Change, clusters: Sequence[Hashable], completions: Sequence[str], seed: int
) -> list[str]:
    """Changes each completion.

    Args:
        change: What to do.
        clusters: What each belongs to, such as its prompt, ``(N,)``; "another text" is the next
            completion of another one.
        completions: The completions, ``(N,)``.
        seed: Decides what is random.

    Returns:
        The changed completions, ``(N,)``.

    Raises:
        ValueError: If none of the completions changes.
    """
    rng = random.Random(seed)  # noqa: S311  not a secret
    changed = []
    for row, text in enumerate(completions):
        later = itertools.chain(range(row + 1, len(clusters)), range(row))
        others = (completions[place] for place in later if clusters[place] != clusters[row])
        changed.append(change.apply(text, next(others, ""), rng))
    if changed == list(completions):
        raise ValueError(f"none of {len(changed)} texts changes when {change.name!r} is done")
    return changed


def standardised_effects(
    before: NDArray[np.float64], after: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Returns ``(after - before) / sd(before)``, ``(N,)``.

    Raises:
        ValueError: If the scores before are all the same.
    """
    spread = float(before.std())
    if not spread > 0:
        raise ValueError(
            f"all {len(before)} unchanged texts have the same score, so that an effect has no unit"
        )
    return np.asarray((after - before) / spread, dtype=np.float64)


def truncated(text: str, share: float) -> str:
    """Returns the first ``share`` of a text's words, one at least, spaces between them kept."""
    words = text.split()
    kept = max(1, round(share * len(words)))
    end = 0
    for word in words[:kept]:
        end = text.index(word, end) + len(word)
    return text[:end]


def batch_difference(
    scores: Callable[[Sequence[str], Sequence[str]], NDArray[np.float64]],
    prompts: Sequence[str],
    completions: Sequence[str],
    size: int,
) -> float:
    """Largest difference between scores from one call and from calls with ``size`` texts each."""
    whole = scores(prompts, completions)
    parts = [
        scores(prompts[start : start + size], completions[start : start + size])
        for start in range(0, len(prompts), size)
    ]
    return float(np.abs(whole - np.concatenate(parts)).max())


def neighbour_difference(
    scores: Callable[[Sequence[str], Sequence[str]], NDArray[np.float64]],
    prompts: Sequence[str],
    completions: Sequence[str],
) -> float:
    """Largest difference between a text's score alone and beside one eight times as long."""
    largest = 0.0
    for prompt, text in zip(prompts, completions, strict=True):
        alone = scores([prompt], [text])[0]
        long = " ".join([text] * _NEIGHBOUR_TIMES)
        largest = max(largest, abs(float(alone - scores([prompt, prompt], [text, long])[0])))
    return largest
