"""Content is never read as a special token: a text that spells one stays that text.

Whoever can write an end of text, or the mark that opens another's turn, into a prompt or a
completion forges what only the environment and a chat's template write.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["ChatPrompt", "render_chat", "without_pieces"]

_MARKS = range(0xF0000, 0xFFFFE)  # for private use: no text of the world's has them
_FAR = 1e6  # in logarithms of probabilities: any other way to write a text is likelier


class ChatPrompt(str):
    """What a chat's template wrote, a text like any other that knows which parts are content's.

    It knows this as long as it is neither changed nor stored; after that it is plain text, in which
    all that spells a special token is content.

    Attributes:
        parts: The text's parts, and whether the template wrote the special tokens in each.
    """

    __slots__ = ("parts",)
    parts: tuple[tuple[str, bool], ...]

    def __new__(cls, parts: Sequence[tuple[str, bool]]) -> ChatPrompt:
        """Joins the parts."""
        prompt = super().__new__(cls, "".join(text for text, _ in parts))
        prompt.parts = tuple(parts)
        return prompt

    def __getnewargs__(self) -> tuple[Any]:
        """Travels as its parts."""
        return (self.parts,)


def render_chat(
    tokenizer: Any, messages: Sequence[Mapping[str, str]], pieces: Sequence[str], prefix: str
) -> ChatPrompt:
    """Writes messages by a template, and keeps apart what only looks like the template's.

    Args:
        tokenizer: One of transformers', with a template for chats.
        messages: Each with ``role`` and ``content``.
        pieces: The special tokens as they are spelled.
        prefix: Is taken off the beginning, if the template wrote it there.
    """
    said = "".join(str(value) for message in messages for value in message.values())
    free = (chr(code) for code in _MARKS if chr(code) not in said)
    mark_of = dict(zip(sorted(pieces, key=len, reverse=True), free, strict=False))
    piece_of = {mark: piece for piece, mark in mark_of.items()}
    spelled = _any_of(mark_of)
    marked = [
        {key: spelled.sub(lambda found: mark_of[found[0]], str(text)) for key, text in one.items()}
        for one in messages
    ]
    text: Any = tokenizer.apply_chat_template(marked, tokenize=False, add_generation_prompt=True)
    cut = re.split(f"({_any_of(piece_of).pattern})", str(text).removeprefix(prefix))
    return ChatPrompt([(piece_of.get(part, part), part not in piece_of) for part in cut if part])


def without_pieces(backend: Any, pieces: Sequence[str]) -> Any:
    """Copies a tokenizer of the package ``tokenizers`` that cannot write some pieces.

    The others keep their ids. It is for texts that spell one of these: what is spelled is then
    written by smaller pieces, or as unknown where the vocabulary has none.

    Args:
        backend: The tokenizer.
        pieces: The pieces, as they are spelled.
    """
    spec, banned = json.loads(backend.to_str()), frozenset(pieces)
    model = spec["model"]
    if "merges" in model:
        pairs = (
            merge.split(" ", 1) if isinstance(merge, str) else merge for merge in model["merges"]
        )
        model["merges"] = [list(pair) for pair in pairs if "".join(pair) not in banned]
        model["ignore_merges"] = False  # a whole word that is a piece would be taken at once
    elif isinstance(model["vocab"], list):
        worst = min((score for _, score in model["vocab"]), default=0.0) - _FAR
        model["vocab"] = [[p, worst if p in banned else score] for p, score in model["vocab"]]
    else:
        model["vocab"] = {p: number for p, number in model["vocab"].items() if p not in banned}
    copied = type(backend).from_str(json.dumps(spec))
    copied.encode_special_tokens = True
    return copied


def _any_of(texts: Any) -> re.Pattern[str]:
    """Finds any of some texts; with none, nothing."""
    return re.compile("|".join(map(re.escape, texts)) or r"(?!)")
