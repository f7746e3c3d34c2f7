"""The nouns that the rest of the package speaks: examples, tasks, tokenizers and rewards.

Everything here is a plain value or a protocol. A user's own class needs no base class of ours: it
fits when it has the attributes that the protocol names.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Conversation", "Example", "RewardFunction", "StopReason", "Task", "Tokenizer"]


class StopReason(enum.IntEnum):
    """Why an episode ended; an integer, so that a vector environment's infos stay plain arrays."""

    RUNNING = 0
    END_OF_TEXT = 1
    """The agent chose the end-of-text token."""
    LENGTH = 2
    """The token allowance, which is part of the task, was used up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """What a task yields: a prompt, and whatever else a reward may want to know about it.

    Attributes:
        prompt: The text that the agent continues. May be empty.
        columns: The task's own fields, such as ``reference`` or ``label``. Every example of one
            split has the same keys. They are handed to the reward as keyword arguments.
    """

    prompt: str
    columns: Mapping[str, Any] = field(default_factory=dict)

    def text(self, column: str) -> str:
        """Returns a column as text; one that is not there, or is ``None``, is empty."""
        value = self.columns.get(column)
        return "" if value is None else str(value)


@runtime_checkable
class Tokenizer(Protocol):
    """Text to integers and back.

    ``decode`` is concatenative: ``decode(a + b) == decode(a) + decode(b)`` whenever neither part
    cuts a character in two, so a completion can be decoded apart from its prompt.

    A tokenizer that is faster with an array than with lists may have one more method,
    ``decode_rows(tokens, start)``: of ``(N, T)`` integers it decodes each row from its place in
    ``start``, ``(N,)``, to the end, which is padding. The environments use it where there is one.
    """

    @property
    def vocab_size(self) -> int:
        """The number of ids, special ones included."""

    @property
    def pad_id(self) -> int:
        """The reserved id that fills a state to the right of its text; no legal action emits it."""

    @property
    def bos_id(self) -> int:
        """The id that every state starts with."""

    @property
    def eos_id(self) -> int:
        """The end-of-text id: an action like any other."""

    @property
    def forbidden_ids(self) -> tuple[int, ...]:
        """Ids that no completion may contain: padding, beginning of text, unknown."""

    def encode(self, text: str) -> list[int]:
        """Encodes ``text`` without adding special ids."""

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Encodes many texts at once."""

    def decode(self, ids: Sequence[int]) -> str:
        """Decodes ``ids``; special ids give no text."""

    def decode_batch(self, batch: Sequence[Sequence[int]]) -> list[str]:
        """Decodes many rows at once."""


@runtime_checkable
class Task(Protocol):
    """Where prompts come from, how long a completion may be, and what judges it by default."""

    @property
    def name(self) -> str:
        """The task's name, as in ``Sentiment`` of ``TextGym/Sentiment-v0``."""

    @property
    def prompt_tokens(self) -> int:
        """Room for the prompt, the beginning-of-text token included."""

    @property
    def completion_tokens(self) -> int:
        """The token allowance of a completion, the end-of-text token included."""

    @property
    def tokenizer(self) -> str:
        """The name of the tokenizer that is used unless another is named."""

    @property
    def reward(self) -> str:
        """The name of the reward that is used unless another is named."""

    @property
    def splits(self) -> tuple[str, ...]:
        """The names that ``examples`` knows; no text is in two of them."""

    def examples(self, split: str) -> Sequence[Example]:
        """Returns the examples of one split, always in the same order.

        Raises:
            ValueError: If ``split`` is unknown; the message lists the known ones.
            ModuleNotFoundError: If the data's package is missing; the message says how to get it.
        """


@runtime_checkable
class Conversation(Protocol):
    """What a task has beside ``Task`` if somebody answers the agent.

    The agent's end of text then ends its turn. The reply is written behind it, and the agent goes
    on, until there is no reply, no room or no allowance left. The reward sees the agent's turns,
    joined by line breaks.
    """

    def reply(self, example: Example, turns: Sequence[str]) -> str | None:
        """Returns what the other side says next; it depends on the arguments alone.

        Args:
            example: What the episode started with.
            turns: The agent's turns so far, without their ends of text.

        Returns:
            The text, with whatever sets it off from the turns around it; ``None`` when the
            conversation is over.
        """


@runtime_checkable
class RewardFunction(Protocol):
    """What a completion is worth.

    The signature is the one that TRL's reward functions have, so theirs work here and ours there.
    """

    def __call__(
        self, prompts: Sequence[str], completions: Sequence[str], **columns: Sequence[Any]
    ) -> Sequence[float]:
        """Scores a batch.

        Args:
            prompts: The prompts' texts, ``(N,)``.
            completions: The completions' texts, ``(N,)``.
            **columns: The task's fields, each ``(N,)``. A function that wants none of them still
                accepts them.

        Returns:
            One finite float per completion, ``(N,)``.
        """
