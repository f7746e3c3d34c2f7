"""Prompts as ids: each is encoded once, and those of a split's examples are kept laid out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from textgym.dynamics.states import State, begin, lay_out
from textgym.messages import require_texts

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from textgym.dynamics.states import Rules
    from textgym.types import Example, Tokenizer

__all__ = ["Prompts"]

_MOST_IDS = 1 << 23  # which take 64 MiB
_FIRST_ROWS = 64
_UNKNOWN = -1


class Prompts:
    """The ids of prompts that have been used, as long as there are not very many."""

    def __init__(self, examples: Sequence[Example], tokenizer: Tokenizer, rules: Rules) -> None:
        """Begins with none.

        Args:
            examples: The examples of the split.
            tokenizer: The tokenizer.
            rules: The rules.
        """
        self._examples, self._tokenizer, self._rules = examples, tokenizer, rules
        self._capacity = max(1, _MOST_IDS // rules.width)
        self._encoded: dict[tuple[str, Any], list[int]] = {}
        # Where each example's prompt is among those that are laid out.
        self._places = np.full(len(examples), _UNKNOWN, dtype=np.int32)
        self._count = 0
        self._tokens = np.zeros((_FIRST_ROWS, rules.width), dtype=np.int64)
        self._lengths = np.zeros(_FIRST_ROWS, dtype=np.int64)

    def encode(self, prompts: Sequence[str]) -> list[list[int]]:
        """Encodes prompts.

        Raises:
            ValueError: If one is no valid text; it is shown.
        """
        encoded = self._encoded
        if len(encoded) > self._capacity:
            encoded.clear()
        # Two chats may read alike and differ in what their template wrote.
        keys = [(prompt, getattr(prompt, "parts", None)) for prompt in prompts]
        new = {key: prompt for key, prompt in zip(keys, prompts, strict=True) if key not in encoded}
        if new:
            encoded.update(zip(new, self._encode(list(new.values())), strict=True))
        return [encoded[key] for key in keys]

    def start(self, numbers: npt.NDArray[np.int64]) -> State:
        """Makes the states in which examples start, as ``lay_out`` does, for numpy arrays.

        Args:
            numbers: The examples' numbers, ``(N,)``.

        Raises:
            ValueError: If a prompt is no valid text; it is shown.
        """
        places = self._places[numbers]
        if np.count_nonzero(places == _UNKNOWN):
            self._lay_out(np.unique(numbers))
            places = self._places[numbers]
        lengths = self._lengths[places]
        return begin(self._tokens[places], lengths, lengths, self._rules)

    def row(self, number: int) -> tuple[npt.NDArray[np.int64], int]:
        """Returns the tokens that an example starts with, ``(T,)``, and its prompt's length.

        Raises:
            ValueError: If the prompt is no valid text; it is shown.
        """
        if self._places[number] == _UNKNOWN:
            self._lay_out(np.array([number]))
        place = self._places[number]
        return self._tokens[place].copy(), int(self._lengths[place])

    def _lay_out(self, numbers: npt.NDArray[np.int64]) -> None:
        """Lays out the prompts of examples that are not laid out yet."""
        new = numbers[self._places[numbers] == _UNKNOWN]
        if self._count + len(new) > self._capacity:
            self._count, self._places[:], new = 0, _UNKNOWN, numbers
        laid = lay_out(
            self._encode([self._examples[number].prompt for number in new.tolist()]), self._rules
        )
        start, self._count = self._count, self._count + len(new)
        if self._count > len(self._lengths):
            more = max(self._count, 2 * len(self._lengths)) - len(self._lengths)
            self._tokens = np.pad(self._tokens, ((0, more), (0, 0)))
            self._lengths = np.pad(self._lengths, (0, more))
        self._tokens[start : self._count] = laid.tokens
        self._lengths[start : self._count] = laid.prompt_length
        self._places[new] = np.arange(start, self._count)

    def _encode(self, prompts: Sequence[str]) -> list[list[int]]:
        require_texts(prompts, "the prompt")
        return self._tokenizer.encode_batch(prompts)
