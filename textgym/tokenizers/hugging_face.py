"""Transformers' fast tokenizers behind this package's protocol."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from textgym.tokenizers.byte_tables import (
    FEW_ROWS,
    ByteTable,
    byte_level_bytes,
    spell_byte,
    spelled_byte,
)
from textgym.tokenizers.content import ContentReader, render_chat, special_ids

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt
    from transformers import PreTrainedTokenizerBase

    from textgym.tokenizers.content import ChatPrompt

__all__ = ["HuggingFaceTokenizer"]

_BYTE_LEVEL_SPACE = "Ġ"  # how byte-level vocabularies spell a space


class HuggingFaceTokenizer:
    """Any of transformers' fast tokenizers behind this package's protocol.

    A tokenizer without a padding id of its own gets one more id, because a state needs a pad that
    no action emits. One without a beginning id starts its states with the end-of-text id, as GPT-2
    does. Decoding is concatenative for byte-level vocabularies; those that drop a leading space,
    as Llama's, lose the one between a prompt and its completion.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Wraps a loaded tokenizer.

        Args:
            tokenizer: One with an end-of-text id.

        Raises:
            ValueError: If it has no end-of-text id.
        """
        if tokenizer.eos_token_id is None:
            raise ValueError(
                f"{tokenizer.name_or_path!r} has no end-of-text token; set its eos_token first"
            )
        self._tokenizer = tokenizer
        self._eos_id = int(tokenizer.eos_token_id)
        bos_id, pad_id, size = tokenizer.bos_token_id, tokenizer.pad_token_id, len(tokenizer)
        self._bos_id = self._eos_id if bos_id is None else int(bos_id)
        has_own_pad = pad_id is not None and pad_id not in (self._eos_id, self._bos_id)
        self._pad_id = int(pad_id) if has_own_pad else size
        self._vocab_size = max(size, self._pad_id + 1)
        specials = {self._pad_id, self._bos_id, *special_ids(tokenizer)}
        self._forbidden_ids = tuple(sorted(specials - {self._eos_id}))
        self._content = ContentReader(tokenizer)

    @property
    def vocab_size(self) -> int:
        """The number of ids, special ones included."""
        return self._vocab_size

    @property
    def pad_id(self) -> int:
        """The padding id: the tokenizer's own, or one past its vocabulary."""
        return self._pad_id

    @property
    def bos_id(self) -> int:
        """The beginning-of-text id."""
        return self._bos_id

    @property
    def eos_id(self) -> int:
        """The end-of-text id."""
        return self._eos_id

    @property
    def unknown_id(self) -> int | None:
        """The id of what no piece spells; ``None`` where there is none."""
        unknown = self._tokenizer.unk_token_id
        # GPT-2's is its end of text, which no content has.
        return None if unknown is None or int(unknown) == self._eos_id else int(unknown)

    @property
    def forbidden_ids(self) -> tuple[int, ...]:
        """Every special id but the end of text."""
        return self._forbidden_ids

    def encode(self, text: str) -> list[int]:
        """Encodes ``text`` without adding special ids; see ``encode_batch``."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Encodes many texts at once.

        What spells a special token is text, and is read as that; only what ``format_chat`` returned
        has special ids, those that the chat's template wrote.

        Raises:
            TypeError: If one is no string.
            ValueError: If one is no valid text; it is shown.
        """
        return self._content.encode_batch(texts)

    def decode(self, ids: Sequence[int]) -> str:
        """Decodes ``ids``; special ids give no text."""
        return self.decode_batch([ids])[0]

    def decode_batch(self, batch: Sequence[Sequence[int]]) -> list[str]:
        """Decodes many rows at once."""
        silent = {self._eos_id, *self._forbidden_ids}
        return [
            str(
                self._tokenizer.decode(
                    [int(token) for token in ids if int(token) not in silent],
                    clean_up_tokenization_spaces=False,
                )
            )
            for ids in batch
        ]

    def decode_rows(self, tokens: npt.NDArray[np.int64], start: npt.NDArray[np.int64]) -> list[str]:
        """Decodes many rows of one array, each from a place of its own on.

        Args:
            tokens: Text, with padding behind it, ``(N, T)``.
            start: Where each row's text starts, ``(N,)``.
        """
        if len(tokens) > FEW_ROWS and (table := self._table) is not None:
            return table.rows(tokens, start)
        pairs = zip(tokens, start.tolist(), strict=True)
        return self.decode_batch([row[place:].tolist() for row, place in pairs])

    @functools.cached_property
    def _table(self) -> ByteTable | None:
        """What each id writes, of a byte-level vocabulary that transformers decodes as it is."""
        from tokenizers.decoders import ByteLevel
        from transformers import PreTrainedTokenizerFast

        own, plain = type(self._tokenizer), PreTrainedTokenizerFast
        if not isinstance(self._tokenizer.backend_tokenizer.decoder, ByteLevel) or any(
            getattr(own, name) is not getattr(plain, name) for name in ("decode", "_decode")
        ):
            return None
        pieces = self._tokenizer.convert_ids_to_tokens(list(range(self._vocab_size)))
        silent = {self._eos_id, *self._forbidden_ids}
        table = [
            b"" if token in silent or piece is None else byte_level_bytes(piece)
            for token, piece in enumerate(pieces)
        ]
        return ByteTable(table, silent=self._pad_id, errors="replace")

    def token_bytes(self, token: int) -> bytes:
        """What a token adds to a text's UTF-8, be it a part of a character; special ids: nothing.

        Raises:
            ValueError: If that depends on where the token stands, as with a vocabulary whose first
                token loses its leading space.
        """
        if token == self._eos_id or token in self._forbidden_ids:
            return b""
        piece = self._tokenizer.convert_ids_to_tokens(token)
        if not isinstance(piece, str):
            return b""
        decoder = self._tokenizer.backend_tokenizer.decoder
        if decoder is not None and decoder.decode([_BYTE_LEVEL_SPACE]) == " ":
            return byte_level_bytes(piece)
        byte = spelled_byte(piece)
        if byte is not None and decoder and decoder.decode([spell_byte(ord("A"))]) == "A":
            return byte
        text = self.decode([token])
        if self.decode([token, token]) != text * 2:
            raise ValueError(
                f"this tokenizer writes token {token} ({piece!r}) as {text!r} at the start of a "
                "text and differently later, so a token does not say what it writes; take a "
                "byte-level tokenizer or a sentencepiece .model"
            )
        return text.encode()

    def format_chat(self, messages: Sequence[Mapping[str, str]]) -> ChatPrompt:
        """Writes messages as the model was taught to read them, up to where it answers.

        The result is a prompt: what an environment puts before every text is left out. Encoded as
        it is, it has the special tokens that the template wrote, and no message can add one.
        Changed, or written to a file and read again, it is plain text and has none.

        Args:
            messages: Each with ``role``, such as ``user``, and ``content``.

        Raises:
            ValueError: If the tokenizer has no template for chats.
        """
        if not self._tokenizer.chat_template:
            raise ValueError("this tokenizer has no chat template: write the prompt as plain text")
        first = str(self._tokenizer.convert_ids_to_tokens(self._bos_id))
        return render_chat(self._tokenizer, messages, self._content.pieces, prefix=first)

    def save(self, path: str | Path) -> None:
        """Writes the tokenizer's files into the folder ``path``, for ``load_tokenizer(path)``."""
        self._tokenizer.save_pretrained(str(path))
