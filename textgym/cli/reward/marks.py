"""From texts whose good and bad words people marked to a reward of every token, or every step.

Simplification: one round of training, which a stopped run begins anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from reward_models.learning.label_trainer import FitConfig
from reward_models.learning.stepwise import (
    ProcessTrainingConfig,
    examples_of_marks,
    fit_process,
    labelled_accuracy,
)
from reward_models.preferences import (
    Marked,
    PreferenceStore,
    Rating,
    divide,
    learned_from,
    mark_lines,
    read_marks,
)
from textgym.cli.console import bar, say
from textgym.cli.parsing import CommandError
from textgym.cli.reward.data import DIVISION, HELD_OUT_FILE, is_store, open_store
from textgym.cli.reward.starts import open_language_model
from textgym.data.tables import is_table, read_rows
from textgym.files import atomic_file, write_json
from textgym.statistics.proportions import share_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from reward_models.learning.settings import RewardTrainingConfig

__all__ = ["MarksConfig", "find_marks", "train_on_marks"]

_MOST_TOKENS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class MarksConfig:
    """What is learned from marked texts.

    Attributes:
        data: What the texts are of, for messages.
        out: The folder to write.
        model: What to start from: ``scratch``, or the folder of a language model.
        tokenizer: As of ``make_start``.
        held_out: The share of prompts, or of texts, that only measure.
        steps: Whether each token gets a score, or each line.
        device: Where to compute.
        training: The training itself.
    """

    data: str
    out: Path
    model: str
    tokenizer: str | None
    held_out: float
    steps: Literal["token", "line"]
    device: str
    training: RewardTrainingConfig


def find_marks(name: str, question: str | None) -> list[Marked]:
    """Reads marked texts, if that is what there is: none of a file or a store of other answers.

    Args:
        name: A file, or a store.
        question: What of a store is wanted; None what it holds, if it is marks alone.

    Raises:
        ValueError: If the file has spans that are none.
    """
    if is_store(name):
        if question not in (None, "spans"):
            return []
        with open_store(name) as store:
            return _of_store(store, only=question is None)
    if not is_table(name) or Path(name).suffix == "":
        return []
    values = read_rows(name)[0].values
    return read_marks(name) if {"completion", "spans"} <= set(values) else []


def train_on_marks(config: MarksConfig, marks: Sequence[Marked], console: Console) -> None:
    """Trains a process reward, saves it, and says how often it is right on held-out texts.

    Args:
        config: What to do.
        marks: The marked texts.
        console: Where to print.

    Raises:
        CommandError: If there is nothing to learn from, or the model cannot be used.
    """
    learned, held_out = _divided(marks, config.held_out)
    delimiter = "\n" if config.steps == "line" else None
    examples = examples_of_marks(learned, delimiter)
    if not examples:
        raise CommandError(f"{config.data} has no text with a mark to learn from; mark some first")
    training = config.training
    settings = ProcessTrainingConfig(
        delimiter=delimiter,
        reduction="min" if delimiter else "mean",
        max_tokens=training.max_length or _MOST_TOKENS,
        fit=FitConfig(
            learning_rate=training.learning_rate,
            epochs=training.epochs,
            batch_size=training.batch_size,
            warmup=training.warmup,
            weight_decay=training.weight_decay,
            max_grad_norm=training.max_grad_norm,
            logging_steps=training.logging_steps,
            seed=training.seed,
        ),
    )
    texts = [each.prompt + each.completion for each in learned]
    say(
        console,
        f"{len(examples):,} marked texts of {config.data} to learn from, {len(held_out):,} held "
        f"out; a score for every {config.steps}",
    )
    with (
        open_language_model(config.model, training, config.tokenizer, texts) as (folder, read),
        bar("Reward model", console) as shown,
    ):
        try:
            reward, metrics = fit_process(
                settings,
                examples,
                folder,
                read,
                device=config.device,
                progress=lambda done, most, _: shown.update(done, most),
            )
        except ValueError as error:
            raise CommandError(str(error)) from error
    said = "accuracy: unknown, since no marked text is held out; raise --held-out"
    right = labelled_accuracy(reward, settings, examples_of_marks(held_out, delimiter))
    flat = [each for row in right for each in row]
    if flat:
        texts_of = [number for number, row in enumerate(right) for _ in row]
        low, high = share_interval(flat, texts_of, np.random.default_rng(0))
        metrics |= {"evaluation_accuracy": sum(flat) / len(flat)}
        metrics |= {"evaluation_accuracy_low": low, "evaluation_accuracy_high": high}
        said = (
            f"accuracy: {metrics['evaluation_accuracy']:.3f} ({low:.3f} to {high:.3f}, 95 %) of "
            f"{len(flat)} labelled {config.steps}s of held-out texts"
        )
    reward.save(config.out)
    if flat:
        with atomic_file(config.out / HELD_OUT_FILE) as temporary:
            temporary.write_text(mark_lines(held_out), encoding="utf-8", newline="\n")
    write_json(config.out / "metrics.json", metrics)
    say(
        console,
        f"  {said}",
        f"  use it as a reward: reward={str(config.out)!r}; with dense=True each step is paid",
    )


def _of_store(store: PreferenceStore, *, only: bool) -> list[Marked]:
    """The marked texts of a store; none where only marks are wanted and it has other answers."""
    judgements = store.judgements()
    spans = {sheet.sheet_id for sheet in store.sheets("spans")}
    others = any(each.sheet_id not in spans for each in judgements) or store.answers()
    if only and others:
        return []
    marked = learned_from(store.sheets("spans"), store.judgements("spans"))
    return [item for _, item in marked if isinstance(item, Marked)]


def _divided(marks: Sequence[Marked], share: float) -> tuple[list[Marked], list[Marked]]:
    """Keeps the texts of some prompts apart, by the house's one way to divide."""
    numbered = [
        Rating(prompt=each.prompt, completion=each.completion, rating=float(number))
        for number, each in enumerate(marks)
    ]
    try:
        division = divide(numbered, (), share, DIVISION)
    except ValueError as error:
        raise CommandError(str(error)) from error
    sides = (division.learned, division.held_out)
    learned, held_out = ([marks[int(each.rating)] for each in side] for side in sides)
    return learned, held_out
