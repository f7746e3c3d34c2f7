"""Translate a phrase of a user interface."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textgym.data.language_packs import LANGUAGES, load_phrases
from textgym.data.prose import key_of
from textgym.tasks.splits import SPLITS, check_split, spread
from textgym.types import Example

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Translation"]


@dataclass(frozen=True, slots=True)
class Translation:
    r"""``"English: <phrase>\nFrench:"``; what is scored is the translation that follows.

    The columns are ``reference`` (the translators' choice, with its leading space), ``source``
    (the English phrase) and ``language`` (the code). An English phrase is in the same split
    whatever the language. Of the French, the longest of the three, 98 in 100 prompts fit into
    ``prompt_tokens`` (of the others the end is kept) and 95 in 100 references into
    ``completion_tokens``.

    Attributes:
        language: ``"fr"``, ``"de"`` or ``"es"``.
        prompt_tokens: Room for the prompt.
        completion_tokens: The allowance.
        tokenizer: The tokenizer; the shipped one spells what is not English in bytes.
        reward: The reward.
        splits: The names of the splits.
    """

    language: str = "fr"
    prompt_tokens: int = 56
    completion_tokens: int = 64
    tokenizer: str = "reviews-4096"
    reward: str = "textgym.tasks.scoring:unigram_f1"
    splits: tuple[str, ...] = SPLITS

    def __post_init__(self) -> None:
        """Checks the language.

        Raises:
            ValueError: If it is unknown; the message lists the known ones.
        """
        if self.language not in LANGUAGES:
            raise ValueError(
                f"unknown language {self.language!r} of Translation; known: {', '.join(LANGUAGES)}"
            )

    @property
    def name(self) -> str:
        """``TranslationFrench`` and so on."""
        return f"Translation{LANGUAGES[self.language]}"

    def examples(self, split: str) -> Sequence[Example]:
        """Returns the examples of one split.

        Raises:
            ValueError: If ``split`` is unknown; the message lists the known ones.
            ModuleNotFoundError: If the language's pack is missing; the message says how to get it.
        """
        check_split(self, split)
        return _examples(self.language)[split]


@functools.cache
def _examples(language: str) -> Mapping[str, tuple[Example, ...]]:
    return spread(
        (
            Example(
                prompt=f"English: {pair.english}\n{LANGUAGES[language]}:",
                columns={
                    "reference": f" {pair.translation}",
                    "source": pair.english,
                    "language": language,
                },
            )
            for pair in load_phrases(language)
        ),
        # By the English alone, so that no split of one language holds a test phrase of another.
        key=lambda example: key_of(example.columns["source"]),
    )
