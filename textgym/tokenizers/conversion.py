"""A sentencepiece model of ours as an ordinary fast tokenizer of transformers, with equal ids.

The pieces are written with spaces in the place of sentencepiece's mark, so nothing has to be put
into a text before it is cut, and the mark itself is a character like any other. Both kinds of model
are read in the library ``tokenizers`` by the same search as in sentencepiece.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedTokenizerFast

    from textgym.tokenizers.sentencepiece import Kind, SentencePieceTokenizer

__all__ = ["as_fast_tokenizer", "save_as_fast"]

# The pieces of bytes and of what is unknown are pieces like any others there. A text that spells
# one must not be read as it, so it is cut behind the first sign.
_SPELLED = "<(?=0x[0-9A-F]{2}>|unk>)"


def save_as_fast(tokenizer: SentencePieceTokenizer, kind: Kind, folder: Path) -> None:
    """Writes what ``transformers.AutoTokenizer`` and ``load_tokenizer`` read, into a folder."""
    as_fast_tokenizer(tokenizer, kind).save_pretrained(str(folder))


def as_fast_tokenizer(tokenizer: SentencePieceTokenizer, kind: Kind) -> PreTrainedTokenizerFast:
    """Makes the tokenizer of transformers that gives the same ids for every text.

    Its own special ids are put in by the caller alone, but for the beginning of text, which it
    writes before a text as models of ours are trained.

    Args:
        tokenizer: The model.
        kind: As of ``train_tokenizer``.
    """
    from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    pieces = _Pieces(tokenizer)
    pad, bos, eos, unknown = (pieces.names[number] for number in range(4))
    backend = Tokenizer(pieces.unigram() if kind == "unigram" else pieces.bpe())
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(_SPELLED), "isolated")
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    backend.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A $B", special_tokens=[(bos, tokenizer.bos_id)]
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call] # transformers' is
        tokenizer_object=backend,
        pad_token=pad,
        bos_token=bos,
        eos_token=eos,
        unk_token=unknown,
        clean_up_tokenization_spaces=False,
        padding_side="right",
    )


class _Pieces:
    """The vocabulary of a sentencepiece model, written with spaces."""

    def __init__(self, tokenizer: SentencePieceTokenizer) -> None:
        import sentencepiece

        model = sentencepiece.SentencePieceProcessor()
        model.LoadFromSerializedProto(tokenizer.model)
        size = range(tokenizer.vocab_size)
        self._unknown = tokenizer.unknown_id
        self._is_plain = [
            not (model.is_byte(n) or model.is_control(n) or model.is_unknown(n)) for n in size
        ]
        self._scores = [float(model.get_score(n)) for n in size]
        self.names = [
            model.id_to_piece(n).replace("\N{LOWER ONE EIGHTH BLOCK}", " ")
            if self._is_plain[n]
            else model.id_to_piece(n)
            for n in size
        ]

    def unigram(self) -> Any:
        """The likeliest pieces, as ``tokenizers`` looks for them."""
        from tokenizers import models

        vocabulary = list(zip(self.names, self._scores, strict=True))
        return models.Unigram(vocabulary, unk_id=self._unknown, byte_fallback=True)

    def bpe(self) -> Any:
        """Merges in the order of the pieces that they make, as ``tokenizers`` takes them."""
        from tokenizers import models

        ids = {name: n for n, name in enumerate(self.names)}
        plain = {name for name, n in ids.items() if self._is_plain[n]}
        ranked = []
        for name in plain:
            halves = [(name[:cut], name[cut:]) for cut in range(1, len(name))]
            known = [(ids[a], ids[b]) for a, b in halves if a in plain and b in plain]
            ranked += [(-self._scores[ids[name]], pair) for pair in known]
        merges = [(self.names[a], self.names[b]) for _, (a, b) in sorted(ranked)]
        unknown = self.names[self._unknown]
        return models.BPE(ids, merges, unk_token=unknown, byte_fallback=True)
