"""Guess a number that the other side keeps: the toy among the conversations, its optimum known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from textgym.tasks.splits import check_split
from textgym.types import Example

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["EXCHANGES", "NUMBERS", "Guess", "guess_score", "optimal_guess_score"]

NUMBERS = "12345678"
"""What the number may be."""

EXCHANGES = 4
"""How many guesses are worth something; each is worth 1/4 less than the one before it."""

_LARGER, _SMALLER, _NO_NUMBER = ">", "<", "?"


@dataclass(frozen=True, slots=True)
class Guess:
    """Find a number from 1 to 8 in four guesses, being told each time which way to go.

    The prompt is empty; a turn is a guess. The reply is ``>`` if the number is larger, ``<`` if it
    is smaller, and ``?`` if the turn was none of the eight digits, which is a guess lost. The
    conversation is over when the number is found, or after four turns. A number that the first
    guess finds scores 1, then 0.75, 0.5 and 0.25; one that is never found scores 0.

    The best strategy halves what is left: it finds one number at the first guess, two at the
    second, four at the third and one at the fourth, which is 4.75/8 = 0.59375 in the mean. Whoever
    does not listen gets (1 + 0.75 + 0.5 + 0.25)/8 = 0.3125 at most. ``optimal_guess_score``
    computes the optimum; ``textgym.tasks.value_iteration`` knows of no replies.

    ``completion_tokens`` is room for a whole conversation: four turns of a digit and its
    end-of-text token, and three replies between them.

    The columns are ``number``, the number, and ``reference``, its digit: the best first guess of
    somebody who knows it.

    Attributes:
        name: The task's name.
        exchanges: After how many turns the other side leaves, 1 to 4.
        prompt_tokens: Room for the prompt.
        completion_tokens: Room for the turns and the replies.
        tokenizer: The tokenizer.
        reward: The reward.
        splits: The one split.
    """

    name: str = "Guess"
    exchanges: int = EXCHANGES
    prompt_tokens: int = 1
    completion_tokens: int = 3 * EXCHANGES - 1
    tokenizer: str = f"characters:{NUMBERS}{_LARGER}{_SMALLER}{_NO_NUMBER}"
    reward: str = "textgym.tasks.guessing:guess_score"
    splits: tuple[str, ...] = ("train",)

    def __post_init__(self) -> None:
        """Checks the number of turns.

        Raises:
            ValueError: If it is not 1 to 4.
        """
        if not 1 <= self.exchanges <= EXCHANGES:
            raise ValueError(f"Guess takes 1 to {EXCHANGES} exchanges; got {self.exchanges}")

    def examples(self, split: str) -> Sequence[Example]:
        """Returns one example per number; their prompts are all empty.

        Raises:
            ValueError: If ``split`` is unknown.
        """
        check_split(self, split)
        return [
            Example(prompt="", columns={"reference": digit, "number": int(digit)})
            for digit in NUMBERS
        ]

    def reply(self, example: Example, turns: Sequence[str]) -> str | None:
        """Returns which way the number is from the last guess.

        Args:
            example: One of the examples.
            turns: The agent's turns so far, at least one.

        Returns:
            ``>``, ``<`` or ``?``; ``None`` when the number is found or there have been
            ``exchanges`` turns.

        Raises:
            ValueError: If there are no turns.
        """
        if not turns:
            raise ValueError("Guess replies to a turn, and there is none yet")
        number, last = example.columns["number"], turns[-1]
        if str(number) in turns or len(turns) >= self.exchanges:
            return None
        if len(last) != 1 or last not in NUMBERS:
            return _NO_NUMBER
        return _LARGER if number > int(last) else _SMALLER


def guess_score(
    prompts: Sequence[str], completions: Sequence[str], *, number: Sequence[int], **_: Sequence[Any]
) -> list[float]:
    """Scores ``Guess``: 1 for the number as the first turn, 1/4 less for each turn before it.

    Args:
        prompts: The prompts, ``(N,)``; not looked at.
        completions: The agent's turns, one a line, ``(N,)``. Its alphabet has no line breaks, so it
            cannot write two in one.
        number: The numbers, ``(N,)``.

    Returns:
        The scores, ``(N,)``; 0 for a number that no turn is, or only one after the fourth.
    """
    return [
        _score(completion.split("\n"), str(wanted))
        for _, completion, wanted in zip(prompts, completions, number, strict=True)
    ]


def optimal_guess_score(exchanges: int = EXCHANGES) -> float:
    """Returns what the best strategy scores in the mean over the eight numbers.

    What the replies leave is always some numbers in a row. Of ``n`` of them, after ``k`` guesses,
    let ``W(n, k)`` be the largest sum of scores. The next guess finds one number and leaves those
    below it or those above it: ``W(n, k) = w(k) + max_i (W(i, k + 1) + W(n - 1 - i, k + 1))``, with
    ``w(k)`` what a hit is worth then, ``W(0, k) = 0`` and ``W(n, exchanges) = 0``.

    Args:
        exchanges: How many guesses there are.
    """
    best = [0.0] * (len(NUMBERS) + 1)
    for made in reversed(range(exchanges)):
        best = [0.0] + [
            _worth(made) + max(best[below] + best[size - 1 - below] for below in range(size))
            for size in range(1, len(NUMBERS) + 1)
        ]
    return best[-1] / len(NUMBERS)


def _score(turns: Sequence[str], wanted: str) -> float:
    return _worth(turns.index(wanted)) if wanted in turns else 0.0


def _worth(guesses_before: int) -> float:
    return max(0.0, 1 - guesses_before / EXCHANGES)
