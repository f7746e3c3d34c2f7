"""A pretrained model's own tokenizer, as it reads texts: special ids around them, no generation.

``textgym.tokenizers.HuggingFaceTokenizer`` is for states that grow, and needs an end of text; an
encoder's tokenizer has none, but writes ``[CLS]`` before a text and ``[SEP]`` behind it. Neither of
them reads a text that spells a special token as one: a completion could then end itself, or answer
for another.

Simplification: fast tokenizers only.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from textgym.pretrained.models import open_tokenizer
from textgym.tokenizers import load_tokenizer
from textgym.tokenizers.content import ContentReader, render_chat

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from transformers import PreTrainedTokenizerBase

    from reward_models.reading.scoring import Reader

__all__ = ["Frame", "PretrainedReader", "load_reader"]

_FILE = "reader.json"


class PretrainedReader:
    """One of transformers' tokenizers, with the ids that its model wants around a text.

    Attributes:
        head: The ids before a text, at least one, so that an empty text is something to read.
        tail: The ids behind it.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        head: Sequence[int] | None = None,
        tail: Sequence[int] | None = None,
    ) -> None:
        """Wraps a loaded tokenizer.

        Args:
            tokenizer: The tokenizer.
            head: The ids before a text; None takes what the tokenizer writes there, and where
                that is nothing, as with GPT-2, its beginning- or end-of-text id.
            tail: The ids behind it; None takes what the tokenizer writes there.

        Raises:
            ValueError: If the tokenizer has no id to begin with, or is not a fast one.
        """
        if not tokenizer.is_fast:
            raise ValueError(
                f"{tokenizer.name_or_path!r} has a slow tokenizer: save it with a tokenizer.json"
            )
        self.tokenizer = tokenizer
        frame = Frame.of(tokenizer, pair=False)
        own = [tuple(token for token, _ in part) for part in (frame.head, frame.tail)]
        self.head = (own[0] if head is None else tuple(head)) or (frame.alone,)
        self.tail = own[1] if tail is None else tuple(tail)
        self._content = ContentReader(tokenizer)

    @classmethod
    def open(cls, source: str | Path) -> Self:
        """Opens the tokenizer of a checkpoint of transformers.

        Args:
            source: A folder, or ``hub:NAME``.

        Raises:
            OSError: If ``hub:NAME`` cannot be had.
            ValueError: If there is none, or it cannot be used.
        """
        return cls(open_tokenizer(source))

    @property
    def vocab_size(self) -> int:
        """The number of ids, special ones included."""
        return len(self.tokenizer)

    @property
    def pad_id(self) -> int:
        """The tokenizer's padding id, or its end of text, or 0: a mask tells it from the text."""
        known = (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id)
        return next((int(token) for token in known if token is not None), 0)

    @property
    def bos_id(self) -> int:
        """The id that every row begins with."""
        return self.head[0]

    def encode(self, text: str) -> list[int]:
        """Encodes ``text`` without special ids."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Encodes many texts at once, without special ids: what spells one is text."""
        return self._content.encode_batch(texts)

    def encode_chats(self, chats: Sequence[Sequence[Mapping[str, str]]]) -> list[list[int]]:
        """Encodes chats, with the special ids that the tokenizer's template writes, and no others.

        Args:
            chats: Each a list of messages with ``role`` and ``content``.
        """
        written = [
            render_chat(self.tokenizer, chat, self._content.pieces, to_answer=False)
            for chat in chats
        ]
        return self.encode_batch(written)

    def save(self, path: str | Path) -> None:
        """Writes the tokenizer's files and its special ids into the folder ``path``."""
        self.tokenizer.save_pretrained(str(path))
        (Path(path) / _FILE).write_text(
            json.dumps({"head": self.head, "tail": self.tail}), encoding="utf-8"
        )


@dataclass(frozen=True, slots=True)
class Frame:
    """What a tokenizer writes around one text or two, as ``(id, token type)``.

    Attributes:
        head: Before the first text.
        middle: Between the two; empty for one.
        tail: Behind the last.
        kinds: The token types of the first and of the second text.
        alone: What stands for a text without any token, where nothing else is written.
    """

    head: tuple[tuple[int, int], ...]
    middle: tuple[tuple[int, int], ...]
    tail: tuple[tuple[int, int], ...]
    kinds: tuple[int, int]
    alone: int

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, *, pair: bool) -> Self:
        """Reads the frame off an example.

        Raises:
            ValueError: If the tokenizer has no token for it.
        """
        plain: Any = tokenizer("a", add_special_tokens=False)["input_ids"]
        if not plain:
            raise ValueError(
                f"the tokenizer of {tokenizer.name_or_path!r} has no token for the text 'a': its "
                "files are of another kind than transformers takes them for"
            )
        whole: Any = tokenizer("a", "a") if pair else tokenizer("a")
        ids: list[int] = whole["input_ids"]
        kinds = whole.get("token_type_ids") or [0] * len(ids)
        row = list(zip(ids, kinds, strict=True))
        first = _find(plain, ids, 0)
        second = _find(plain, ids, first + len(plain)) if pair else first
        return cls(
            head=tuple(row[:first]),
            middle=tuple(row[first + len(plain) : second]) if pair else (),
            tail=tuple(row[second + len(plain) :]),
            kinds=(kinds[first], kinds[second]),
            alone=_beginning(tokenizer)[0],
        )

    def around(
        self, first: Sequence[int], second: Sequence[int], max_tokens: int
    ) -> tuple[tuple[int, int], ...]:
        """Lays one or two texts out; what does not fit is cut off the first's beginning.

        Args:
            first: The first of two texts; empty for one.
            second: The second, or the only one; its beginning is cut once the first is gone.
            max_tokens: The most tokens of a row, the frame included; the frame is never cut.
        """
        kept = max(0, max_tokens - len(self.head) - len(self.middle) - len(self.tail))
        second = second[max(0, len(second) - kept) :]
        first = first[max(0, len(first) + len(second) - kept) :]
        row = (
            *self.head,
            *((token, self.kinds[0]) for token in first),
            *self.middle,
            *((token, self.kinds[1]) for token in second),
            *self.tail,
        )
        return row or ((self.alone, 0),)

    def bare(self, text: Sequence[int], max_tokens: int) -> tuple[tuple[int, int], ...]:
        """Lays out a text that has its special ids already; its end is kept."""
        row = tuple((token, self.kinds[0]) for token in text[max(0, len(text) - max_tokens) :])
        return row or ((self.alone, 0),)


def load_reader(path: Path) -> Reader:
    """Loads what stands beside a reward model: a sentencepiece file, or a tokenizer's folder.

    Raises:
        ValueError: If it is neither.
    """
    if not (path / _FILE).is_file():
        return load_tokenizer(path)
    around = json.loads((path / _FILE).read_text(encoding="utf-8"))
    return PretrainedReader(open_tokenizer(path), around["head"], around["tail"])


def _find(part: Sequence[int], whole: Sequence[int], start: int) -> int:
    """Where a run of ids stands in another one, from ``start`` on."""
    places = range(start, len(whole) - len(part) + 1)
    found = next((at for at in places if list(whole[at : at + len(part)]) == list(part)), None)
    if found is None:
        raise ValueError("the tokenizer changes a text when it writes special ids around it")
    return found


def _beginning(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    for token in (tokenizer.bos_token_id, tokenizer.cls_token_id, tokenizer.eos_token_id):
        if token is not None:
            return (int(token),)
    raise ValueError(
        f"{tokenizer.name_or_path!r} has no beginning-of-text, [CLS] or end-of-text token, so an "
        "empty text could not be read: set its bos_token first"
    )
