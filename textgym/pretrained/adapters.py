"""Low-rank adapters on a frozen language model, by peft: LoRA (Hu et al. 2021).

The model stays what it was, a causal language model of transformers, with small trained matrices
beside its own. Without them it is the base again, so a reference policy needs no second copy.

transformers' own methods for adapters refuse the current peft by its version number, so peft's
functions are called here. Simplifications: one adapter a model; no dropout inside it.
"""

from __future__ import annotations

import copy
import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from textgym.pretrained.checkpoints import readable, require_files
from textgym.ranges import COUNT, POSITIVE, SEED, require_ranges

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import Tensor, nn
    from transformers import PreTrainedModel

__all__ = [
    "AdapterConfig",
    "adapters_off",
    "add_adapters",
    "base_of",
    "has_adapters",
    "load_adapters",
    "merge_adapters",
    "save_adapters",
]

_SETTINGS, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."  # before every name in peft's files


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterConfig:
    """What is added to a language model instead of changing its weights."""

    rank: int = 16
    """Rank of the matrices. More of it can learn more, and costs memory and time in proportion."""
    alpha: float = 32.0
    """``alpha / rank`` multiplies what they add. More acts like a higher learning rate."""
    targets: tuple[str, ...] = ()
    """The layers that get one, by the ends of their names, as ``q_proj``. More layers can learn
    more and cost more. None named: all that multiply by a matrix, the output layer excepted."""
    seed: int = 0
    """Of the first weights. The second matrix starts at 0, so the model starts as its base."""

    def __post_init__(self) -> None:
        """Checks the numbers.

        Raises:
            ValueError: If one is out of range; the message names it.
        """
        require_ranges(self, {"rank": COUNT, "alpha": POSITIVE, "seed": SEED})


def add_adapters(model: PreTrainedModel, config: AdapterConfig, *, base: str) -> None:
    """Freezes a model and puts fresh adapters into it, in place; its outputs stay as they are.

    The adapters are float32 whatever the model is, since steps on them are small.

    Args:
        model: A causal language model without adapters.
        config: Their size.
        base: What ``load_model`` takes to make ``model`` again.

    Raises:
        ValueError: If the model has adapters, none of its layers is meant, or its output layer is.
        ModuleNotFoundError: If peft is missing; the message says how to get it.
    """
    peft = _peft()
    from transformers.pytorch_utils import Conv1D

    if has_adapters(model):
        raise ValueError("the model has adapters already; merge_adapters makes one without")
    settings = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        target_modules=[*config.targets] or "all-linear",
        fan_in_fan_out=any(isinstance(part, Conv1D) for part in model.modules()),
        task_type="CAUSAL_LM",
        base_model_name_or_path=base,
    )
    _inject(model, settings, config.seed)


def has_adapters(model: nn.Module) -> bool:
    """Says whether a model has adapters, switched on or off."""
    return bool(getattr(model, "peft_config", None))


@contextmanager
def adapters_off(model: nn.Module) -> Iterator[None]:
    """Makes a model its base for the length of a ``with`` block, then restores it.

    A model without adapters stays as it is. Not for several threads at once.

    Args:
        model: The model, or a module that contains it.
    """
    layers = _layers(model)
    learns = [(p, p.requires_grad) for layer in layers for p in layer.parameters()]
    were_off = [layer.disable_adapters for layer in layers]
    try:
        for layer in layers:
            layer.enable_adapters(enabled=False)
        yield
    finally:
        for layer, was_off in zip(layers, were_off, strict=True):
            layer.enable_adapters(enabled=not was_off)
        for parameter, requires_grad in learns:
            parameter.requires_grad_(requires_grad)


def save_adapters(
    model: PreTrainedModel, folder: Path, weights: dict[str, Tensor] | None = None
) -> None:
    """Writes the adapters and what their base is called, in peft's format.

    Args:
        model: A model with adapters.
        folder: Made if it is missing.
        weights: The state to write them of; ``None`` for the model's own.
    """
    peft = _peft()
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    # Otherwise peft asks the hub whether the vocabulary has been resized.
    kept = peft.get_peft_model_state_dict(model, weights, save_embedding_layers=False)
    save_file(
        {f"{_PREFIX}{name}": value.detach().contiguous() for name, value in kept.items()},
        folder / _WEIGHTS,
        metadata={"format": "pt"},
    )
    _settings(model).save_pretrained(str(folder))


