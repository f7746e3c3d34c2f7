"""From text to ids and back: characters, sentencepiece, and Hugging Face's, behind one protocol.

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

from textgym.tokenizers.characters import ALPHABET_FILE, CharacterTokenizer
from textgym.tokenizers.hugging_face import HuggingFaceTokenizer
from textgym.tokenizers.sentencepiece import SentencePieceTokenizer, train_tokenizer

if TYPE_CHECKING:
    from textgym.types import Tokenizer

__all__ = [
    "CharacterTokenizer",
    "HuggingFaceTokenizer",
    "SentencePieceTokenizer",
    "decode_rows",
    "legal_ids",
    "load_tokenizer",
    "save_tokenizer",
    "train_tokenizer",
]

_SHIPPED = ("reviews-4096",)
_CHARACTERS = "characters:"
# What a tokenizer is in a folder.
_HUGGING_FACE, _SENTENCEPIECE = "tokenizer.json", "tokenizer.model"


def legal_ids(tokenizer: Tokenizer) -> npt.NDArray[np.bool_]:
    """Returns which ids a completion may hold, ``(V,)`` bool, the end of text among them."""
    legal = np.ones(tokenizer.vocab_size, dtype=np.bool_)
    legal[[*tokenizer.forbidden_ids, tokenizer.pad_id]] = False
    return legal


def decode_rows(
    tokenizer: Tokenizer, tokens: npt.NDArray[np.int64], start: npt.NDArray[np.int64]
) -> list[str]:
    """Decodes what stands in each row from a place on, by what the tokenizer does fastest.

    Args:
        tokenizer: Any; see ``Tokenizer`` for what it may have.
        tokens: ``(N, T)``; no text holds padding, so whatever is padding is behind it.
        start: ``(N,)``.
    """
    fast = getattr(tokenizer, "decode_rows", None)
    if fast is not None:
        return fast(tokens, start)  # type: ignore[no-any-return] # see Tokenizer
    rows = zip(
        tokens, start.tolist(), (tokens != tokenizer.pad_id).sum(axis=1).tolist(), strict=True
    )
    return tokenizer.decode_batch([ids[first:length].tolist() for ids, first, length in rows])


def load_tokenizer(name_or_path: str | Path = "reviews-4096") -> Tokenizer:
    """Loads a tokenizer by name or path.

    Args:
        name_or_path: ``"reviews-4096"``, which is shipped; ``"characters:<alphabet>"``;
            ``"smollm2"``, see ``textgym.pretrained.smollm2``; ``"hub:NAME"``, for transformers; the
            path of a sentencepiece ``.model`` file; or a folder with one as ``tokenizer.model``,
            with a Hugging Face ``tokenizer.json``, or with what ``save_tokenizer`` wrote.

    Raises:
        ValueError: If it is none of these, when the message lists the known names; or if its file
            is damaged, of another kind, or needs code of its own.
        ModuleNotFoundError: If SmolLM2's package is missing; the message says how to get it.
        OSError: If transformers does not find what ``hub:`` asks for.
    """
    name, path = str(name_or_path), Path(name_or_path)
    if name in _SHIPPED:
        return _load_shipped(name)
    if name.startswith(_CHARACTERS):
        return CharacterTokenizer(name.removeprefix(_CHARACTERS))
    return _other_peoples(name, path)


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
    elif isinstance(tokenizer, (HuggingFaceTokenizer, CharacterTokenizer)):
        tokenizer.save(folder)
    else:
        return False
    return True


@functools.cache
def _load_shipped(name: str) -> SentencePieceTokenizer:
    asset = resources.files("textgym.assets") / f"{name}.model"
    return SentencePieceTokenizer(asset.read_bytes())


def _other_peoples(name: str, path: Path) -> Tokenizer:
    """Loads what is neither shipped nor spelled out."""
    # What these import is not needed by a toy.
    from textgym.pretrained.checkpoints import HUB_PREFIX, readable
    from textgym.pretrained.models import open_tokenizer
    from textgym.pretrained.smollm2 import SMOLLM2, smollm2_folder

    if name.startswith(HUB_PREFIX):
        return HuggingFaceTokenizer(open_tokenizer(name))
    if name == SMOLLM2 and not path.exists():
        path = smollm2_folder()
    if (path / _HUGGING_FACE).is_file():
        return HuggingFaceTokenizer(open_tokenizer(path))
    with readable(path, "tokenizer"):
        if path.is_file():
            return SentencePieceTokenizer(path.read_bytes())
        if (path / _SENTENCEPIECE).is_file():
            return SentencePieceTokenizer((path / _SENTENCEPIECE).read_bytes())
        if (path / ALPHABET_FILE).is_file():
            alphabet = (path / ALPHABET_FILE).read_text(encoding="utf-8")
            return CharacterTokenizer(json.loads(alphabet))
    raise ValueError(
        f"unknown tokenizer {name!r}; known: {_CHARACTERS}<alphabet>, {', '.join(_SHIPPED)}, "
        f"{SMOLLM2}, {HUB_PREFIX}NAME; "
        "or give the path of a sentencepiece .model file or of a folder with a tokenizer.json"
    )
