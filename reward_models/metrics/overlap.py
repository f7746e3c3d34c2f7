"""Rewards that compare a completion with one or several references.

They read a column, ``reference`` unless another is named, of texts or of lists of texts. All scores
are in [0, 1]. Of several references the best one counts, but for BLEU, which takes them together.

Simplification: words are what the libraries take for words, which suits languages with spaces.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from reward_models.metrics.columns import read_texts, require_texts
from textgym.rewards import describe
from textgym.rewards.factories import missing_package

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Bleu", "Chrf", "Rouge"]

_ROUGE = re.compile(r"rouge([1-9]|L|Lsum)")
_MEASURES = ("fmeasure", "precision", "recall")


@describe(reads=["reference"], low=0, high=1, needs=["rouge_score"], extra="metrics")
@dataclass(frozen=True, slots=True, kw_only=True)
class Rouge:
    """How many n-grams, or how long a subsequence, are shared with a reference (ROUGE).

    Computed by ``rouge-score``, which follows the original script. An empty text scores 0.

    Reference:
        Lin, "ROUGE: A Package for Automatic Evaluation of Summaries", 2004.

    Attributes:
        variant: ``"rouge1"`` to ``"rouge9"`` count n-grams, ``"rougeL"`` takes the longest common
            subsequence, and ``"rougeLsum"`` that of each line.
        measure: ``"recall"`` asks how much of the reference is there, ``"precision"`` how much of
            the completion is in the reference, ``"fmeasure"`` for their harmonic mean.
        stem: Whether words are cut to their stems by Porter's rules before.
        column: Where the references are.
    """

    variant: str = "rougeL"
    measure: Literal["fmeasure", "precision", "recall"] = "fmeasure"
    stem: bool = False
    column: str = "reference"

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            ValueError: If one is unknown; the message lists the known.
            ModuleNotFoundError: If ``rouge-score`` is missing; the message says how to get it.
        """
        if not _ROUGE.fullmatch(self.variant):
            raise ValueError(
                f"unknown variant {self.variant!r}; known: rouge1 to rouge9, rougeL, rougeLsum"
            )
        if self.measure not in _MEASURES:
            raise ValueError(f"unknown measure {self.measure!r}; known: {', '.join(_MEASURES)}")
        _rouge_scorer(self.variant, self.stem)

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
        scorer = _rouge_scorer(self.variant, self.stem)
        return [
            max(
                float(getattr(scorer.score(wanted, text)[self.variant], self.measure))
                for wanted in references
            )
            for text, references in zip(
                completions, read_texts(columns, self.column, len(completions)), strict=True
            )
        ]