def base_of(folder: Path) -> str | None:
    """Returns what the base of saved adapters is called; ``None`` if ``folder`` has none.

    Raises:
        ValueError: If the file that says so is damaged.
    """
    path = folder / _SETTINGS
    if not path.is_file():
        return None
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["base_model_name_or_path"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"cannot read the adapters' base in {path}: {error}") from error


def load_adapters(model: PreTrainedModel, folder: Path) -> None:
    """Freezes a model and puts saved adapters into it, in place, ready to be trained on.

    Args:
        model: Their base, without adapters.
        folder: What ``save_adapters`` wrote, or peft for LoRA.

    Raises:
        FileNotFoundError: If one of their files is missing; nothing is looked for elsewhere.
        ValueError: If they are no LoRA, damaged, or do not fit the model.
        ModuleNotFoundError: If peft is missing; the message says how to get it.
    """
    peft = _peft()
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    require_files(folder, _SETTINGS, _WEIGHTS, what="set of adapters")
    with readable(folder, "set of adapters"):
        settings = peft.PeftConfig.from_pretrained(str(folder))
    if settings.peft_type != peft.PeftType.LORA:
        raise ValueError(f"the adapters in {folder} are {settings.peft_type}, not LoRA")
    settings.inference_mode = False
    try:
        weights = load_file(folder / _WEIGHTS, device=str(model.device))
    except SafetensorError as error:  # it is cut off
        raise ValueError(f"cannot read {folder / _WEIGHTS}: {error}") from error
    with readable(folder, "set of adapters"):
        _inject(model, settings, seed=0)
    expected = set(peft.get_peft_model_state_dict(model, save_embedding_layers=False))
    named = {name.removeprefix(_PREFIX): value for name, value in weights.items()}
    if named.keys() != expected:
        odd = sorted(named.keys() ^ expected)[0]
        raise ValueError(f"the adapters in {folder} do not fit the model: one side lacks {odd}")
    try:
        peft.set_peft_model_state_dict(model, named)
    except RuntimeError as error:
        raise ValueError(
            f"the adapters in {folder} do not fit the model: {' '.join(str(error).split())[:200]}"
        ) from error


def merge_adapters(model: PreTrainedModel) -> PreTrainedModel:
    """Makes the model without adapters that computes the same, to be saved or read from.

    The model that is given stays as it is. What has no adapter shares its weights with it.

    Raises:
        ValueError: If a merged weight is not finite.
    """
    import torch

    shared: dict[int, Any] = {id(t): t for t in (*model.parameters(), *model.buffers())}
    merged = copy.deepcopy(model, shared)
    adapted = {id(layer) for layer in _layers(merged)}
    with torch.no_grad():
        for parent in list(merged.modules()):
            for name, child in list(parent.named_children()):
                if id(child) in adapted:
                    setattr(parent, name, _merged(child))
    if has_adapters(merged):
        del merged.peft_config
        merged._hf_peft_config_loaded = False  # noqa: SLF001 - transformers' own mark, see _inject
    return merged


def _merged(layer: Any) -> nn.Module:
    """The layer that is left when its adapter is added to a copy of its weights."""
    from torch import nn

    plain: Any = layer.get_base_layer()
    plain.weight = nn.Parameter(plain.weight.clone(), requires_grad=False)
    layer.merge(safe_merge=True)
    whole: nn.Module = plain
    return whole


def _inject(model: PreTrainedModel, settings: Any, seed: int) -> None:
    import torch

    head = model.get_output_embeddings()  # type: ignore[no-untyped-call] # transformers' is
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _peft().inject_adapter_in_model(settings, model)
    if model.get_output_embeddings() is not head:  # type: ignore[no-untyped-call] # transformers' is
        raise ValueError("adapters on the output layer are not supported; name other targets")
    # With this mark, as add_adapter leaves it, save_pretrained does not take the adapters for
    # weights of the model's own.
    model._hf_peft_config_loaded = True  # noqa: SLF001 - transformers has no other way to say it
    for layer in _layers(model):
        for name, parameter in layer.named_parameters():
            if "lora_" in name:
                parameter.data = parameter.data.float()


def _settings(model: PreTrainedModel) -> Any:
    return cast("Any", model.peft_config)["default"]


def _layers(module: nn.Module) -> list[Any]:
    """The layers that have an adapter; a module without any needs no peft."""
    if not any(has_adapters(part) for part in module.modules()):
        return []
    from peft.tuners.tuners_utils import BaseTunerLayer

    return [part for part in module.modules() if isinstance(part, BaseTunerLayer)]


def _peft() -> Any:
    try:
        import peft
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'adapters need the package peft, which is not installed; run: pip install "peft>=0.20"',
            name="peft",
        ) from error
    return peft
