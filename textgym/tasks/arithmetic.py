"""Add two numbers, letter by letter: a task whose verifier is its generator."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textgym.tasks.splits import SPLITS, check_split, spread
from textgym.types import Example

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Arithmetic"]

_MOST_DIGITS = 3


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """``"3+4="``; the score is 1 for the sum and nothing after it, else 0.

    Every sum of two numbers of at most ``digits`` digits is in it once, 100 of them for one digit.
    A sum and the one the other way round are in the same split, so that none is learned by heart
    from its mirror image. The column is ``reference`` (the sum). The optimum is 1.

    Attributes:
        name: The task's name.
        digits: How many digits a number has at most, 1 to 3.
        reward: The reward.
        splits: The names of the splits.
    """

    name: str = "Arithmetic"
    digits: int = 1
    reward: str = "textgym.tasks.scoring:exact_match"
    splits: tuple[str, ...] = SPLITS

    def __post_init__(self) -> None:
        """Checks the number of digits.

        Raises:
            ValueError: If it is not 1 to 3.
        """
        if not 1 <= self.digits <= _MOST_DIGITS:
            raise ValueError(f"digits must be 1 to {_MOST_DIGITS}, got {self.digits}")

    @property
    def tokenizer(self) -> str:
        """The digits and the two signs, one token each."""
        return "characters:0123456789+="

    @property
    def prompt_tokens(self) -> int:
        """Room for the beginning, the two numbers and the two signs."""
        return 3 + 2 * self.digits

    @property
    def completion_tokens(self) -> int:
        """Room for the carried digit and the end."""
        return self.digits + 2

    def examples(self, split: str) -> Sequence[Example]:
        """Returns the sums of one split.

        Raises:
            ValueError: If ``split`` is unknown; the message lists the known ones.
        """
        check_split(self, split)
        return _examples(self.digits)[split]


@functools.cache
def _examples(digits: int) -> Mapping[str, tuple[Example, ...]]:
    splits = spread(
        (
            Example(prompt=f"{low}+{high}=", columns={"reference": str(low + high)})
            for low, high in itertools.combinations_with_replacement(range(10**digits), 2)
        ),
        key=lambda example: example.prompt,
    )
    return {split: _with_mirrors(examples) for split, examples in splits.items()}


def _with_mirrors(examples: Sequence[Example]) -> tuple[Example, ...]:
    both = []
    for example in examples:
        low, high = example.prompt.rstrip("=").split("+")
        both.append(example)
        if low != high:
            both.append(Example(prompt=f"{high}+{low}=", columns=example.columns))
    return tuple(both)
