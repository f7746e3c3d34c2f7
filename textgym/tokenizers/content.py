"""Content is never read as a special token: a text that spells one stays that text.

Whoever can write an end of text, or the mark that opens another's turn, into a prompt or a
completion forges what only the environment and a chat's template write.
"""

from __future__ import annotations

import functools
import json
import re
from typing import TYPE_CHECKING, Any

from textgym.messages import require_texts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["ChatPrompt", "ContentReader", "render_chat", "special_ids", "without_pieces"]

_MARKS = range(0xF0000, 0xFFFFE)  # for private use: no text of the world's has them


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


class ContentReader:
    """A fast tokenizer of transformers, which reads what spells a special token as text.

    Attributes:
        special: The ids that no content has; an unknown piece is none of them.
        pieces: How these are spelled.
    """

    def __init__(self, tokenizer: Any) -> None:
        """Takes a loaded tokenizer, which is left as it is."""
        self._tokenizer = tokenizer
        self.special = special_ids(tokenizer) - {tokenizer.unk_token_id}
        known = tokenizer.convert_ids_to_tokens(sorted(self.special))
        self.pieces = tuple(str(piece) for piece in known if piece)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Encodes many texts at once, without special ids but those of a ``ChatPrompt``.

        Raises:
            TypeError: If one is no string.
            ValueError: If one is no valid text; it is shown.
        """
        if not texts:
            return []
        rows = self._read(list(texts))
        for row, text in enumerate(texts):
            if isinstance(text, ChatPrompt):
                rows[row] = self._encode_chat(text)
            elif self._spells_one(text, rows[row]):
                rows[row] = self._guarded.encode(text, add_special_tokens=False).ids
        return rows

    def _read(self, texts: list[str]) -> list[list[int]]:
        """Encodes as transformers does: what spells a special token is one."""
        try:
            encoded: Any = self._tokenizer(
                texts,
                add_special_tokens=False,
                padding=False,
                truncation=False,
                return_attention_mask=False,
                return_token_type_ids=False,
                verbose=False,  # a text longer than the model is cut afterwards
            )
        except (TypeError, ValueError):
            require_texts(texts)  # transformers does not say which of them is none
            raise
        return [list(ids) for ids in encoded["input_ids"]]

    def _spells_one(self, text: str, ids: list[int]) -> bool:
        """Whether a text that was read as ``ids`` was taken to hold a special token."""
        unknown = self._tokenizer.unk_token
        return not self.special.isdisjoint(ids) or (
            unknown is not None and str(unknown) in text and self._tokenizer.unk_token_id in ids
        )

    def _encode_chat(self, prompt: ChatPrompt) -> list[int]:
        rows = (
            self._read([text])[0] if by_template else self.encode_batch([text])[0]
            for text, by_template in prompt.parts
        )
        return [token for row in rows for token in row]

    @functools.cached_property
    def _guarded(self) -> Any:
        """The same tokenizer, which cannot write a special token; for texts that spell one."""
        return without_pieces(self._tokenizer.backend_tokenizer, self.pieces)


def special_ids(tokenizer: Any) -> frozenset[int]:
    """The ids of a tokenizer of transformers that stand for no text.

    A tokenizer names some of them, such as its end of text. Others, such as the marks of turns in
    the files of Llama 3, are only said to be special where they are added.
    """
    added = tokenizer.added_tokens_decoder.items()
    marked = {int(number) for number, token in added if token.special}
    return frozenset(marked | {int(number) for number in tokenizer.all_special_ids})


def render_chat(
    tokenizer: Any,
    messages: Sequence[Mapping[str, str]],
    pieces: Sequence[str],
    *,
    prefix: str = "",
    to_answer: bool = True,
) -> ChatPrompt:
    """Writes messages by a template, and keeps apart what only looks like the template's.

    Args:
        tokenizer: One of transformers', with a template for chats.
        messages: Each with ``role`` and ``content``.
        pieces: The special tokens as they are spelled.
        prefix: Is taken off the beginning, if the template wrote it there.
        to_answer: Whether to open the turn of the one who answers.
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
    text: Any = tokenizer.apply_chat_template(
        marked, tokenize=False, add_generation_prompt=to_answer
    )
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
    else:
        # As many as before, for the ids of the pieces that were added stand behind them. It would
        # not do to make a unigram's unlikely: what is unknown is unlikelier than any piece.
        renamed = {piece: f"{chr(_MARKS[-1])}{piece}" for piece in banned}  # as no text spells it
        if isinstance(model["vocab"], list):
            model["vocab"] = [[renamed.get(p, p), score] for p, score in model["vocab"]]
        else:
            model["vocab"] = {renamed.get(p, p): number for p, number in model["vocab"].items()}
        for token in spec["added_tokens"]:
            token["content"] = renamed.get(token["content"], token["content"])
    copied = type(backend).from_str(json.dumps(spec))
    copied.encode_special_tokens = True
    return copied


def _any_of(texts: Any) -> re.Pattern[str]:
    """Finds any of some texts; with none, nothing."""
    return re.compile("|".join(map(re.escape, texts)) or r"(?!)")
