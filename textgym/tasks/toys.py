"""Two toys that need no packages and whose optimum is known in closed form.

They exist to test agents: a learner that cannot reach these numbers is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from textgym.types import Example

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ALPHABET", "PAYOUTS", "Alphabet", "Bandit", "alphabet_score", "bandit_score"]

ALPHABET = "abcdefgh"
"""The letters of ``Alphabet``, recited in a circle."""

PAYOUTS = {"a": 1.0, "b": 0.5, "c": 0.25, "d": 0.0}
"""What each letter of ``Bandit`` pays."""

_RECITED = 3


@dataclass(frozen=True, slots=True)
class Alphabet:
    """Recite the three letters that follow the prompt's, and stop.

    The prompt is one letter of a to h; after h comes a again. The score is the share of 4 places
    that are right: the three letters at their places, and the end right after them. The optimum is
    1. A policy that is uniform over the 9 legal actions scores (1 + 8/9 + 64/81 + 512/729) / 36
    = 2465/26244, about 0.0939, in expectation. The allowance of 6 leaves room to go on too long.
    """

    name: str = "Alphabet"
    prompt_tokens: int = 2
    completion_tokens: int = 6
    tokenizer: str = f"characters:{ALPHABET}"
    reward: str = "textgym.tasks.toys:alphabet_score"
    splits: tuple[str, ...] = ("train",)

    def examples(self, split: str) -> Sequence[Example]:
        """Returns one example per letter.

        Raises:
            ValueError: If ``split`` is unknown.
        """
        _check_split(self, split)
        return [Example(prompt=letter) for letter in ALPHABET]


@dataclass(frozen=True, slots=True)
class Bandit:
    """Choose one of four letters; they pay 1, 0.5, 0.25 and 0.

    The prompt is empty and the allowance is one token. Ending the text at once pays 0. The optimum
    is 1; a policy that is uniform over the 5 legal actions scores 1.75/5 = 0.35 in expectation.
    Against a penalty of beta times the divergence from that uniform policy, the best policy is
    softmax(payout / beta) over the 5 actions.
    """

    name: str = "Bandit"
    prompt_tokens: int = 1
    completion_tokens: int = 1
    tokenizer: str = f"characters:{''.join(PAYOUTS)}"
    reward: str = "textgym.tasks.toys:bandit_score"
    splits: tuple[str, ...] = ("train",)

    def examples(self, split: str) -> Sequence[Example]:
        """Returns the one example, an empty prompt.

        Raises:
            ValueError: If ``split`` is unknown.
        """
        _check_split(self, split)
        return [Example(prompt="")]


def alphabet_score(
    prompts: Sequence[str], completions: Sequence[str], **_: Sequence[Any]
) -> list[float]:
    """Scores ``Alphabet``: the share of 4 places that are right, the end being the last of them."""
    scores = []
    for prompt, completion in zip(prompts, completions, strict=True):
        start = ALPHABET.index(prompt) + 1
        wanted = [ALPHABET[(start + place) % len(ALPHABET)] for place in range(_RECITED)]
        right = sum(letter == want for letter, want in zip(completion, wanted, strict=False))
        scores.append((right + (len(completion) == _RECITED)) / (_RECITED + 1))
    return scores


def bandit_score(
    prompts: Sequence[str], completions: Sequence[str], **_: Sequence[Any]
) -> list[float]:
    """Scores ``Bandit``: what the letter pays; no letter pays nothing."""
    return [
        PAYOUTS.get(completion, 0.0) for _, completion in zip(prompts, completions, strict=True)
    ]


def _check_split(task: Alphabet | Bandit, split: str) -> None:
    if split not in task.splits:
        raise ValueError(f"unknown split {split!r} of {task.name}; known: {', '.join(task.splits)}")
