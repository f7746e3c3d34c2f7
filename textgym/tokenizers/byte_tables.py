"""What each token of a vocabulary writes, in bytes, and texts put together from that.

A vocabulary spells bytes that are no characters in one of two ways: sentencepiece and its kin as
``<0x0A>``, byte-level vocabularies such as GPT-2's by one character for each byte. Joining bytes is
several times as fast as a tokenizer's own decoder. What is joined may be no UTF-8, where a text is
cut inside a character; the tables say which marks then stand in the text.
"""

from __future__ import annotations

import codecs
import functools
import re
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

__all__ = [
    "EACH_BYTE",
    "FEW_ROWS",
    "ByteTable",
    "byte_level_bytes",
    "spell_byte",
    "spelled_byte",
]

EACH_BYTE = "textgym.each-byte"
"""The error handler that puts a mark for every byte that is no character's."""

FEW_ROWS = 8
"""Up to this number of rows, lists are faster than arrays."""

# More lists at a time make Python look for garbage everywhere, which takes longer than decoding.
_ROWS_AT_ONCE = 64
_CUT = "\N{REPLACEMENT CHARACTER}"
_BYTE_PIECE = re.compile("<0x[0-9A-F]{2}>")


def _mark_each(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return _CUT * (error.end - error.start), error.end


codecs.register_error(EACH_BYTE, _mark_each)


class ByteTable:
    """The bytes of every id of a vocabulary."""

    def __init__(self, pieces: Sequence[bytes], *, silent: int, errors: str) -> None:
        """Takes the bytes.

        Args:
            pieces: What each id adds to a text's UTF-8, ``(V,)``.
            silent: An id that adds nothing.
            errors: What stands for bytes that are no character's: ``EACH_BYTE`` puts a mark for
                each of them, as sentencepiece does, and ``"replace"`` one for each broken
                character, as Hugging Face's tokenizers do.
        """
        self._pieces = list(pieces)
        self._array = np.array(self._pieces, dtype=np.object_)
        self._silent = silent
        self._errors = errors

    def text(self, ids: Sequence[int]) -> str:
        """Decodes ids."""
        return self._decoded([self._pieces[token] for token in ids])

    def rows(self, tokens: npt.NDArray[np.int64], start: npt.NDArray[np.int64]) -> list[str]:
        """Decodes many rows of one array, each from a place of its own on.

        Args:
            tokens: Text, with padding behind it, ``(N, T)``.
            start: Where each row's text starts, ``(N,)``.
        """
        if len(tokens) <= FEW_ROWS:
            pairs = zip(tokens, start.tolist(), strict=True)
            return [self.text(row[place:].tolist()) for row, place in pairs]
        texts: list[str] = []
        for row in range(0, len(tokens), _ROWS_AT_ONCE):
            some, places = tokens[row : row + _ROWS_AT_ONCE], start[row : row + _ROWS_AT_ONCE]
            first = int(places.min())
            behind = np.arange(first, tokens.shape[1]) >= places[:, None]
            # What gives no text stands for what is before the start.
            ids = np.where(behind, some[:, first:], self._silent)
            texts += [self._decoded(pieces) for pieces in self._array[ids].tolist()]
        return texts

    def _decoded(self, pieces: list[bytes]) -> str:
        return b"".join(pieces).decode(errors=self._errors)


def spell_byte(byte: int) -> str:
    """Spells a byte as sentencepiece does, ``<0x0A>``."""
    return f"<0x{byte:02X}>"


def spelled_byte(piece: str) -> bytes | None:
    """Returns the byte that ``spell_byte`` spelled; ``None`` if the piece is no such spelling."""
    return bytes.fromhex(piece[3:5]) if _BYTE_PIECE.fullmatch(piece) else None


def byte_level_bytes(piece: str) -> bytes:
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
