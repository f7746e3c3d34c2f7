"""Transformers' fast tokenizers behind this package's protocol."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

from textgym.messages import require_texts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase

__all__ = ["HuggingFaceTokenizer"]

# How byte-level vocabularies spell a space, and how byte-fallback vocabularies spell "A".
_BYTE_LEVEL_SPACE, _LETTER_A = "Ġ", "<0x41>"
_BYTE_PIECE = re.compile("<0x[0-9A-F]{2}>")


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
        specials = {self._pad_id, self._bos_id, *tokenizer.all_special_ids}
        self._forbidden_ids = tuple(sorted(specials - {self._eos_id}))

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
    def forbidden_ids(self) -> tuple[int, ...]:
        """Every special id but the end of text."""
        return self._forbidden_ids

    def encode(self, text: str) -> list[int]:
        """Encodes ``text`` without adding special ids."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Encodes many texts at once.

        Raises:
            TypeError: If one is no string.
            ValueError: If one is no valid text; it is shown.
        """
        if not texts:
            return []
        try:
            encoded: Any = self._tokenizer(
                list(texts), add_special_tokens=False, padding=False, truncation=False
            )
        except (TypeError, ValueError):
            require_texts(texts)  # transformers does not say which of them is none
            raise
        return [list(ids) for ids in encoded["input_ids"]]

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
            return _byte_level(piece)
        if _BYTE_PIECE.fullmatch(piece) and decoder and decoder.decode([_LETTER_A]) == "A":
            return bytes.fromhex(piece[3:5])
        text = self.decode([token])
        if self.decode([token, token]) != text * 2:
            raise ValueError(
                f"this tokenizer writes token {token} ({piece!r}) as {text!r} at the start of a "
                "text and differently later, so a token does not say what it writes; take a "
                "byte-level tokenizer or a sentencepiece .model"
            )
        return text.encode()

    def format_chat(self, messages: Sequence[Mapping[str, str]]) -> str:
        """Writes messages as the model was taught to read them, up to where it answers.

        The result is a prompt: what an environment puts before every text is left out.

        Args:
            messages: Each with ``role``, such as ``user``, and ``content``.

        Raises:
            ValueError: If the tokenizer has no template for chats.
        """
        if not self._tokenizer.chat_template:
            raise ValueError("this tokenizer has no chat template: write the prompt as plain text")
        text: Any = self._tokenizer.apply_chat_template(
            [dict(message) for message in messages], tokenize=False, add_generation_prompt=True
        )
        return str(text).removeprefix(str(self._tokenizer.convert_ids_to_tokens(self._bos_id)))

    def save(self, path: str | Path) -> None:
        """Writes the tokenizer's files into the folder ``path``, for ``load_tokenizer(path)``."""
        self._tokenizer.save_pretrained(str(path))


def _byte_level(piece: str) -> bytes:
    """Undoes a byte-level spelling; a piece that is not spelled so is an added token's own text."""
    bytes_of = _byte_level_alphabet()
    if all(character in bytes_of for character in piece):
        return bytes(bytes_of[character] for character in piece)
    return piece.encode()


@functools.cache
def _byte_level_alphabet() -> dict[str, int]:
    """Which byte each character of a byte-level spelling stands for.

    A byte that prints in Latin-1 is spelled by itself; the others, in order, by the characters from
    U+0100 on.
    """
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = [byte for byte in range(0x100) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {
        chr(0x100 + place): byte for place, byte in enumerate(hidden)
    }
