"""Words and sentences of a text: what an analysis, a constraint or a sparse reward asks for.

None of it belongs into text that a language model shall write: it needs its stop words.
"""

from __future__ import annotations

import functools
import re
from typing import Any

__all__ = ["keywords", "sentences", "without_stop_words", "words"]

_WORD = re.compile(r"\w+(?:['\u2019]\w+)*")


def sentences(text: str, language: str = "en") -> list[str]:
    """The sentences, by spaCy's rules, which need no model.

    Raises:
        ModuleNotFoundError: If spaCy is missing.
        ValueError: If it has no such language.
    """
    return [each.text.strip() for each in _spacy(language)(text).sents if each.text.strip()]


def words(text: str, language: str = "en") -> list[str]:
    """The words and signs, by spaCy's rules of a language: ``don't`` is ``do`` and ``n't``.

    Raises:
        ModuleNotFoundError: If spaCy is missing.
        ValueError: If it has no such language, or needs another library for it.
    """
    return [each.text for each in _spacy(language)(text) if not each.is_space]


def without_stop_words(text: str, language: str = "en") -> str:
    """The words that are no stop words by spaCy's list, separated by single spaces.

    Raises:
        ModuleNotFoundError: If spaCy is missing.
        ValueError: If it has no such language.
    """
    stop = _spacy(language).Defaults.stop_words
    return " ".join(word for word in _WORD.findall(text) if word.casefold() not in stop)


def keywords(text: str, most: int = 5, language: str = "en", among: str = "") -> list[str]:
    """What a text is about: its best keywords by YAKE, or which of a list it holds.

    Args:
        text: The text.
        most: How many at most.
        language: Whose stop words no keyword begins with.
        among: Words or phrases, separated by commas; those that occur are given, in that order.

    Raises:
        ModuleNotFoundError: If yake is missing.
    """
    if among:
        padded = f" {' '.join(_WORD.findall(text.casefold()))} "
        named = [" ".join(phrase.split()) for phrase in among.split(",")]
        return [phrase for phrase in named if f" {phrase.casefold()} " in padded][:most]
    return [str(phrase) for phrase, _ in _yake(language, most).extract_keywords(text)]


@functools.cache
def _spacy(language: str) -> Any:
    try:
        import spacy
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            'sentences, words and stop words need spaCy: pip install "textgym[corpus]"'
        ) from None
    try:
        pipeline = spacy.blank(language)
    except ImportError as error:
        raise ValueError(f"spaCy has no language {language!r}: {error}") from None
    pipeline.add_pipe("sentencizer")
    pipeline.max_length = 1 << 30
    return pipeline


@functools.cache
def _yake(language: str, most: int) -> Any:
    try:
        import yake
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            'the step keywords needs yake: pip install "textgym[corpus]"'
        ) from None
    return yake.KeywordExtractor(lan=language, n=2, top=most)
