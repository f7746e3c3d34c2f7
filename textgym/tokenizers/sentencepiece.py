"""The package's own kind of tokenizer: sentencepiece models that lose no text.

Simplification: a model always has byte fallback and no normalisation, which is what makes
``decode(encode(text)) == text`` hold for every text.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from textgym.messages import require_texts
from textgym.tokenizers.byte_tables import EACH_BYTE, ByteTable, spell_byte, spelled_byte

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

__all__ = ["Kind", "SentencePieceTokenizer", "train_tokenizer"]

Kind = Literal["unigram", "bpe"]
"""How a vocabulary is found and a text is cut: the likeliest pieces, or pairs merged in turn."""

_PAD, _BOS, _EOS, _UNKNOWN = 0, 1, 2, 3
# sentencepiece writes a space as this character, so the character itself needs another way in.
_SPACE_MARK = "▁"
# Below this number of texts, sentencepiece's threads cost more than they save.
_FEW_TEXTS = 2048
# Longer than any text: sentencepiece silently leaves out what is longer than its limit.
_LONGEST_TEXT = 1 << 24
# How sentencepiece says what would do.
_AT_MOST, _AT_LEAST = (
    re.compile(r"to a value <= (\d+)"),
    re.compile(r"required_chars\. \d+ vs (\d+)"),
)


class SentencePieceTokenizer:
    """A sentencepiece model; every text survives ``decode(encode(text))``.

    The padding, beginning, end and unknown ids are 0, 1, 2 and 3.
    """

    def __init__(self, model: bytes) -> None:
        """Loads a serialized model.

        Args:
            model: The bytes of a ``.model`` file.

        Raises:
            ValueError: If the bytes are no such model, or one with other special ids or without
                byte fallback.
        """
        import sentencepiece

        self._model = model
        self._processor = sentencepiece.SentencePieceProcessor()
        try:
            self._processor.LoadFromSerializedProto(model)
        except RuntimeError as error:
            raise ValueError(f"these {len(model)} bytes are no sentencepiece model") from error
        specials = (
            self._processor.pad_id(),
            self._processor.bos_id(),
            self._processor.eos_id(),
            self._processor.unk_id(),
        )
        if specials != (_PAD, _BOS, _EOS, _UNKNOWN):
            raise ValueError(
                f"the sentencepiece model has pad, bos, eos, unk = {specials}; it must have "
                f"{(_PAD, _BOS, _EOS, _UNKNOWN)}; train it with textgym.train_tokenizer"
            )
        self._mark_ids = [
            self._processor.piece_to_id(spell_byte(byte)) for byte in _SPACE_MARK.encode()
        ]
        if _UNKNOWN in self._mark_ids:
            raise ValueError(
                "the sentencepiece model has no byte fallback, so it would lose text; "
                "train it with textgym.train_tokenizer"
            )
        # Joining these is five times as fast as sentencepiece's decoder, and gives the same.
        pieces = [self.token_bytes(token) for token in range(self.vocab_size)]
        self._table = ByteTable(pieces, silent=_PAD, errors=EACH_BYTE)

    def __reduce__(self) -> tuple[type[SentencePieceTokenizer], tuple[bytes]]:
        """Travels as its model's bytes."""
        return type(self), (self._model,)

    @property
    def model(self) -> bytes:
        """The serialized model, as in a ``.model`` file."""
        return self._model

    @property
    def vocab_size(self) -> int:
        """The number of ids, special ones included."""
        return int(self._processor.get_piece_size())

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
    def unknown_id(self) -> int:
        """The id of what no piece spells, 3; with byte fallback no text has it."""
        return _UNKNOWN

    @property
    def forbidden_ids(self) -> tuple[int, ...]:
        """Padding, beginning of text and unknown."""
        return (_PAD, _BOS, _UNKNOWN)

    def encode(self, text: str) -> list[int]:
        """Encodes ``text`` without adding special ids."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Encodes many texts at once.

        Raises:
            TypeError: If one is no string.
            ValueError: If one is no valid text; it is shown.
        """
        try:
            if len(texts) < _FEW_TEXTS:
                rows: list[list[int]] = [self._processor.encode(text) for text in texts]
            else:
                rows = self._processor.encode(list(texts))
        except (RuntimeError, TypeError):
            require_texts(texts)  # sentencepiece does not say which of them is none
            raise
        for row, text in enumerate(texts):
            if _SPACE_MARK in text:
                rows[row] = self._encode_around_marks(text)
        return rows

    def decode(self, ids: Sequence[int]) -> str:
        """Decodes ``ids``; special ids give no text, a cut character gives U+FFFD."""
        return self._table.text(ids)

    def decode_batch(self, batch: Sequence[Sequence[int]]) -> list[str]:
        """Decodes many rows at once."""
        return [self.decode(ids) for ids in batch]

    def decode_rows(self, tokens: npt.NDArray[np.int64], start: npt.NDArray[np.int64]) -> list[str]:
        """Decodes many rows of one array, each from a place of its own on.

        Args:
            tokens: Text, with padding behind it, ``(N, T)``.
            start: Where each row's text starts, ``(N,)``.
        """
        return self._table.rows(tokens, start)

    def token_bytes(self, token: int) -> bytes:
        """What a token adds to a text's UTF-8, be it a part of a character; special ids: nothing.

        Raises:
            IndexError: If there is no such id.
        """
        piece = str(self._processor.id_to_piece(token))
        if token <= _UNKNOWN or self._processor.is_control(token):
            return b""
        if self._processor.is_byte(token):
            return spelled_byte(piece) or b""
        return piece.replace(_SPACE_MARK, " ").encode()

    def save(self, path: str | Path) -> None:
        """Writes the model's bytes to ``path``, for ``load_tokenizer(path)``."""
        Path(path).write_bytes(self._model)

    def _encode_around_marks(self, text: str) -> list[int]:
        parts: list[list[int]] = [self._processor.encode(part) for part in text.split(_SPACE_MARK)]
        ids = parts[0]
        for part in parts[1:]:
            ids += self._mark_ids
            ids += part
        return ids


