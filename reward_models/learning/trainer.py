"""``Trainer`` of transformers for comparisons: its arguments, its loss, its report.

Simplification: one process and one device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers import Trainer, TrainingArguments

from reward_models.learning.objectives import correct_orders

if TYPE_CHECKING:
    from pathlib import Path

    from reward_models.learning.comparisons import Kind
    from reward_models.learning.objectives import Objective

__all__ = ["ComparisonTrainer", "training_arguments"]


class ComparisonTrainer(Trainer):
    """``Trainer`` with an objective; counts how many pairs of texts a batch orders rightly."""

    def __init__(self, *, kind: Kind, objective: Objective, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._kind = kind
        self._objective = objective
        self._ordered: list[torch.Tensor] = []

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        *_unused: Any,
        **_also_unused: Any,
    ) -> torch.Tensor:
        """Returns the mean loss of N comparisons; see ``Collator`` for the inputs."""
        flat = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
        item, place, numbers = inputs["item"], inputs["place"], inputs["numbers"]
        scores = flat.new_zeros(len(numbers), int(place.max()) + 1)
        scores = scores.index_put((item, place), flat)
        mask = torch.zeros_like(scores, dtype=torch.bool).index_put(
            (item, place), torch.ones_like(flat, dtype=torch.bool)
        )
        self._ordered.append(correct_orders(self._kind, scores.detach(), mask, numbers))
        return self._objective(scores, mask, numbers).mean()

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the accuracy since the last report to what is reported."""
        ordered = torch.cat(self._ordered) if self._ordered else torch.zeros(0)
        self._ordered.clear()
        if len(ordered):
            logs["accuracy"] = float(ordered.mean())
        super().log(logs, start_time)


def training_arguments(config: Any, folder: Path, device: str) -> TrainingArguments:
    """Says to ``Trainer`` what a ``RewardTrainingConfig`` says.

    Args:
        config: How to train.
        folder: Where checkpoints go.
        device: ``cpu`` or ``cuda``.
    """
    return TrainingArguments(
        output_dir=str(folder),
        learning_rate=config.learning_rate,
        num_train_epochs=config.epochs,
        per_device_train_batch_size=config.batch_size,
        warmup_steps=config.warmup,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        bf16=config.bf16,
        seed=config.seed,
        save_steps=config.save_steps,
        save_total_limit=1,
        logging_steps=config.logging_steps,
        use_cpu=device == "cpu",
        dataloader_pin_memory=device != "cpu",
        remove_unused_columns=False,
        disable_tqdm=True,
        report_to="none",
    )
