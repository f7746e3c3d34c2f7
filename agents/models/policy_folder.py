"""The folder of a policy: a language model as transformers saves it, heads and critic beside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from agents.models.loading import load_saved, save_model

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

    from agents.models.policy import TransformerPolicy
    from textgym.types import Tokenizer

__all__ = ["heads_of", "load_heads", "load_models", "save_policy"]

_VALUE_FILE = "value_head.safetensors"
_EDIT_FILE = "edit_head.safetensors"
_CRITIC_FOLDER = "critic"


def heads_of(policy: TransformerPolicy) -> dict[str, nn.Module]:
    """What is put on a policy's models, by the names of the files that keep it."""
    heads: dict[str, nn.Module] = {_VALUE_FILE: policy.value_head}
    return heads if policy.edit_head is None else heads | {_EDIT_FILE: policy.edit_head}


def save_policy(
    policy: TransformerPolicy, folder: Path, tokenizer: Tokenizer | None = None
) -> None:
    """Writes the models, each whole or its adapters, and the heads.

    Args:
        policy: What to write.
        folder: Made if it is missing.
        tokenizer: Written as well.
    """
    save_model(policy.model, folder, tokenizer)
    if policy.critic is not None:
        save_model(policy.critic, folder / _CRITIC_FOLDER)
    for file, head in heads_of(policy).items():
        weights = {name: value.contiguous() for name, value in head.state_dict().items()}
        save_file(weights, folder / file)


def load_models(
    folder: str | Path,
    device: str,
    critic: str | Path | None = None,
    tokenizer: Tokenizer | None = None,
) -> tuple[PreTrainedModel, PreTrainedModel | None, bool]:
    """Loads what a policy is made of, and says whether an edit head was saved with it.

    Args:
        folder: What ``save_policy`` wrote, or a language model's.
        device: Where to put the models.
        critic: The folder of a critic's; ``None`` for that in ``folder``, if there is one.
        tokenizer: The environment's; needed for adapters alone.

    Raises:
        FileNotFoundError: If there is no model in ``folder``.
    """
    own_critic = Path(folder) / _CRITIC_FOLDER
    if critic is None and own_critic.is_dir():
        critic = own_critic
    return (
        load_saved(folder, device, tokenizer),
        None if critic is None else load_saved(critic, device, tokenizer),
        (Path(folder) / _EDIT_FILE).is_file(),
    )


def load_heads(policy: TransformerPolicy, folder: Path) -> None:
    """Takes over the heads that were saved in a folder, as far as there are any.

    Args:
        policy: Whose heads.
        folder: What ``save_policy`` wrote. A value head that read another trunk, the policy's or a
            critic's, than the one here does is left out.

    Raises:
        ValueError: If a file is damaged, or of a model of another width.
    """
    moved = (folder / _CRITIC_FOLDER).is_dir() != (policy.critic is not None)
    for file, head in heads_of(policy).items():
        if (folder / file).is_file() and not (moved and head is policy.value_head):
            try:
                head.load_state_dict(load_file(folder / file, device=str(policy.device)))
            except (SafetensorError, RuntimeError) as error:  # cut off, or another model's
                said = " ".join(str(error).split())
                raise ValueError(f"cannot read {folder / file}: {said}") from error
