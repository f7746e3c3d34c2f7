"""One function that makes a language model, and the tokenizer that it acts with, from one line.

====================================  ============================================================
``runs/quickstart/language_model``    a folder: a model of transformers', or adapters on one
``smollm2``                           SmolLM2-135M-Instruct, see ``textgym.pretrained.smollm2``
``hub:owner/name``                    whatever transformers finds by that name
``scratch:gpt2?layers=4&width=256``   random weights, see ``agents.models.scratch``
====================================  ============================================================

Every model comes with as many ids as its tokenizer, without dropout, and in evaluation mode, which
is how a policy wants it. Weights are read from safetensors only.
"""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch.nn import ModuleList
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from agents.models.scratch import SCRATCH_PREFIX, ScratchConfig, make_scratch_model
from agents.models.tokenizer_fit import (
    fit_vocabulary,
    require_causal,
    require_width,
    use_special_ids,
    write_as_trained,
)
from textgym.files import write_json
from textgym.messages import did_you_mean, shown
from textgym.pretrained.adapters import (
    AdapterConfig,
    add_adapters,
    base_of,
    has_adapters,
    load_adapters,
    save_adapters,
)
from textgym.pretrained.checkpoints import HUB_PREFIX, cached_checkpoint
from textgym.pretrained.models import (
    PLAIN_ATTENTION,
    open_causal_model,
    open_config,
    without_bars,
    without_dropout,
)
from textgym.pretrained.smollm2 import SMOLLM2, smollm2_folder
from textgym.tokenizers import load_tokenizer, save_tokenizer
from textgym.types import Tokenizer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import PreTrainedModel

__all__ = [
    "cast_weights",
    "describe_model",
    "keep_lowest_layers",
    "load_model",
    "load_saved",
    "save_model",
    "tokenizer_of",
]

_MANNER = (
    "loading.json"  # in a model's folder: what transformers does not keep of how it was loaded
)
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_TOKENIZERS = ("tokenizer.model", "alphabet.json", "tokenizer.json")  # in a model's folder


def load_model(
    spec: str | Path,
    tokenizer: Tokenizer | str | Path | None = None,
    *,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype | None = None,
    lora: AdapterConfig | None = None,
    width: int | None = None,
    attention: str | None = None,
    trust_remote_code: bool = False,
) -> tuple[PreTrainedModel, Tokenizer]:
    """Makes a causal language model and its tokenizer.

    Args:
        spec: A folder, ``smollm2``, ``hub:NAME`` or ``scratch:...``, as above.
        tokenizer: What ``load_tokenizer`` takes, or a tokenizer: the environment's. ``None`` for
            the one that came with the model.
        device: Where to put it.
        dtype: Of the weights, by its name in torch; ``None`` for what it had when it was saved
            here, and else float32.
        lora: Adapters to put on it; the model itself is then frozen. Without, saved adapters are
            loaded where ``spec`` has some, and all else learns.
        width: The longest text that it must read: an environment's ``prompt_tokens`` and
            ``completion_tokens`` together.
        attention: transformers' name of how attention is computed; ``None`` for how it was when it
            was saved here, and else ``eager``, which at a few million weights is the fastest on a
            CPU; ``sdpa`` is on a GPU.
        trust_remote_code: Whether code that came with a model of the hub may be run.

    Returns:
        The model, and the tokenizer whose ids are its actions.

    Raises:
        FileNotFoundError: If there is no such folder, or no model in it.
        OSError: If transformers cannot find what ``hub:`` asks for.
        ValueError: If the model cannot be read, lacks weights, does not fit the tokenizer or the
            width, or is no decoder; or ``spec`` is something else.
        TypeError: If ``spec`` is no line and no path, or ``tokenizer`` no tokenizer.
        ModuleNotFoundError: If a package is missing; the message says how to get it.
    """
    if not isinstance(spec, str | Path):
        raise TypeError(f"a model is given by a folder's path or a line, got {shown(spec)}")
    base, adapters = _base_and_adapters(spec)
    precision, attention = _manner(Path(base) if adapters is None else adapters, dtype, attention)
    if lora is not None and adapters is not None:
        raise ValueError(f"{spec} has adapters already: leave lora out, or load {base}")
    if isinstance(tokenizer, str | Path):
        tokenizer = load_tokenizer(tokenizer)
    if tokenizer is not None and not isinstance(tokenizer, Tokenizer):
        raise TypeError(
            f"{shown(tokenizer)} is no tokenizer: give a name, a path, or envs.unwrapped.tokenizer"
        )
    with _attention_explained(attention):
        if base.startswith(SCRATCH_PREFIX):
            if tokenizer is None:
                raise ValueError(f"{spec} has no tokenizer of its own: give one")
            model = make_scratch_model(ScratchConfig.parse(base), tokenizer, attention)
        else:
            model, tokenizer = _pretrained(base, tokenizer, precision, attention, trust_remote_code)
    if width is not None:
        require_width(model, width, name=base)
    write_as_trained(model, tokenizer)
    model = cast("Any", model).to(device=device)
    cast_weights(model, precision)
    if adapters is not None:
        load_adapters(model, adapters)
    elif lora is not None:
        add_adapters(model, lora, base=base)
    return cast("Any", model).eval(), tokenizer


