"""Three toys that need no packages and whose optimum is known.

They exist to test agents: a learner that cannot reach these numbers is wrong. The optimum of the
first two is a closed form, that of ``Corridor`` comes from ``textgym.tasks.value_iteration``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from textgym.tasks.splits import check_split
from textgym.types import Example

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "ALPHABET",
    "PAYOUTS",
    "PRIZES",
    "STEP_COST",
    "Alphabet",
    "Bandit",
    "Corridor",
    "alphabet_score",
    "bandit_score",
    "corridor_score",
]

ALPHABET = "abcdefgh"
"""The letters of ``Alphabet``, recited in a circle."""

PAYOUTS = {"a": 1.0, "b": 0.5, "c": 0.25, "d": 0.0}
"""What each letter of ``Bandit`` pays."""

PRIZES = {0: 0.5, 6: 1.0}
"""What the two ends of ``Corridor`` pay, by their place."""

STEP_COST = 0.1875
"""What each step of ``Corridor`` costs."""

_RECITED = 3


@dataclass(frozen=True, slots=True)
class Alphabet:
    """Recite the three letters that follow the prompt's, and stop.

    The prompt is one letter of a to h; after h comes a again. The score is the share of 4 places
    that are right: the three letters at their places, and the end right after them. The optimum is
    1. A policy that is uniform over the 9 legal actions scores (1 + 8/9 + 64/81 + 512/729) / 36
    = 2465/26244, about 0.0939, in expectation. The allowance of 6 leaves room to go on too long.
    The column ``reference`` is the three letters.
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
        check_split(self, split)
        return [
            Example(prompt=letter, columns={"reference": _following(letter)}) for letter in ALPHABET
        ]


@dataclass(frozen=True, slots=True)
class Bandit:
    """Choose one of four letters; they pay 1, 0.5, 0.25 and 0.

    The prompt is empty and the allowance is one token. Ending the text at once pays 0. The optimum
    is 1; a policy that is uniform over the 5 legal actions scores 1.75/5 = 0.35 in expectation.
    Against a penalty of beta times the divergence from that uniform policy, the best policy is
    softmax(payout / beta) over the 5 actions. The column ``reference`` is the best letter.
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
        check_split(self, split)
        return [Example(prompt="", columns={"reference": max(PAYOUTS, key=PAYOUTS.__getitem__)})]


@dataclass(frozen=True, slots=True)
class Corridor:
    """Walk to one end of a corridor: the near one pays less than the far one, and steps cost.

    The places are 0 to 6. ``r`` is a step to the right, ``l`` to the left; at an end, a step stays
    there. The prompt is a walk from place 0 to one of the places 1 to 5, ``r`` to ``rrrrr``; the
    completion goes on from there, and the walk ends where the text ends. The score is 0.5 at place
    0, 1 at place 6 and 0 between them, less 0.1875 for each letter of the completion. The allowance
    of 6 is enough for the longest way and the end.

    The best walks score 0.3125 from place 1, to the left, and 0.25, 0.4375, 0.625 and 0.8125 from
    the others, to the right: 0.4875 in the mean. Always going right earns 0.4375, ending at once 0,
    always going left -0.0625. The column ``reference`` is the best walk.
    """

    name: str = "Corridor"
    prompt_tokens: int = 6
    completion_tokens: int = 6
    tokenizer: str = "characters:lr"
    reward: str = "textgym.tasks.toys:corridor_score"
    splits: tuple[str, ...] = ("train",)

    def examples(self, split: str) -> Sequence[Example]:
        """Returns one example per place between the ends.

        Raises:
            ValueError: If ``split`` is unknown.
        """
        check_split(self, split)
        left, right = min(PRIZES), max(PRIZES)
        examples = []
        for place in range(left + 1, right):
            prompt = "r" * place
            walks = ["l" * (place - left), "r" * (right - place)]
            scores = corridor_score([prompt] * len(walks), walks)
            best = max(zip(scores, walks, strict=True))[1]
            examples.append(Example(prompt=prompt, columns={"reference": best}))
        return examples


def alphabet_score(
    prompts: Sequence[str], completions: Sequence[str], **_: Sequence[Any]
) -> list[float]:
    """Scores ``Alphabet``: the share of 4 places that are right, the end being the last of them."""
    scores = []
    for prompt, completion in zip(prompts, completions, strict=True):
        wanted = _following(prompt)
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


def corridor_score(
    prompts: Sequence[str], completions: Sequence[str], **_: Sequence[Any]
) -> list[float]:
    """Scores ``Corridor``: the prize where the walk ends, less the cost of its letters."""
    left, right = min(PRIZES), max(PRIZES)
    scores = []
    for prompt, completion in zip(prompts, completions, strict=True):
        place = left
        for letter in prompt + completion:
            place = min(max(place + (letter == "r") - (letter == "l"), left), right)
        scores.append(PRIZES.get(place, 0.0) - STEP_COST * len(completion))
    return scores


def _following(letter: str) -> str:
    start = ALPHABET.index(letter) + 1
    return "".join(ALPHABET[(start + place) % len(ALPHABET)] for place in range(_RECITED))
