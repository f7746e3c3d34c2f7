"""One round of transformers' ``Trainer`` for models that are trained on labels.

Comparisons have ``training.py``. Here a row of ids has a label, or one a token, and the loss is the
caller's.

Simplifications: one process and one device; no checkpoints, so a run that is stopped starts anew.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import Trainer, TrainerCallback
from transformers.trainer_callback import PrinterCallback

from reward_models.reading.batching import pad_rows
from textgym.pretrained.training_arguments import training_arguments
from textgym.ranges import COUNT, NOT_NEGATIVE, POSITIVE, TRAINER_SEED, Range, require_ranges

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from transformers import TrainingArguments

__all__ = ["IGNORED", "FitConfig", "Labelled", "Progress", "fit"]

IGNORED = -100.0
"""The label of a token that nobody labelled."""

_RANGES = {
    **dict.fromkeys(("epochs", "batch_size", "logging_steps"), COUNT),
    **dict.fromkeys(("learning_rate", "max_grad_norm"), POSITIVE),
    "warmup": Range(0, 1, below=True),
    "weight_decay": NOT_NEGATIVE,
    "seed": TRAINER_SEED,
}

Labelled = tuple["Sequence[int]", "float | Sequence[float]"]
"""A row of ids, and its label or one label an id."""

Progress = "Callable[[int, int, dict[str, float]], None]"
"""Is told of the updates done, of how many there are, and of the loss and other figures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitConfig:
    """How a model is trained on labels. The defaults suit an LSTM on whole reviews."""

    learning_rate: float = 4e-3
    """Highest step size of AdamW; it falls to 0 along a line. Higher learns faster, or nothing."""
    epochs: int = 3
    """Passes over the texts. More fits them better, and past some number new ones worse."""
    batch_size: int = 32
    """Texts in one update. More makes updates smoother and fewer."""
    warmup: float = 0.05
    """Share of the updates in which the step size rises from 0. More is gentler to the start."""
    weight_decay: float = 0.01
    """AdamW's weight decay. More keeps weights smaller."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this norm. More lets single texts move the model further."""
    logging_steps: int = 20
    """Updates between two reports. More of them between makes reports smoother and rarer."""
    seed: int = 0
    """Decides the first weights, dropout and the order of the texts; more means nothing."""

    def __post_init__(self) -> None:
        """Checks the numbers.

        Raises:
            ValueError: If one is out of range; the message names it.
        """
        require_ranges(self, _RANGES)


def fit(
    model: torch.nn.Module,
    data: Sequence[Labelled],
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    config: FitConfig,
    *,
    pad_id: int,
    device: str = "cpu",
    progress: Callable[[int, int, dict[str, float]], None] | None = None,
) -> dict[str, float]:
    """Trains a model in place, on batches of like length.

    ``Trainer`` seeds the global generators of Python, numpy and torch with ``config.seed``.

    Args:
        model: Takes ``input_ids`` and ``attention_mask``, gives scores.
        data: Rows of ids with their labels; the labels are numbers, or all lists.
        loss: Takes scores and labels of a batch, ``(N,)`` or ``(N, L)`` float with ``IGNORED`` for
            padding, and gives a number.
        config: How to train.
        pad_id: Fills rows up.
        device: ``cpu`` or ``cuda``.
        progress: Is told of the updates done, of how many there are, and of the figures.

    Returns:
        ``steps`` and ``loss``, the mean over the whole training.

    Raises:
        ValueError: If there is nothing to learn from, or the device is unknown.
    """
    if not data:
        raise ValueError("there is nothing to learn from: give at least one labelled text")
    if device not in ("cpu", "cuda"):
        raise ValueError(f"device is {device!r}; training knows 'cpu' and 'cuda'")
    with tempfile.TemporaryDirectory() as folder:
        trainer = _LabelTrainer(
            model=model,
            args=_arguments(config, folder, device),
            train_dataset=[
                {"input_ids": list(ids), "labels": label, "length": len(ids)} for ids, label in data
            ],
            data_collator=_Collator(pad_id),
            callbacks=[] if progress is None else [_Report(progress)],
            loss=loss,
        )
        trainer.remove_callback(PrinterCallback)
        result = trainer.train()
    model.eval()
    return {"steps": float(result.global_step), "loss": float(result.training_loss)}


class _LabelTrainer(Trainer):
    def __init__(self, *, loss: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._loss = loss

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        *_unused: Any,
        **_also_unused: Any,
    ) -> torch.Tensor:
        """Returns the loss of the batch's scores."""
        scores = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
        loss: torch.Tensor = self._loss(scores, inputs["labels"])
        return loss


class _Report(TrainerCallback):
    def __init__(self, progress: Callable[[int, int, dict[str, float]], None]) -> None:
        self._progress = progress

    def on_log(
        self,
        args: Any,  # noqa: ARG002  transformers' signature
        state: Any,
        control: Any,  # noqa: ARG002  transformers' signature
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Passes figures on."""
        self._progress(state.global_step, state.max_steps, dict(logs or {}))


class _Collator:
    """Pads rows, and labels of tokens, on the right."""

    def __init__(self, pad_id: int) -> None:
        self._pad_id = pad_id

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        ids, mask = pad_rows([example["input_ids"] for example in examples], self._pad_id)
        labels = [example["labels"] for example in examples]
        if isinstance(labels[0], list):
            width = ids.shape[1]
            labels = [[*row, *[IGNORED] * (width - len(row))] for row in labels]
        return {"input_ids": ids, "attention_mask": mask, "labels": torch.tensor(labels).float()}


def _arguments(config: FitConfig, folder: str, device: str) -> TrainingArguments:
    return training_arguments(
        folder,
        device=device,
        batch_size=config.batch_size,
        seed=config.seed,
        learning_rate=config.learning_rate,
        num_train_epochs=config.epochs,
        warmup_steps=config.warmup,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        logging_steps=config.logging_steps,
        train_sampling_strategy="group_by_length",
        length_column_name="length",
        save_strategy="no",
    )