def cast_weights(module: torch.nn.Module, dtype: torch.dtype) -> None:
    """Casts parameters in place, and no buffers: rotary frequencies need all their digits."""
    for parameter in module.parameters():
        parameter.data = parameter.data.to(dtype)


def load_saved(
    folder: str | Path,
    device: str,
    tokenizer: Tokenizer | None = None,
    *,
    dtype: str | torch.dtype | None = None,
    attention: str | None = None,
) -> PreTrainedModel:
    """Loads a model as it was saved, whatever its tokenizer.

    Args:
        folder: What ``save_model`` wrote.
        device: Where to put it.
        tokenizer: The environment's; needed for adapters alone.
        dtype: As of ``load_model``.
        attention: As of ``load_model``.

    Raises:
        FileNotFoundError: If there is no model.
        ValueError: If its weights are damaged.
    """
    if base_of(Path(folder)) is not None:
        given: dict[str, Any] = {"dtype": dtype, "attention": attention}
        return load_model(folder, tokenizer, device=device, **given)[0]
    precision, attention = _manner(Path(folder), dtype, attention)
    with _attention_explained(attention):
        model: Any = open_causal_model(folder, dtype=precision, attention=attention)
    cast_weights(model, precision)
    return cast("PreTrainedModel", model.to(device))


def keep_lowest_layers(model: PreTrainedModel, layers: int | None) -> PreTrainedModel:
    """Takes the upper blocks off a decoder, in place, and returns it.

    Args:
        model: Of a family whose blocks are a list, as GPT-2's and Llama's are.
        layers: How many to keep, at least 1; ``None`` for all.

    Raises:
        ValueError: If the model has not so many, or keeps its blocks otherwise.
    """
    if layers is None:
        return model
    base: Any = model.base_model
    name = next((n for n in ("h", "layers") if isinstance(getattr(base, n, None), ModuleList)), "")
    blocks = getattr(base, name, ())
    if not 1 <= layers <= len(blocks):
        raise ValueError(
            f"cannot keep the lowest {layers} blocks of a model that has {len(blocks)} in a list: "
            "ask for some of them, or leave the number out"
        )
    setattr(base, name, blocks[:layers])
    model.config.num_hidden_layers = layers
    kinds = getattr(model.config, "layer_types", None)
    if kinds is not None:
        model.config.layer_types = kinds[:layers]
    return model


def save_model(
    model: PreTrainedModel,
    folder: Path,
    tokenizer: Tokenizer | None = None,
    *,
    weights: dict[str, torch.Tensor] | None = None,
) -> None:
    """Writes what ``load_model(folder)`` reads: the model, or its adapters and their base's name.

    To write a model with adapters as one without, save ``merge_adapters(model)``.

    Args:
        model: What ``load_model`` gave.
        folder: Made if it is missing.
        tokenizer: Written beside it, if it is one that can be.
        weights: What to write, by their names in its state; ``None`` for those that it has.
    """
    if has_adapters(model):
        save_adapters(model, folder, weights)
    else:
        with without_bars():
            model.save_pretrained(folder, state_dict=weights)
    _write_manner(model, folder, tokenizer)


def describe_model(model: PreTrainedModel, folder: Path, tokenizer: Tokenizer | None) -> None:
    """Writes what ``save_model`` writes of a model without adapters, but for its weights.

    Args:
        model: What ``load_model`` gave.
        folder: Made if it is missing.
        tokenizer: As there.
    """
    model.config.save_pretrained(folder)
    if model.generation_config is not None:
        model.generation_config.save_pretrained(folder)
    _write_manner(model, folder, tokenizer)


def _write_manner(model: PreTrainedModel, folder: Path, tokenizer: Tokenizer | None) -> None:
    """Writes how a model was loaded, and the tokenizer, if it is one that can be."""
    weight = cast("torch.nn.Embedding", model.get_input_embeddings()).weight  # no adapter's
    manner = {
        "dtype": str(weight.dtype).removeprefix("torch."),
        "attention": model.config._attn_implementation,  # noqa: SLF001 - transformers saves it nowhere
    }
    write_json(folder / _MANNER, manner)
    if tokenizer is not None:
        save_tokenizer(tokenizer, folder)


