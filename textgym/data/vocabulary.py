"""Remakes the shipped tokenizer: ``python -m textgym.data.vocabulary``."""

from __future__ import annotations

from pathlib import Path

import textgym.assets
from textgym.data.reviews import load_reviews
from textgym.tokenizers import SentencePieceTokenizer, train_tokenizer

__all__ = ["make_reviews_tokenizer"]


def make_reviews_tokenizer() -> SentencePieceTokenizer:
    """Trains ``reviews-4096`` on 2,000 reviews of the ``language_model`` pool.

    Raises:
        ModuleNotFoundError: If the reviews' package is missing; the message says how to get it.
    """
    texts = [review.text for review in load_reviews("language_model")]
    return train_tokenizer(texts, vocab_size=4096, max_texts=2000, seed=0)


if __name__ == "__main__":
    make_reviews_tokenizer().save(Path(textgym.assets.__path__[0]) / "reviews-4096.model")
