"""What a tokenizer makes of texts: how many tokens, how many of them unknown, and what is lost.

Fertility is the number of tokens for a word (Rust et al. 2021, How Good is Your Tokenizer?); by
language it says who pays more for the same text. A word is what stands between white space, so for
languages that are written without it, compare characters a token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from textgym.types import Tokenizer

__all__ = ["TokenizerFigures", "measure_tokenizer"]

_AT_ONCE = 512


@dataclass(slots=True, kw_only=True)
class TokenizerFigures:
    """Counts over texts, and what they come to.

    Attributes:
        texts: How many.
        words: What stands between white space.
        characters: Unicode's, white space included.
        tokens: Ids, special ones not included.
        unknown: Ids that stand for what no piece spells.
        returned: Texts that are the same when they are decoded again.
        refused: Texts that the tokenizer cannot read at all; they count in ``texts`` alone.
    """

    texts: int = 0
    words: int = 0
    characters: int = 0
    tokens: int = 0
    unknown: int = 0
    returned: int = 0
    refused: int = 0

    @property
    def tokens_a_word(self) -> float:
        """The fertility."""
        return self.tokens / max(1, self.words)

    @property
    def characters_a_token(self) -> float:
        """How much of a text a token holds."""
        return self.characters / max(1, self.tokens)

    @property
    def unknown_share(self) -> float:
        """The share of tokens that are unknown."""
        return self.unknown / max(1, self.tokens)

    @property
    def round_trip_share(self) -> float:
        """The share of texts that survive ``decode(encode(text))``."""
        return self.returned / max(1, self.texts)

    def as_json(self) -> dict[str, float]:
        """The counts and the figures by their names."""
        counts = {name: getattr(self, name) for name in self.__slots__}
        names = ("tokens_a_word", "characters_a_token", "unknown_share", "round_trip_share")
        return counts | {name: getattr(self, name) for name in names}


def measure_tokenizer(
    tokenizer: Tokenizer, texts: Iterable[tuple[str, str]]
) -> dict[str, TokenizerFigures]:
    """Measures a tokenizer on texts, all together and by group.

    Args:
        tokenizer: Any of ours or of transformers.
        texts: Each text and the name of its group, such as its language; "" for none.

    Returns:
        The figures of all texts under "", and those of each group by its name, sorted.
    """
    found = {"": TokenizerFigures()}
    for few in _portions(texts):
        rows = _encoded(tokenizer, [text for text, _ in few])
        for (text, group), ids in zip(few, rows, strict=True):
            for name in {"", group}:
                _count(found.setdefault(name, TokenizerFigures()), tokenizer, text, ids)
    return dict(sorted(found.items()))


def _count(
    figures: TokenizerFigures, tokenizer: Tokenizer, text: str, ids: Sequence[int] | None
) -> None:
    figures.texts += 1
    if ids is None:
        figures.refused += 1
        return
    unknown = getattr(tokenizer, "unknown_id", None)
    figures.words += len(text.split())
    figures.characters += len(text)
    figures.tokens += len(ids)
    figures.unknown += 0 if unknown is None else sum(token == unknown for token in ids)
    figures.returned += tokenizer.decode(ids) == text


def _encoded(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int] | None]:
    """Encodes together, or, where one cannot be read, each by itself."""
    try:
        return list(tokenizer.encode_batch(texts))
    except ValueError:
        return [_encoded_alone(tokenizer, text) for text in texts]


def _encoded_alone(tokenizer: Tokenizer, text: str) -> list[int] | None:
    try:
        return tokenizer.encode(text)
    except ValueError:
        return None


def _portions(texts: Iterable[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    few: list[tuple[str, str]] = []
    for text in texts:
        few.append(text)
        if len(few) == _AT_ONCE:
            yield few
            few = []
    if few:
        yield few
