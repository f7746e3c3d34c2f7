"""One id per character of a small alphabet: what toys are written in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textgym.files import write_json
from textgym.messages import shown

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["ALPHABET_FILE", "CharacterTokenizer"]

ALPHABET_FILE = "alphabet.json"
"""What the tokenizer is in a folder."""

_PAD, _BOS, _EOS = 0, 1, 2


class CharacterTokenizer:
    """One id per character of a small alphabet, for toys; the name is ``characters:<alphabet>``.

    The padding, beginning and end ids are 0, 1 and 2; the alphabet follows. There is no unknown id:
    a foreign character is an error.
    """

    def __init__(self, alphabet: str) -> None:
        """Makes the tokenizer of an alphabet.

        Args:
            alphabet: The characters, in the order of their ids.

        Raises:
            ValueError: If ``alphabet`` is empty or has a character twice.
        """
        if not isinstance(alphabet, str) or not alphabet or len(set(alphabet)) != len(alphabet):
            raise ValueError(
                f"an alphabet has different characters, at least one; got {alphabet!r}"
            )
        self._alphabet = alphabet
        self._ids = {character: _EOS + 1 + place for place, character in enumerate(alphabet)}

    @property
    def alphabet(self) -> str:
        """The characters, in the order of their ids."""
        return self._alphabet

    @property
    def vocab_size(self) -> int:
        """The number of ids, special ones included."""
        return _EOS + 1 + len(self._alphabet)

    @property
    def pad_id(self) -> int:
        """The padding id, 0."""
        return _PAD

    @property
    def bos_id(self) -> int:
        """The beginning-of-text id, 1."""
        return _BOS

    @property
    def eos_id(self) -> int:
        """The end-of-text id, 2."""
        return _EOS

    @property
    def forbidden_ids(self) -> tuple[int, ...]:
        """Padding and beginning of text."""
        return (_PAD, _BOS)

    def encode(self, text: str) -> list[int]:
        """Encodes ``text`` without adding special ids.

        Raises:
            ValueError: If a character is not in the alphabet.
        """
        try:
            return [self._ids[character] for character in text]
        except KeyError as error:
            raise ValueError(
                f"{error.args[0]!r} in {shown(text)} is not in the alphabet {self._alphabet!r}"
            ) from None

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Encodes many texts at once."""
        return [self.encode(text) for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        """Decodes ``ids``; special ids give no text."""
        return "".join(self._alphabet[token - _EOS - 1] for token in ids if token > _EOS)

    def decode_batch(self, batch: Sequence[Sequence[int]]) -> list[str]:
        """Decodes many rows at once."""
        return [self.decode(ids) for ids in batch]

    def save(self, folder: Path) -> None:
        """Writes what ``load_tokenizer(folder)`` reads; the folder is made if it is missing."""
        write_json(folder / ALPHABET_FILE, self._alphabet)

    def token_bytes(self, token: int) -> bytes:
        """What a token adds to a text's UTF-8; special ids add nothing.

        Raises:
            IndexError: If there is no such id.
        """
        if not 0 <= token < self.vocab_size:
            raise IndexError(f"there is no id {token}; the ids are 0 to {self.vocab_size - 1}")
        return self.decode([token]).encode()
