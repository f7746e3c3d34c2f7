"""Short chats in English, read from the installed package ``chatterbot-corpus``.

They were written by its users, for a chatbot to learn from: questions and answers, small talk,
trivia. They are data that the reader installs; nothing of them is in this package.

Simplifications: a chat ends before the first message that is long or looks like code. Some lists
are one message and several answers to it, which the package does not mark: where a whole topic is
so, the first answer is kept; the few others are taken for chats.
"""

from __future__ import annotations

import functools
import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from textgym.data.packages import Package
from textgym.data.prose import read_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["CHATTERBOT", "MOST_WORDS", "Chat", "load_chats"]

CHATTERBOT = Package(module="chatterbot_corpus", pip="chatterbot-corpus==1.3.3")
"""The package; BSD licence, no dependencies."""

MOST_WORDS = 20
"""The words of the longest message; 96 in 100 of the package's have no more."""

# In these, whatever follows the second message is another answer to the first.
_ALTERNATIVES = frozenset({"computers", "emotion"})
_CODE = re.compile(r"[`{}\\|<>=_]|https?:|\w\(")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """What two people said in turn.

    Attributes:
        topic: The name of the file that it is from, such as ``"trivia"``.
        messages: Two or more, words separated by single spaces; the first speaker's are the first,
            the third and so on.
    """

    topic: str
    messages: tuple[str, ...]


@functools.cache
def load_chats() -> tuple[Chat, ...]:
    """Returns the chats, each once, by topic and in the package's order.

    Raises:
        ModuleNotFoundError: If the package, or PyYAML, is missing; the message says how to get it.
        FileNotFoundError: If the package has no English chats.
    """
    folder = CHATTERBOT.folder("Dialogue") / "data" / "english"
    paths = sorted(folder.glob("*.yml"))
    if not paths:
        raise FileNotFoundError(
            f"{folder} has no .yml files; Dialogue reads another version of the package: "
            f'run pip install "{CHATTERBOT.pip}"'
        )
    chats: dict[Chat, None] = {}
    for path in paths:
        for said in _read(path):
            # What is not a list is a slip of whoever wrote the file.
            messages = _messages(path.stem, said) if isinstance(said, list) else ()
            if len(messages) > 1:
                chats.setdefault(Chat(topic=path.stem, messages=messages))
    return tuple(chats)


def _read(path: Path) -> Sequence[Any]:
    try:
        import yaml  # type: ignore[import-untyped] # it ships no type information
    except ModuleNotFoundError:
        raise Package(module="yaml", pip="PyYAML>=6").missing("Dialogue") from None

    # The one in C is much faster; it is missing where PyYAML was built without it.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    chats: Sequence[Any] = yaml.load(read_text(path), Loader=loader)["conversations"]  # noqa: S506 - both are safe
    return chats


def _messages(topic: str, said: Sequence[Any]) -> tuple[str, ...]:
    kept = itertools.takewhile(_is_message, said[:2] if topic in _ALTERNATIVES else said)
    return tuple(" ".join(message.split()) for message in kept)


def _is_message(said: Any) -> bool:
    return (
        isinstance(said, str)
        and 1 <= len(said.split()) <= MOST_WORDS
        and _CODE.search(said) is None
    )
