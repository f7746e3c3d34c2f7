"""Trains a scorer of tokens on labelled steps: binary cross-entropy where there is a label.

The examples are those of TRL's stepwise data: a prompt, the steps of a completion, and for each
whether it is right.

Texts whose good and bad spans people marked become such examples: their words without a mark have
no label.

Simplifications: as of ``label_trainer.py``; a step's label is learned at its last token alone; a
marked text is encoded span by span, so its tokens never reach over the end of one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F

from reward_models.learning.label_trainer import IGNORED, FitConfig, fit
from reward_models.models.process import ProcessReward, TokenScorer
from reward_models.models.steps import Reduction, lay_out, split_steps
from textgym.ranges import COUNT, require_ranges

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from reward_models.preferences.sheets import Marked
    from reward_models.reading.scoring import Reader
    from textgym.types import Tokenizer

__all__ = [
    "ProcessTrainingConfig",
    "StepwiseExample",
    "examples_of_marks",
    "fit_process",
    "labelled_accuracy",
    "token_cross_entropy",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepwiseExample:
    """A completion in steps.

    Attributes:
        prompt: What it answers.
        steps: Its steps, each with whatever ends it; without a delimiter, the whole completion, or
            pieces of it.
        labels: 1 for a right step, 0 for a wrong one, a share of votes between, or None where
            nobody said. One a step; without a delimiter, one a token, or one for each piece, which
            all of its tokens get.
    """

    prompt: str
    steps: tuple[str, ...]
    labels: tuple[float | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessTrainingConfig:
    """What a process reward is and how it is trained."""

    delimiter: str | None = "\n"
    """What ends a step; None labels and scores every token. A rarer one makes steps longer."""
    reduction: Reduction = "min"
    """How steps make the score: ``min`` for a chain that one wrong step breaks, ``sum`` for dense
    rewards that pay each step its own score, ``last`` or ``mean``."""
    output: Literal["probability", "score"] = "probability"
    """What a step's score is: the probability that it is right, or the score before the sigmoid."""
    max_tokens: int = 128
    """Most tokens that are read; of a longer text the last ones. More is slower."""
    fit: FitConfig = field(default_factory=lambda: FitConfig(learning_rate=5e-4))
    """The training itself."""

    def __post_init__(self) -> None:
        """Checks the numbers.

        Raises:
            ValueError: If one is out of range; the message names it.
        """
        require_ranges(self, {"max_tokens": COUNT})


def fit_process(
    config: ProcessTrainingConfig,
    examples: Sequence[StepwiseExample],
    language_model: str | Path,
    tokenizer: Tokenizer,
    *,
    device: str = "cpu",
    progress: Callable[[int, int, dict[str, float]], None] | None = None,
) -> tuple[ProcessReward, dict[str, float]]:
    """Trains a process reward.

    Args:
        config: What it is and how to train it.
        examples: The labelled completions.
        language_model: The folder of the model that it starts from.
        tokenizer: That model's tokenizer.
        device: ``cpu`` or ``cuda``.
        progress: Is told of the updates done, of how many there are, and of the figures.

    Returns:
        The reward, and ``steps``, ``loss`` and ``accuracy``: the share of labelled steps, as far as
        they are read, that are on their label's side of one half.

    Raises:
        ValueError: If labels do not fit their steps, or there are none.
    """
    model = TokenScorer.from_language_model(
        language_model,
        seed=config.fit.seed,
        max_tokens=config.max_tokens,
        delimiter=config.delimiter,
        reduction=config.reduction,
        output=config.output,
    )
    data = _encode(config, examples, tokenizer)
    metrics = fit(
        model,
        data,
        token_cross_entropy,
        config.fit,
        pad_id=tokenizer.pad_id,
        device=device,
        progress=progress,
    )
    reward = ProcessReward(model, tokenizer, device=device)
    metrics["accuracy"] = _accuracy(_judged(reward, data))
    return reward, metrics


def labelled_accuracy(
    reward: ProcessReward, config: ProcessTrainingConfig, examples: Sequence[StepwiseExample]
) -> list[list[float]]:
    """Says of each labelled step whether the reward is on its label's side of one half.

    Args:
        reward: The judge.
        config: How it was trained.
        examples: ``N`` labelled completions, such as held-out ones.

    Returns:
        ``N`` lists of 1 and 0, as far as steps are read and have a label other than one half.
    """
    return _judged(reward, _encode(config, examples, reward.tokenizer))


def examples_of_marks(marks: Sequence[Marked], delimiter: str | None) -> list[StepwiseExample]:
    """Turns good and bad spans into labels of tokens, or of steps.

    Args:
        marks: Marked texts.
        delimiter: What ends a step; None labels the tokens of each span.

    Returns:
        One a text that has a mark. Of steps, one with a bad character is wrong, another one with a
        good character right, and the others have no label.
    """
    make = _pieces if delimiter is None else _steps
    return [
        StepwiseExample(prompt=each.prompt, steps=steps, labels=labels)
        for each in marks
        if each.spans
        for steps, labels in [make(each, delimiter)]
    ]


