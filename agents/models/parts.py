"""A policy's folder of which each of several processes writes the part of the weights that it has.

Such a folder is what ``TransformerPolicy.save_pretrained`` writes, but that in each model's place
of ``model.safetensors`` there is a folder of parts, see ``textgym.pretrained.part_files``. All that
reads a policy here reads it; ``textgym export`` makes of it one that transformers opens. Heads are
small, and whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from safetensors.torch import save_file

from agents.models.loading import describe_model
from agents.models.policy import CRITIC_FOLDER
from agents.models.sharding import whole_weights
from textgym.pretrained.part_files import PARTS, PartFiles, write_parts

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor
    from transformers import PreTrainedModel

    from agents.models.policy import TransformerPolicy
    from textgym.types import Tokenizer

__all__ = ["parts_in", "save_in_parts"]


def save_in_parts(
    policy: TransformerPolicy, folder: Path, tokenizer: Tokenizer | None, *, is_main: bool
) -> None:
    """Writes a policy whose weights are cut; to be called in all processes.

    Args:
        policy: Without adapters.
        folder: Made if it is missing; the same in all processes, which have to see it.
        tokenizer: Written as well.
        is_main: Whether this process writes what is not cut.

    Raises:
        OSError: If a process cannot write; in all.
    """
    _save_model(policy.model, folder, tokenizer, is_main=is_main)
    if policy.critic is not None:
        _save_model(policy.critic, folder / CRITIC_FOLDER, None, is_main=is_main)
    for file, head in policy.heads.items():
        state = whole_weights(head, keep=is_main)
        if is_main:
            save_file({name: value.contiguous() for name, value in state.items()}, folder / file)


def parts_in(folder: Path) -> dict[str, PartFiles]:
    """The parts of a policy's weights, by how their names begin in the policy.

    Args:
        folder: Of a policy.

    Returns:
        Nothing, if its weights are whole.

    Raises:
        OSError: If a file cannot be read.
        ValueError: If one is missing.
    """
    places = {"model.": folder / PARTS, "critic.": folder / CRITIC_FOLDER / PARTS}
    return {prefix: PartFiles(place) for prefix, place in places.items() if place.is_dir()}


def _save_model(
    model: PreTrainedModel, folder: Path, tokenizer: Tokenizer | None, *, is_main: bool
) -> None:
    """Writes one model, its weights by their names in its state; tied ones once."""
    if is_main:
        describe_model(model, folder, tokenizer)
    weights: dict[str, Tensor] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if not any(tensor is other for other in weights.values()):
            weights[name] = tensor
    write_parts({name: tensor.detach() for name, tensor in weights.items()}, folder / PARTS)
