"""From a folder to the reward in it: its ``config.json`` says of which kind.

The kinds are loaded by name, so that one costs nothing to who uses another.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from reward_models.reading.caching import CachedReward
from reward_models.reading.readers import load_reader
from reward_models.reading.scoring import TOKENIZER_FILE, PreferenceReward
from textgym.pretrained.checkpoints import (
    CheckpointError,
    find_checkpoint,
    model_type,
    require_files,
)
from textgym.pretrained.models import open_own
from textgym.rewards import describe
from textgym.rewards.factories import load_attribute

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from transformers import PreTrainedModel

    from reward_models.reading.scoring import Reader
    from textgym.types import RewardFunction

__all__ = ["KINDS", "load_reward", "open_learned", "wholeness"]

KINDS: Mapping[str, str] = MappingProxyType(
    {
        "textgym-preference": "reward_models.models.transformer:load_preference_model",
        "textgym-lstm": "reward_models.models.lstm:load_lstm",
        "textgym-process": "reward_models.models.process:load_process",
        "textgym-ensemble": "reward_models.models.ensemble:load_ensemble",
    }
)
"""Who loads a folder, by the ``model_type`` in its ``config.json``."""

_ARCHITECTURES: Mapping[str, str] = MappingProxyType(
    {"ForSequenceClassification": "reward_models.models.classifier:load_classifier"}
)
"""Who loads a folder of any other type, by how the first of its ``architectures`` ends."""


@describe(reads=["prompt"], is_factory=True, is_shared=True)
def load_reward(
    path: str | Path,
    device: str = "cpu",
    batch_size: int = 64,
    cache_size: int = 0,
    **settings: Any,
) -> RewardFunction:
    """A reward model in a folder: trained on comparisons or labels, of steps, or an ensemble.

    Its name is ``model``, and the folder alone is short for it. What is in the folder says of which
    kind it is.

    Args:
        path: The folder, with ``config.json`` and what that kind has beside it.
        device: Where scores are computed, such as ``cpu`` or ``cuda``.
        batch_size: The most texts in one forward pass; no score depends on it.
        cache_size: How many scores are remembered, so that a text that comes again is not run
            again; 0 for none.
        **settings: What that kind takes besides, such as ``label`` of a classifier.

    Raises:
        FileNotFoundError: If the folder or one of its files is missing.
        ValueError: If a file is damaged, or of something that is no reward.
    """
    folder = Path(find_checkpoint(path))
    require_files(folder, "config.json", what="reward model")
    with wholeness(folder):
        location = _loader(folder)
    load = load_attribute("reward", str(folder), location)
    reward: RewardFunction = load(folder, device=device, batch_size=batch_size, **settings)
    if isinstance(reward, PreferenceReward):
        reward.origin = folder
    return CachedReward(reward, cache_size) if cache_size else reward


def open_learned(kind: type[PreTrainedModel], folder: Path) -> tuple[Any, Reader]:
    """Opens one of this package's models, and the tokenizer beside it.

    Args:
        kind: The model's class.
        folder: Where both are.

    Raises:
        FileNotFoundError: If a file is missing; the message names it.
        ValueError: If a file is damaged.
    """
    require_files(folder, "config.json", "model.safetensors", TOKENIZER_FILE, what="reward model")
    with wholeness(folder):
        model = open_own(kind, folder, what="reward model")
        return model, load_reader(folder / TOKENIZER_FILE)


@contextmanager
def wholeness(folder: str | Path) -> Iterator[None]:
    """Turns whatever a damaged file of a reward raises into one line that names the folder.

    Raises:
        ValueError: If the block raises what a damaged file does.
    """
    try:
        yield
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        told = error.reason if isinstance(error, CheckpointError) else str(error)
        raise ValueError(
            f"{folder} holds no whole reward model ({' '.join(told.split())}): train it again, or "
            "name another one"
        ) from error


def _loader(folder: Path) -> str:
    kind, architectures = model_type(folder)
    if kind is not None and kind in KINDS:
        return KINDS[kind]
    for ending, location in _ARCHITECTURES.items():
        if architectures and architectures[0].endswith(ending):
            return location
    raise ValueError(f"config.json is of a model of type {kind!r}")