@describe(reads=["reference"], low=0, high=1, needs=["sacrebleu"], extra="metrics")
@dataclass(frozen=True, slots=True, kw_only=True)
class Bleu:
    """How many n-grams are found in the references, and not too short: BLEU of one sentence.

    Computed by ``sacrebleu``, over 100. A sentence has few long n-grams, so counts of 0 are
    smoothed, and of a completion with fewer than ``max_order`` words only the orders count that it
    has. It is no corpus BLEU, and the mean of it is none either.

    Reference:
        Papineni et al., "BLEU: a Method for Automatic Evaluation of Machine Translation", 2002;
        Post, "A Call for Clarity in Reporting BLEU Scores", 2018.

    Attributes:
        max_order: The longest n-gram that counts.
        smoothing: ``"exp"``, ``"floor"``, ``"add-k"`` or ``"none"``; see sacrebleu.
        lowercase: Whether case is ignored.
        tokenizer: sacrebleu's ``tokenize``; ``"13a"`` for most languages with spaces, ``"char"``
            for single characters, ``"none"`` for spaces alone.
        column: Where the references are.
    """

    max_order: int = 4
    smoothing: Literal["exp", "floor", "add-k", "none"] = "exp"
    lowercase: bool = False
    tokenizer: Literal["13a", "intl", "char", "none"] = "13a"
    column: str = "reference"

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            ValueError: If one is unknown; the message lists the known.
            ModuleNotFoundError: If ``sacrebleu`` is missing; the message says how to get it.
        """
        if self.max_order < 1:
            raise ValueError(f"max_order must be positive, got {self.max_order}")
        for name, known in (
            ("smoothing", ("exp", "floor", "add-k", "none")),
            ("tokenizer", ("13a", "intl", "char", "none")),
        ):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"unknown {name} {getattr(self, name)!r}; known: {', '.join(known)}"
                )
        self._scorer()

    def _scorer(self) -> Any:
        return _bleu_scorer(self.max_order, self.smoothing, self.lowercase, self.tokenizer)

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
        """Scores each completion against its references together, ``(N,)`` in [0, 1]."""
        require_texts(completions)
        references = read_texts(columns, self.column, len(completions))
        return _sentence_scores(self._scorer(), completions, references)


@describe(reads=["reference"], low=0, high=1, needs=["sacrebleu"], extra="metrics")
@dataclass(frozen=True, slots=True, kw_only=True)
class Chrf:
    """How many character n-grams are shared with a reference: chrF, or chrF++ with words.

    Computed by ``sacrebleu``, over 100. Spaces do not count. It needs no words, so it suits
    languages with many forms, and a text that is nearly right gets nearly everything.

    Reference:
        Popovic, "chrF: character n-gram F-score for automatic MT evaluation", 2015.

    Attributes:
        char_order: The longest run of characters that counts.
        word_order: The longest run of words that counts; 0 is chrF, 2 is chrF++.
        beta: How many times as important recall is as precision.
        lowercase: Whether case is ignored.
        column: Where the references are.
    """

    char_order: int = 6
    word_order: int = 0
    beta: int = 2
    lowercase: bool = False
    column: str = "reference"

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            ValueError: If one does not fit.
            ModuleNotFoundError: If ``sacrebleu`` is missing; the message says how to get it.
        """
        if self.char_order < 1 or self.word_order < 0 or self.beta < 1:
            raise ValueError(
                "char_order and beta must be positive and word_order must not be negative, got "
                f"{self.char_order}, {self.beta} and {self.word_order}"
            )
        self._scorer()

    def _scorer(self) -> Any:
        return _chrf_scorer(self.char_order, self.word_order, self.beta, self.lowercase)

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
        references = read_texts(columns, self.column, len(completions))
        return _sentence_scores(self._scorer(), completions, references)


def _sentence_scores(
    scorer: Any, completions: Sequence[str], references: Sequence[Sequence[str]]
) -> list[float]:
    """Scores between 0 and 1; rounding could make 100 a little more."""
    return [
        min(1.0, float(scorer.sentence_score(text, list(wanted)).score) / 100)
        for text, wanted in zip(completions, references, strict=True)
    ]


@functools.cache
def _rouge_scorer(variant: str, stem: bool) -> Any:
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ModuleNotFoundError as error:
        raise missing_package("reward", "rouge", error) from error
    return RougeScorer([variant], use_stemmer=stem)


@functools.cache
def _bleu_scorer(max_order: int, smoothing: str, lowercase: bool, tokenizer: str) -> Any:
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ModuleNotFoundError as error:
        raise missing_package("reward", "bleu", error) from error
    return BLEU(
        max_ngram_order=max_order,
        smooth_method=smoothing,
        lowercase=lowercase,
        tokenize=tokenizer,
        effective_order=True,
    )


@functools.cache
def _chrf_scorer(char_order: int, word_order: int, beta: int, lowercase: bool) -> Any:
    try:
        from sacrebleu.metrics.chrf import CHRF
    except ModuleNotFoundError as error:
        raise missing_package("reward", "chrf", error) from error
    return CHRF(char_order=char_order, word_order=word_order, beta=beta, lowercase=lowercase)
