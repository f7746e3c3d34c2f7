"""Answer somebody, hear what they say next, and answer again."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textgym.data.chats import load_chats
from textgym.data.prose import key_of
from textgym.data.split import assign, position
from textgym.tasks.splits import SHARES, SPLITS, check_split, spread
from textgym.types import Example

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from textgym.data.chats import Chat

__all__ = ["Dialogue"]


@dataclass(frozen=True, slots=True)
class Dialogue:
    r"""``"User: <message>\nBot:"``; the agent answers, and the user's next message follows.

    The user is scripted, and says the same whatever the agent answered. Most chats of the package
    chatterbot-corpus are one message and its answer; an episode goes through ``exchanges`` of them,
    on one topic. It begins with a chat of its own, and what this lacks comes from the next ones, in
    the order of their hashes. A topic with a single chat in a split has shorter episodes.

    Where a message of the user belongs depends on its text alone, its case and punctuation set
    aside; no split has one, as the first or a later one, that another has. A longer chat is cut
    where it leaves its split. Of chats that begin alike the longest is kept.

    There are 514, 66 and 53 episodes; only 10 of them are one chat that goes on. All prompts fit
    into ``prompt_tokens``. The scripted conversations take 39 of ``completion_tokens`` in the
    median and 79 at most, each turn's end of text included; an agent that uses up the room in its
    first turn hears no reply.

    The columns are ``reference`` (the scripted answers, each with its leading space, one a line, as
    the turns are that it is compared with), ``topic`` (the name of the package's file) and
    ``later`` (what the user says after the first message).

    Attributes:
        name: The task's name.
        exchanges: How many messages of the user an episode has.
        prompt_tokens: Room for the prompt.
        completion_tokens: Room for the answers and for the user's later messages.
        tokenizer: The tokenizer.
        reward: The reward.
        splits: The names of the splits.
    """

    name: str = "Dialogue"
    exchanges: int = 2
    prompt_tokens: int = 56
    completion_tokens: int = 96
    tokenizer: str = "reviews-4096"
    reward: str = "textgym.tasks.scoring:unigram_f1"
    splits: tuple[str, ...] = SPLITS

    def __post_init__(self) -> None:
        """Checks the number of exchanges.

        Raises:
            ValueError: If there are none.
        """
        if self.exchanges < 1:
            raise ValueError(f"Dialogue takes at least 1 exchange; got {self.exchanges}")

    def examples(self, split: str) -> Sequence[Example]:
        """Returns the episodes of one split.

        Raises:
            ValueError: If ``split`` is unknown; the message lists the known ones.
            ModuleNotFoundError: If chatterbot-corpus is missing; the message says how to get it.
        """
        check_split(self, split)
        return _examples(self.exchanges)[split]

    def reply(self, example: Example, turns: Sequence[str]) -> str | None:
        r"""Returns the user's next message.

        Args:
            example: One of the examples.
            turns: The agent's turns so far, at least one; only how many there are matters.

        Returns:
            ``"\nUser: <message>\nBot:"``, or ``None`` when the user has nothing left to say.

        Raises:
            ValueError: If there are no turns.
        """
        if not turns:
            raise ValueError("Dialogue replies to a turn, and there is none yet")
        later = example.columns["later"] or ()  # a caller's own prompt has none
        return f"\n{_ask(later[len(turns) - 1])}" if len(turns) <= len(later) else None


def _ask(message: str) -> str:
    return f"User: {message}\nBot:"


def _key(message: str) -> str:
    # The key of the prompt, which spread goes by.
    return key_of(_ask(message))


@functools.cache
def _examples(exchanges: int) -> Mapping[str, tuple[Example, ...]]:
    kept: dict[str, Chat] = {}
    for chat in sorted(load_chats(), key=lambda chat: -len(chat.messages)):
        kept.setdefault(_key(chat.messages[0]), chat)
    rings: dict[tuple[str, str], list[Chat]] = {}
    for key in sorted(kept, key=position):
        rings.setdefault((assign(key, SHARES), kept[key].topic), []).append(kept[key])
    return spread(
        _episode(ring[place:] + ring[:place], exchanges)
        for ring in rings.values()
        for place in range(len(ring))
    )


def _episode(chats: Sequence[Chat], exchanges: int) -> Example:
    pairs = itertools.chain.from_iterable(map(_pairs, chats))
    messages, answers = zip(*itertools.islice(pairs, exchanges), strict=True)
    return Example(
        prompt=_ask(messages[0]),
        columns={
            "reference": "\n".join(f" {answer}" for answer in answers),
            "topic": chats[0].topic,
            "later": messages[1:],
        },
    )


def _pairs(chat: Chat) -> list[tuple[str, str]]:
    # A last message without an answer is left out.
    pairs = list(zip(chat.messages[::2], chat.messages[1::2], strict=False))
    home = assign(_key(pairs[0][0]), SHARES)
    return list(itertools.takewhile(lambda pair: assign(_key(pair[0]), SHARES) == home, pairs))
