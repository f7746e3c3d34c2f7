"""Trains an LSTM scorer on labelled texts: binary cross-entropy, and accuracy as its measure.

The labels are what people thought of whole texts, 1 or 0, or a share of votes between. Comparisons
of two texts are ``training.py``'s.

Simplification: the texts are labelled as they stand; none is cut into windows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F

from reward_models.learning.label_trainer import FitConfig, fit
from reward_models.models.lstm import LSTMScorer, LSTMScorerConfig
from reward_models.reading.scoring import PreferenceReward, encode_rows
from textgym.ranges import COUNT, Range, require_ranges
from textgym.tokenizers import train_tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from textgym.types import RewardFunction, Tokenizer

__all__ = ["LSTMTrainingConfig", "accuracy", "fit_lstm"]

_SIZES = ("vocab_size", "embedding_size", "hidden_size", "layers", "max_tokens")
_RANGES = {**dict.fromkeys(_SIZES, COUNT), "dropout": Range(0, 1, below=True)}


@dataclass(frozen=True, slots=True, kw_only=True)
class LSTMTrainingConfig:
    """What an LSTM scorer is and how it is trained. The defaults suit whole reviews of films."""

    vocab_size: int = 4096
    """Ids of the tokenizer, where none is given. More makes texts shorter and words rarer."""
    embedding_size: int = 64
    """Width of an id's embedding. More holds finer differences between words, and fits faster."""
    hidden_size: int = 128
    """Width of the state. More remembers more; time grows with its square."""
    layers: int = 1
    """LSTMs on top of each other. More is slower, and seldom better on few texts."""
    dropout: float = 0.5
    """Share that is dropped in training. More keeps the model from learning texts by heart."""
    pooling: Literal["last", "mean"] = "mean"
    """What the unit reads. ``last`` is the textbook's, and learns long texts late or never."""
    max_tokens: int = 256
    """Most tokens that are read; of a longer text the last ones. More is slower."""
    output: Literal["probability", "score"] = "probability"
    """What a score is: the sigmoid's value, or what comes before it."""
    fit: FitConfig = field(default_factory=FitConfig)
    """The training itself."""

    def __post_init__(self) -> None:
        """Checks the numbers.

        Raises:
            ValueError: If one is out of range; the message names it.
        """
        require_ranges(self, _RANGES)


def fit_lstm(
    config: LSTMTrainingConfig,
    texts: Sequence[str],
    labels: Sequence[float],
    *,
    evaluation: tuple[Sequence[str], Sequence[float]] | None = None,
    tokenizer: Tokenizer | None = None,
    device: str = "cpu",
    progress: Callable[[int, int, dict[str, float]], None] | None = None,
) -> tuple[PreferenceReward, dict[str, float]]:
    """Trains an LSTM scorer.

    Args:
        config: What it is and how to train it.
        texts: The texts, ``(N,)``.
        labels: 1, 0, or a share of votes between them, ``(N,)``.
        evaluation: Texts that are not trained on, and their labels.
        tokenizer: The scorer's own; None trains one on ``texts``.
        device: ``cpu`` or ``cuda``.
        progress: Is told of the updates done, of how many there are, and of the figures.

    Returns:
        The reward, and ``steps``, ``loss``, ``accuracy`` on ``texts``, and with held-out texts
        ``evaluation_accuracy``.

    Raises:
        ValueError: If labels are missing, outside [0, 1], or all on one side.
    """
    _require_labels(texts, labels)
    if tokenizer is None:
        tokenizer = train_tokenizer(texts, config.vocab_size)
    model = LSTMScorer.from_seed(
        LSTMScorerConfig(
            vocab_size=tokenizer.vocab_size,
            embedding_size=config.embedding_size,
            hidden_size=config.hidden_size,
            layers=config.layers,
            dropout=config.dropout,
            pooling=config.pooling,
            max_tokens=config.max_tokens,
            output=config.output,
        ),
        config.fit.seed,
    )
    rows = encode_rows(tokenizer, texts, config.max_tokens)
    metrics = fit(
        model,
        list(zip(rows, map(float, labels), strict=True)),
        _cross_entropy,
        config.fit,
        pad_id=tokenizer.pad_id,
        device=device,
        progress=progress,
    )
    reward = PreferenceReward(model, tokenizer, device=device)
    threshold = 0.5 if config.output == "probability" else 0.0
    metrics["accuracy"] = accuracy(reward, texts, labels, threshold=threshold)
    if evaluation is not None:
        held_out = accuracy(reward, *evaluation, threshold=threshold)
        metrics["evaluation_accuracy"] = held_out
    return reward, metrics


def accuracy(
    reward: RewardFunction,
    texts: Sequence[str],
    labels: Sequence[float],
    *,
    threshold: float,
) -> float:
    """Returns the share of texts whose score is on the label's side, in [0, 1].

    A label of exactly one half has no side and is left out; NaN where all are.

    Args:
        reward: Scores whole texts, as completions of empty prompts.
        texts: The texts, ``(N,)``, at least one.
        labels: Their labels in [0, 1], ``(N,)``; the sides meet at one half.
        threshold: The score at which the sides meet.
    """
    scores = reward([""] * len(texts), texts)
    right = [
        (score > threshold) == (label > 1 / 2)
        for score, label in zip(scores, labels, strict=True)
        if label != 1 / 2
    ]
    return sum(right) / len(right) if right else math.nan


def _cross_entropy(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return F.binary_cross_entropy_with_logits(scores, labels)


def _require_labels(texts: Sequence[str], labels: Sequence[float]) -> None:
    if len(texts) != len(labels):
        raise ValueError(f"{len(texts)} texts came with {len(labels)} labels; give one a text")
    outside = [label for label in labels if not 0 <= label <= 1]
    if outside:
        raise ValueError(f"{outside[0]!r} is no label; labels are 1, 0, or a share between them")
    if len({label > 1 / 2 for label in labels}) < len((0, 1)):
        raise ValueError(
            f"the {len(labels)} labels are all on one side of one half: give texts of both kinds"
        )