def train_tokenizer(
    texts: Iterable[str],
    vocab_size: int = 4096,
    *,
    kind: Kind = "unigram",
    max_texts: int | None = None,
    seed: int = 0,
) -> SentencePieceTokenizer:
    """Trains a sentencepiece tokenizer; the same arguments give the same bytes.

    Args:
        texts: The corpus.
        vocab_size: The number of ids, the 4 special ones and 256 bytes included.
        kind: Kudo's (2018) unigram model, or byte pair encoding (Sennrich et al. 2016), which is
            found several times as fast.
        max_texts: Train on a random choice of this many texts; ``None`` takes them all.
        seed: The seed of that choice.

    Raises:
        TypeError: If a text is no string.
        ValueError: If there is no text, an invalid one, or too little or too much for
            ``vocab_size``; the message says what is possible.
    """
    import sentencepiece

    given = list(texts)
    require_texts(given, "the training text")
    corpus = [text for text in given if text.strip()]
    if not corpus:
        raise ValueError("there is no text to train a tokenizer on")
    if max_texts is not None and max_texts < len(corpus):
        chosen = np.random.default_rng(seed).choice(len(corpus), max_texts, replace=False)
        corpus = [corpus[index] for index in chosen]
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(corpus),
            model_writer=model,
            model_type=kind,
            vocab_size=vocab_size,
            byte_fallback=True,
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            normalization_rule_name="identity",
            max_sentence_length=_LONGEST_TEXT,
            pad_id=_PAD,
            bos_id=_BOS,
            eos_id=_EOS,
            unk_id=_UNKNOWN,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise ValueError(
            f"{len(corpus)} texts do not give a vocabulary of {vocab_size}: {_possible(str(error))}"
        ) from error
    return SentencePieceTokenizer(model.getvalue())


def _possible(said: str) -> str:
    """What sentencepiece's refusal comes to: which vocabularies these texts give."""
    most, least = _AT_MOST.search(said), _AT_LEAST.search(said)
    if most is not None:
        return f"they give {most[1]} at most; give more texts, or ask for no more"
    if least is not None:
        return (
            f"their characters, the bytes and the special ids alone are {least[1]}; ask for as many"
        )
    return f"sentencepiece says: {' '.join(said.split())}"
