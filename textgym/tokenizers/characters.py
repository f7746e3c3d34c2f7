"""Tokenizers behind one protocol: sentencepiece, single characters, and Hugging Face's fast ones.

Nothing is downloaded unasked: a name is one of ours, a path is a file or a folder on this machine,
and only what begins with ``hub:`` is looked for by transformers.
"""

from __future__ import annotations

import functools
import json
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from textgym.files import write_json
from textgym.messages import shown
from textgym.pretrained.smollm2 import HUB_PREFIX, SMOLLM2, hub_tokenizer, smollm2_folder
from textgym.tokenizers.hugging_face import HuggingFaceTokenizer
from textgym.tokenizers.sentencepiece import SentencePieceTokenizer, train_tokenizer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textgym.types import Tokenizer

__all__ = [
    "CharacterTokenizer",
    "HuggingFaceTokenizer",
    "SentencePieceTokenizer",
    "legal_ids",
    "load_tokenizer",
    "save_tokenizer",
    "train_tokenizer",
]

_SHIPPED = ("reviews-4096",)
_CHARACTERS = "characters:"
_PAD, _BOS, _EOS = 0, 1, 2
# What a tokenizer is in a folder.
_HUGGING_FACE, _SENTENCEPIECE, _ALPHABET = "tokenizer.json", "tokenizer.model", "alphabet.json"


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

    def token_bytes(self, token: int) -> bytes:
        """What a token adds to a text's UTF-8; special ids add nothing.

        Raises:
            IndexError: If there is no such id.
        """
        if not 0 <= token < self.vocab_size:
            raise IndexError(f"there is no id {token}; the ids are 0 to {self.vocab_size - 1}")
        return self.decode([token]).encode()


def legal_ids(tokenizer: Tokenizer) -> npt.NDArray[np.bool_]:
    """Returns which ids a completion may hold, ``(V,)`` bool, the end of text among them."""
    legal = np.ones(tokenizer.vocab_size, dtype=np.bool_)
    legal[[*tokenizer.forbidden_ids, tokenizer.pad_id]] = False
    return legal


def load_tokenizer(name_or_path: str | Path = "reviews-4096") -> Tokenizer:
    """Loads a tokenizer by name or path.

    Args:
        name_or_path: ``"reviews-4096"``, which is shipped; ``"characters:<alphabet>"``;
            ``"smollm2"``, see ``textgym.pretrained.smollm2``; ``"hub:NAME"``, for transformers; the
            path of a sentencepiece ``.model`` file; or a folder with one as ``tokenizer.model``,
            with a Hugging Face ``tokenizer.json``, or with what ``save_tokenizer`` wrote.

    Raises:
        ValueError: If it is none of these; the message lists the known names.
        ModuleNotFoundError: If SmolLM2's package is missing; the message says how to get it.
        OSError: If transformers does not find what ``hub:`` asks for.
    """
    name, path = str(name_or_path), Path(name_or_path)
    if name in _SHIPPED:
        return _load_shipped(name)
    if name.startswith(_CHARACTERS):
        return CharacterTokenizer(name.removeprefix(_CHARACTERS))
    if name.startswith(HUB_PREFIX):
        return HuggingFaceTokenizer(hub_tokenizer(name))
    if path.is_file():
        return SentencePieceTokenizer(path.read_bytes())
    if name == SMOLLM2 and not path.exists():
        path = smollm2_folder()
    if (found := _in_folder(path)) is not None:
        return found
    raise ValueError(
        f"unknown tokenizer {name!r}; known: {_CHARACTERS}<alphabet>, {', '.join(_SHIPPED)}, "
        f"{SMOLLM2}, {HUB_PREFIX}NAME; "
        "or give the path of a sentencepiece .model file or of a folder with a tokenizer.json"
    )


def _in_folder(folder: Path) -> Tokenizer | None:
    if (folder / _HUGGING_FACE).is_file():
        from transformers import AutoTokenizer

        return HuggingFaceTokenizer(AutoTokenizer.from_pretrained(folder, local_files_only=True))
    if (folder / _SENTENCEPIECE).is_file():
        return SentencePieceTokenizer((folder / _SENTENCEPIECE).read_bytes())
    if (folder / _ALPHABET).is_file():
        try:
            return CharacterTokenizer(json.loads((folder / _ALPHABET).read_text(encoding="utf-8")))
        except json.JSONDecodeError as error:
            raise ValueError(f"{folder / _ALPHABET} is no JSON: {error}") from error
    return None


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> bool:
    """Writes what ``load_tokenizer(folder)`` reads.

    Args:
        tokenizer: One of the kinds of this module; another one is left out.
        folder: Is there already.

    Returns:
        Whether it was written.
    """
    if isinstance(tokenizer, SentencePieceTokenizer):
        tokenizer.save(folder / _SENTENCEPIECE)
    elif isinstance(tokenizer, HuggingFaceTokenizer):
        tokenizer.save(folder)
    elif isinstance(tokenizer, CharacterTokenizer):
        write_json(folder / _ALPHABET, tokenizer.alphabet)
    else:
        return False
    return True


@functools.cache
def _load_shipped(name: str) -> SentencePieceTokenizer:
    asset = resources.files("textgym.assets") / f"{name}.model"
    return SentencePieceTokenizer(asset.read_bytes())
