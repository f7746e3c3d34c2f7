"""Rewards that compare with references as SQuAD's evaluation does: answers, not texts.

They read a column, ``reference`` unless another is named, of texts or of lists of texts, of which
the best one counts.

Simplification: the articles that do not count are English.
"""

from __future__ import annotations

import re
import string
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reward_models.metrics.columns import read_texts, require_texts
from textgym.rewards import describe
from textgym.tasks.scoring import word_f1

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["SquadExactMatch", "SquadF1"]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


@describe(reads=["reference"], low=0, high=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class SquadExactMatch:
    """1 if a completion is a reference as SQuAD compares answers, else 0.

    Case, punctuation, the articles a, an and the, and how many spaces there are do not count.
    ``textgym.tasks.scoring:exact_match`` forgives spaces alone.

    Reference:
        Rajpurkar et al., "SQuAD: 100,000+ Questions for Machine Comprehension of Text", 2016, and
        the normalisation of its official evaluation.

    Attributes:
        column: Where the references are.
    """

    column: str = "reference"

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns that it cannot do without."""
        return (self.column,)

    def __call__(
        self,
        prompts: Sequence[str],  # noqa: ARG002  a reward's signature
        completions: Sequence[str],
        **columns: Sequence[Any],
    ) -> list[float]:
        """Scores each completion, ``(N,)``, 0 or 1; any of several references will do."""
        require_texts(completions)
        return [
            float(_squad_words(text) in [_squad_words(wanted) for wanted in references])
            for text, references in zip(
                completions, read_texts(columns, self.column, len(completions)), strict=True
            )
        ]


@describe(reads=["reference"], low=0, high=1)
@dataclass(frozen=True, slots=True, kw_only=True)
class SquadF1:
    """The F1 of the words shared with a reference, as SQuAD compares answers.

    With ``c`` words in the completion, ``r`` in the reference and ``s`` in both, counted as often
    as in the one that has fewer, it is ``2 s / (c + r)``. Case, punctuation and articles do not
    count. Where one of the two has no words left, it is 1 if both have none, else 0.

    Reference:
        Rajpurkar et al., "SQuAD: 100,000+ Questions for Machine Comprehension of Text", 2016, and
        the normalisation of its official evaluation.

    Attributes:
        column: Where the references are.
    """

    column: str = "reference"

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns that it cannot do without."""
        return (self.column,)

    def __call__(
        self,
        prompts: Sequence[str],  # noqa: ARG002  a reward's signature
        completions: Sequence[str],
        **columns: Sequence[Any],
    ) -> list[float]:
        """Scores each completion, ``(N,)`` in [0, 1]; the best of several references counts."""
        require_texts(completions)
        return [
            max(word_f1(_squad_words(text), _squad_words(wanted)) for wanted in references)
            for text, references in zip(
                completions, read_texts(columns, self.column, len(completions)), strict=True
            )
        ]


def _squad_words(text: str) -> list[str]:
    """Lower case, then no punctuation, then no articles, in this order, as SQuAD's script does."""
    return _ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split()
