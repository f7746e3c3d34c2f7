"""What a resumed run needs to go on as if it had never stopped, in safetensors and JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file, save_file

from agents.policy import TransformerPolicy
from textgym.checkpoints import atomic_folder, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch

__all__ = [
    "POLICY_FOLDER",
    "REFERENCE_FOLDER",
    "load_training_state",
    "read_record",
    "save_training_state",
]

_TENSORS, _RECORD = "state.safetensors", "state.json"
POLICY_FOLDER, REFERENCE_FOLDER = "policy", "reference"
"""Where the models are in a checkpoint."""


def save_training_state(
    folder: Path,
    *,
    policy: TransformerPolicy,
    reference: TransformerPolicy | None,
    optimizer: torch.optim.Optimizer,
    generators: Mapping[str, torch.Generator],
    record: Mapping[str, Any],
) -> None:
    """Writes weights, moments, generators and a record of plain values, whole or not at all.

    Args:
        folder: Is replaced if it is there.
        policy: Its weights, as a folder that transformers loads.
        reference: Likewise, if there is one.
        optimizer: Over the policy's parameters, in one group.
        generators: By name.
        record: Anything JSON holds.
    """
    tensors = {f"generator.{name}": each.get_state() for name, each in generators.items()}
    tensors |= {f"policy.{n}": p.detach().clone() for n, p in _trained(policy).items()}
    for name, parameter in _trained(policy).items():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer.{name}.{key}"] = value.detach().clone().contiguous()
    with atomic_folder(folder) as temporary:
        policy.save_pretrained(temporary / POLICY_FOLDER)
        if reference is not None:
            reference.save_pretrained(temporary / REFERENCE_FOLDER)
        save_file(tensors, temporary / _TENSORS)
        write_json(temporary / _RECORD, dict(record))


def load_training_state(
    folder: Path,
    *,
    policy: TransformerPolicy,
    reference: TransformerPolicy | None,
    optimizer: torch.optim.Optimizer,
    generators: Mapping[str, torch.Generator],
) -> None:
    """Restores in place what ``save_training_state`` wrote.

    Raises:
        ValueError: If the checkpoint is one of another model; nothing has been changed then.
    """
    tensors = load_file(folder / _TENSORS, device=str(policy.device))

    def under(prefix: str) -> dict[str, torch.Tensor]:
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    trained, saved = _trained(policy), under("policy.")
    shapes, expected = (
        {(name, tuple(p.shape)) for name, p in each.items()} for each in (saved, trained)
    )
    if shapes != expected:
        differs = min(shapes ^ expected)[0]
        raise ValueError(f"checkpoint {folder} is one of another model: {differs} differs")
    if reference is not None:
        other = TransformerPolicy.from_pretrained(folder / REFERENCE_FOLDER, str(reference.device))
        reference.copy_weights(other)
    for name, parameter in trained.items():
        parameter.data.copy_(saved[name])
        moments = under(f"optimizer.{name}.")
        if moments:
            moments["step"] = moments["step"].cpu()  # Adam counts on the host
            optimizer.state[parameter] = moments
    for name, generator in generators.items():
        generator.set_state(tensors[f"generator.{name}"].cpu())


def _trained(policy: TransformerPolicy) -> dict[str, torch.nn.Parameter]:
    return {name: p for name, p in policy.named_parameters() if p.requires_grad}


def read_record(folder: Path) -> dict[str, Any]:
    """Reads the record alone, to see whether a checkpoint fits before anything is changed.

    Raises:
        FileNotFoundError: If there is no checkpoint.
    """
    path = folder / _RECORD
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint in {folder}: {_RECORD} is missing there")
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record
