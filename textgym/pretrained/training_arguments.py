"""What every ``Trainer`` of transformers in these packages is told alike.

Simplification: one device a process. Several processes, each with a device of its own, are what a
launcher such as accelerate starts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import TrainingArguments

__all__ = ["training_arguments"]


def training_arguments(
    folder: str | Path, *, device: str, batch_size: int, seed: int, **settings: Any
) -> TrainingArguments:
    """Makes the arguments of a ``Trainer`` that prints and reports nothing by itself.

    Args:
        folder: Where checkpoints go.
        device: ``cpu`` or ``cuda``.
        batch_size: Examples in one update.
        seed: Of the global generators of Python, numpy and torch, and of the data's order.
        **settings: What ``transformers.TrainingArguments`` takes besides.
    """
    from transformers import TrainingArguments

    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=batch_size,
        seed=seed,
        use_cpu=device == "cpu",
        **{
            "dataloader_pin_memory": device != "cpu",
            "remove_unused_columns": False,
            "disable_tqdm": True,
            "report_to": "none",
            **settings,
        },
    )
    # Without a launcher, Trainer would copy the model to every GPU that it sees (nn.DataParallel)
    # and take so many times as many examples an update: another training, by the machine it is on.
    # The attribute is set where the devices are looked for, hence the look before it.
    arguments._n_gpu = min(arguments.n_gpu, 1)  # noqa: SLF001  transformers has no other way
    return arguments
