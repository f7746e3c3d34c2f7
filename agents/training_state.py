"""What a resumed run needs to go on as if it had never stopped, in safetensors and JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file, save_file

from textgym.checkpoints import write_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch

    from agents.policy import TransformerPolicy

__all__ = ["load_training_state", "read_record", "save_training_state"]

_TENSORS, _RECORD = "state.safetensors", "state.json"


def save_training_state(
    folder: Path,
    *,
    policy: TransformerPolicy,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
    record: Mapping[str, Any],
) -> None:
    """Writes weights, moments, the sampler's generator and a record of plain values.

    Args:
        folder: Must exist. Use ``textgym.checkpoints.atomic_folder`` around it, and a kill during
            the save leaves the last good checkpoint.
        policy: Its weights.
        optimizer: Over the policy's parameters, in one group.
        generator: The sampler's.
        record: Anything JSON holds.
    """
    tensors = {f"policy.{name}": value for name, value in policy.state_dict().items()}
    for name, parameter in policy.named_parameters():
        for key, value in optimizer.state[parameter].items():
            tensors[f"optimizer.{name}.{key}"] = value
    tensors["generator"] = generator.get_state()
    # Tied weights share memory, which safetensors refuses to write twice.
    apart = {name: value.detach().clone().contiguous() for name, value in tensors.items()}
    save_file(apart, folder / _TENSORS)
    write_json(folder / _RECORD, dict(record))


def load_training_state(
    folder: Path,
    *,
    policy: TransformerPolicy,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
) -> dict[str, Any]:
    """Restores in place what ``save_training_state`` wrote.

    Returns:
        The record.
    """
    tensors = load_file(folder / _TENSORS, device=str(policy.device))

    def under(prefix: str) -> dict[str, torch.Tensor]:
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    policy.load_state_dict(under("policy."))
    for name, parameter in policy.named_parameters():
        moments = under(f"optimizer.{name}.")
        if moments:
            moments["step"] = moments["step"].cpu()  # Adam counts on the host
            optimizer.state[parameter] = moments
    generator.set_state(tensors["generator"].cpu())
    return read_record(folder)


def read_record(folder: Path) -> dict[str, Any]:
    """Reads the record alone, to see whether a checkpoint fits before anything is changed."""
    record: dict[str, Any] = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
    return record