def _manner(
    folder: Path, dtype: str | torch.dtype | None, attention: str | None
) -> tuple[torch.dtype, str]:
    """How to load a model: as is said, or else as it was when it was saved.

    Raises:
        ValueError: If what was saved of it is damaged, or is no attention of torch's own: other
            names may stand for code that is fetched and run.
    """
    path = folder / _MANNER
    saved = {"dtype": "float32", "attention": "eager"}
    if path.is_file():
        try:
            saved = {**saved, **json.loads(path.read_text(encoding="utf-8"))}
        except (ValueError, TypeError) as error:
            raise ValueError(f"cannot read {path}: {error}") from error
    if attention is None and saved["attention"] not in PLAIN_ATTENTION:
        raise ValueError(
            f"{folder} was saved with attention {shown(saved['attention'])}, which torch does not "
            "compute by itself: give attention=, that or another"
        )
    return _dtype(saved["dtype"] if dtype is None else dtype), attention or saved["attention"]


@contextmanager
def _attention_explained(attention: str) -> Iterator[None]:
    """Says which attention there is not, or lacks a package here.

    Raises:
        ValueError: Instead of what transformers raises.
    """
    known = ("eager", *ALL_ATTENTION_FUNCTIONS.valid_keys())
    if attention not in known and "/" not in attention:  # which names one of a hub
        near = did_you_mean(attention, known)
        raise ValueError(f"there is no attention {attention!r}{near}; known: {', '.join(known)}")
    try:
        yield
    except ImportError as error:
        if attention in PLAIN_ATTENTION:
            raise
        said = " ".join(str(error).split())
        raise ValueError(f"attention {attention!r} cannot be computed here: {said}") from error


def tokenizer_of(spec: str | Path) -> str | None:
    """The tokenizer that came with a model, as ``load_tokenizer`` and environments take it.

    Args:
        spec: As of ``load_model``.

    Returns:
        Its name or folder; ``None`` if there is none, as with random weights.

    Raises:
        FileNotFoundError: If there is no such model.
    """
    base, adapters = _base_and_adapters(spec)
    if base.startswith(SCRATCH_PREFIX):
        return _tokenizer_in(adapters)
    if base.startswith(HUB_PREFIX) or base == SMOLLM2:
        return _tokenizer_in(adapters) or base
    return _tokenizer_in(adapters) or _tokenizer_in(Path(base))


def _tokenizer_in(folder: Path | None) -> str | None:
    if folder is None or not any((folder / name).is_file() for name in _TOKENIZERS):
        return None
    return str(folder)


def _base_and_adapters(spec: str | Path) -> tuple[str, Path | None]:
    """What the model itself is called, wherever it is called from, and where its adapters are."""
    line, folder = str(spec), Path(spec)
    if line.startswith(SCRATCH_PREFIX):
        return ScratchConfig.parse(line).line(), None  # with the defaults of today
    if line.startswith(HUB_PREFIX) or (line == SMOLLM2 and not folder.exists()):
        return line, None
    base = base_of(folder)
    if base is not None:
        return base, folder
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(
            f"no language model in {line}: config.json is missing there; {SMOLLM2}, "
            f"{SCRATCH_PREFIX}gpt2 and {HUB_PREFIX}NAME are models, too"
            + f"; the hub's is {HUB_PREFIX}{line}"
            * bool(_HUB_NAME.fullmatch(line))
        )
    return str(folder.resolve()), None


def _pretrained(
    base: str,
    tokenizer: Tokenizer | None,
    dtype: torch.dtype,
    attention: str,
    trust_remote_code: bool,
) -> tuple[PreTrainedModel, Tokenizer]:
    source = _source(base)
    own = _own_tokenizer(source, required=tokenizer is None)
    tokenizer = own if tokenizer is None else tokenizer
    if tokenizer is None:
        raise ValueError(f"there is no tokenizer in {base}: give the one that it was trained with")
    config = without_dropout(open_config(source, trust_remote_code=trust_remote_code))
    use_special_ids(config, tokenizer)
    model = open_causal_model(
        source,
        config=config,
        dtype=dtype,
        attention=attention,
        trust_remote_code=trust_remote_code,
    )
    require_causal(model, name=base)
    fit_vocabulary(model, tokenizer, own, name=base)
    return model, tokenizer


def _source(base: str) -> str:
    """Where the files of a model are that is neither adapters nor random weights."""
    if base == SMOLLM2:
        return str(smollm2_folder())
    if base.startswith(HUB_PREFIX) or Path(base).is_dir():
        return base
    # Adapters of peft may name their base as the hub does.
    return str(cached_checkpoint(base, remedy="fetch it where there is a network"))


def _own_tokenizer(source: str, *, required: bool) -> Tokenizer | None:
    """The tokenizer that came with a model; ``None`` if there is none, or none that would do."""
    try:
        if source.startswith(HUB_PREFIX):
            return load_tokenizer(source)
        return None if _tokenizer_in(Path(source)) is None else load_tokenizer(source)
    except (OSError, ValueError):
        if required:
            raise
        return None


def _dtype(dtype: str | torch.dtype) -> torch.dtype:
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise ValueError(f"dtype is {dtype!r}; known: float32, bfloat16, float16, float64")
    return found