def _pieces(marked: Marked, _: str | None) -> tuple[tuple[str, ...], tuple[float | None, ...]]:
    """A text cut at the ends of its spans, and what each piece is."""
    pieces: list[tuple[str, float | None]] = []
    before = 0
    for start, end, mark in marked.spans:
        pieces.append((marked.completion[before:start], None))
        pieces.append((marked.completion[start:end], float(mark == "good")))
        before = end
    pieces.append((marked.completion[before:], None))
    kept = [piece for piece in pieces if piece[0]]
    return tuple(text for text, _ in kept), tuple(label for _, label in kept)


def _steps(
    marked: Marked, delimiter: str | None
) -> tuple[tuple[str, ...], tuple[float | None, ...]]:
    """A text cut behind each delimiter, and what each step is."""
    steps, labels, at = split_steps(marked.completion, delimiter), list[float | None](), 0
    for step in steps:
        met = {m for start, end, m in marked.spans if start < at + len(step) and end > at}
        labels.append(0.0 if "bad" in met else 1.0 if met else None)
        at += len(step)
    return tuple(steps), tuple(labels)


def token_cross_entropy(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean binary cross-entropy over labelled tokens.

    Args:
        scores: Raw scores, ``(N, L)`` float.
        labels: Labels in [0, 1], or ``IGNORED``, ``(N, L)`` float.

    Returns:
        A number, in nats; 0 where no token has a label.
    """
    known = labels != IGNORED
    losses = F.binary_cross_entropy_with_logits(
        scores, labels.masked_fill(~known, 0.0), reduction="none"
    )
    return (losses * known).sum() / known.sum().clamp(min=1)


def _encode(
    config: ProcessTrainingConfig, examples: Sequence[StepwiseExample], tokenizer: Reader
) -> list[tuple[list[int], list[float]]]:
    """Rows of ids, and of labels of the same lengths."""
    every_token = config.delimiter is None
    for number, example in enumerate(examples):
        _require_steps(number, example, config.delimiter)
    rows, places = lay_out(
        tokenizer,
        [example.prompt for example in examples],
        [example.steps for example in examples],
        config.max_tokens,
        every_token=every_token,
    )
    data = []
    for number, (row, ends, example) in enumerate(zip(rows, places, examples, strict=True)):
        given = [IGNORED if label is None else label for label in example.labels]
        if every_token and len(given) == len(example.steps):
            pieces = tokenizer.encode_batch(list(example.steps))
            given = [one for one, ids in zip(given, pieces, strict=True) for _ in ids]
            given = given[len(given) - len(ends) :]
        if len(given) < len(ends) or (every_token and len(given) != len(ends)):
            raise ValueError(
                f"example {number} has {len(given)} labels for {len(ends)} tokens; give one a "
                "token of a text that is read whole, or one a piece"
            )
        labels = [IGNORED] * len(row)
        # Of a long text the first steps are cut off, and their labels with them.
        for end, label in zip(ends, given[len(given) - len(ends) :], strict=True):
            labels[end] = float(label)
        data.append((row, labels))
    return data


def _require_steps(number: int, example: StepwiseExample, delimiter: str | None) -> None:
    outside = [label for label in example.labels if label is not None and not 0 <= label <= 1]
    if outside:
        raise ValueError(f"example {number}: {outside[0]!r} is no label; labels are in [0, 1]")
    if delimiter is None:
        return
    if len(example.labels) != len(example.steps):
        raise ValueError(
            f"example {number} has {len(example.labels)} labels for {len(example.steps)} steps"
        )
    whole = "".join(example.steps)
    if split_steps(whole, delimiter) != list(example.steps):
        raise ValueError(
            f"example {number}: its steps, joined and cut behind each {delimiter!r}, are others; "
            "end each step but the last by the delimiter, and only there"
        )


def _judged(
    reward: ProcessReward, data: Sequence[tuple[list[int], list[float]]]
) -> list[list[float]]:
    threshold = 0.5 if reward.model.config.output == "probability" else 0.0
    rows = reward.token_rows([row for row, _ in data])
    return [
        [
            float((score > threshold) == (label > 1 / 2))
            for score, label in zip(scores, labels, strict=True)
            if label not in (IGNORED, 1 / 2)  # one half is on neither side
        ]
        for scores, (_, labels) in zip(rows, data, strict=True)
    ]


def _accuracy(right: Sequence[Sequence[float]]) -> float:
    flat = [each for row in right for each in row]
    return sum(flat) / len(flat) if flat else math.nan
