"""Other people's models and tokenizers, read in one safe way.

Weights are read from safetensors alone, every one of them must be there, and code that lies beside
them is not run unless the caller says so. What is wrong with the files is one line that names them.

A source is a folder, of which nothing is looked for elsewhere, or ``hub:NAME``.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textgym.pretrained.checkpoints import (
    CheckpointError,
    readable,
    require_all_weights,
    require_files,
    require_own_weights,
    require_safetensors,
    split_source,
)
from textgym.pretrained.part_files import PARTS, PartFiles

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import torch
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

__all__ = [
    "PLAIN_ATTENTION",
    "make_trunk",
    "open_causal_model",
    "open_classifier",
    "open_config",
    "open_own",
    "open_tokenizer",
    "open_trunk",
    "room",
    "without_bars",
    "without_dropout",
]

_CAUSAL = "language model"
PLAIN_ATTENTION = ("eager", "sdpa")
"""What transformers computes with torch alone; other names may stand for code of the hub."""

_WHOLE, _BEGUN = 12, 5  # tokens of the two texts by which a trunk is tried
_ROUNDING = 1e-3  # of how much states vary


def open_tokenizer(source: str | Path) -> PreTrainedTokenizerBase:
    """Opens a tokenizer as transformers knows it; code that lies beside it is not run.

    Args:
        source: A folder, or ``hub:NAME``.

    Raises:
        OSError: If ``hub:NAME`` cannot be had; the message says where transformers looked.
        CheckpointError: If there is none, it is damaged, or it needs code of its own.
    """
    from transformers import AutoTokenizer

    name, local = split_source(source)
    with readable(source, "tokenizer"):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            name, local_files_only=local, trust_remote_code=False
        )
    return tokenizer


def open_config(
    source: str | Path, *, what: str = _CAUSAL, trust_remote_code: bool = False
) -> PretrainedConfig:
    """Reads a model's configuration.

    Args:
        source: A folder, or ``hub:NAME``.
        what: What a message calls the model.
        trust_remote_code: Run the code that lies beside it. It can do all that you can.

    Raises:
        FileNotFoundError: If the folder, or ``config.json`` in it, is missing.
        OSError: If ``hub:NAME`` cannot be had.
        CheckpointError: If it is damaged, or needs code that is not to be run.
    """
    from transformers import AutoConfig

    name, local = split_source(source)
    if local:
        require_files(Path(name), "config.json", what=what)
    with readable(source, what, code=trust_remote_code):
        config: PretrainedConfig = AutoConfig.from_pretrained(
            name, local_files_only=local, trust_remote_code=trust_remote_code
        )
    if getattr(config, "_attn_implementation", None) not in {None, *PLAIN_ATTENTION}:
        # A file may name code on the hub there.
        config._attn_implementation = None  # noqa: SLF001 - transformers has no other way to say it
    return config


def open_causal_model(
    source: str | Path,
    *,
    dtype: torch.dtype,
    config: PretrainedConfig | None = None,
    attention: str | None = None,
    trust_remote_code: bool = False,
) -> PreTrainedModel:
    """Opens a causal language model, in evaluation mode and on the CPU.

    Args:
        source: A folder, whose weights may be in parts, see ``part_files``; or ``hub:NAME``.
        dtype: Of its weights.
        config: What ``open_config`` gave, changed as the caller likes; ``None`` for as it is.
        attention: transformers' name of how attention is computed; ``None`` leaves it as it is.
        trust_remote_code: Run the code that lies beside the weights. It can do all that you can.

    Raises:
        FileNotFoundError: If there are no such folder, configuration or weights.
        OSError: If ``hub:NAME`` cannot be had.
        CheckpointError: If a file is damaged or of another kind of model, weights are missing or
            none of safetensors, or the model needs code that is not to be run.
    """
    from transformers import AutoModelForCausalLM

    code = trust_remote_code
    if config is None:
        config = open_config(source, trust_remote_code=code)
    chosen: dict[str, Any] = {} if attention is None else {"attn_implementation": attention}
    chosen |= {"dtype": dtype, "trust_remote_code": code}
    name, local = split_source(source)
    if local and (Path(name) / PARTS).is_dir():
        return _open_parts(AutoModelForCausalLM, Path(name), config, **chosen)
    return _open(AutoModelForCausalLM, source, config, what=_CAUSAL, **chosen)


def open_classifier(source: str | Path, *, trust_remote_code: bool = False) -> PreTrainedModel:
    """Opens a sequence classifier in float32 and with dropout off.

    Args:
        source: A folder, or ``hub:NAME``.
        trust_remote_code: Run the code that lies beside the weights. It can do all that you can.

    Raises:
        FileNotFoundError: As of ``open_causal_model``, and so the others.
        OSError: As above.
        CheckpointError: As above.
    """
    import torch
    from transformers import AutoModelForSequenceClassification

    code, what = trust_remote_code, "classifier"
    return _open(
        AutoModelForSequenceClassification,
        source,
        without_dropout(open_config(source, what=what, trust_remote_code=code)),
        what=what,
        trust_remote_code=code,
        dtype=torch.float32,
    )


def open_trunk(folder: str | Path) -> PreTrainedModel:
    """Opens an encoder or a decoder without its heads, in float32 and with dropout off.

    Raises:
        FileNotFoundError: If ``folder`` holds no model.
        CheckpointError: If it is damaged, an encoder with a decoder, weights are missing, or they
            are none of safetensors; if it reads no plain text, or reads the pads behind one.
    """
    import torch
    from transformers import AutoModel

    config = without_dropout(open_config(folder))
    if config.is_encoder_decoder:
        raise CheckpointError(
            _CAUSAL,
            folder,
            f"it is a model of type {config.model_type!r}, an encoder with a decoder; a reward "
            "model starts from one or the other",
        )
    trunk = _open(
        AutoModel,
        folder,
        config,
        what=_CAUSAL,
        # It is not used; one that a checkpoint lacks would be made up at random.
        optional=("pooler.",),
        attn_implementation="eager",
        dtype=torch.float32,
    )
    bare = _without_pooler(trunk)
    _require_own_states(bare, folder)
    return bare


def make_trunk(config: Mapping[str, Any]) -> PreTrainedModel:
    """Makes a trunk of random weights, into which saved ones are to be loaded.

    Args:
        config: What a trunk's configuration is as a dictionary, ``model_type`` included.

    Raises:
        ValueError: If transformers has no such model.
    """
    from transformers import AutoConfig, AutoModel

    # At a few million parameters on a CPU, eager attention trains a third faster than sdpa.
    trunk: PreTrainedModel = AutoModel.from_config(  # type: ignore[no-untyped-call] # untyped there
        AutoConfig.for_model(**config), attn_implementation="eager", trust_remote_code=False
    )
    return _without_pooler(trunk)


def open_own(kind: type[PreTrainedModel], folder: str | Path, *, what: str) -> PreTrainedModel:
    """Opens a model of a class of ours that transformers saved.

    Args:
        kind: The class.
        folder: What its ``save_pretrained`` wrote.
        what: What a message calls it.

    Raises:
        FileNotFoundError: If there are no such folder, configuration or weights.
        CheckpointError: If a file is damaged, or weights are missing or none of safetensors.
    """
    settings: Any = kind.config_class
    require_files(Path(folder), "config.json", what=what)
    with readable(folder, what):
        config = settings.from_pretrained(folder, local_files_only=True)
    return _open(kind, folder, config, what=what)


@contextmanager
def without_bars() -> Iterator[None]:
    """Keeps transformers' bars off the terminal, where ours may be, or a line an environment."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call] # untyped there
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call] # as above


def without_dropout(config: PretrainedConfig) -> PretrainedConfig:
    """Sets every dropout rate to 0, in place: two forward passes of one text must agree."""
    for name, value in list(vars(config).items()):
        is_rate = "dropout" in name or name.endswith(("pdrop", "layerdrop"))
        if is_rate and isinstance(value, int | float) and not isinstance(value, bool):
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


def _open(
    kind: Any,
    source: str | Path,
    config: PretrainedConfig,
    *,
    what: str,
    optional: tuple[str, ...] = (),
    trust_remote_code: bool = False,
    **options: Any,
) -> PreTrainedModel:
    """Opens a model by a class of transformers.

    Args:
        kind: The class.
        source: A folder, or ``hub:NAME``.
        config: The model's configuration.
        what: What a message calls the model.
        optional: How the names of weights begin that may be missing.
        trust_remote_code: As everywhere.
        **options: What ``from_pretrained`` takes besides.
    """
    require_safetensors(source, config, what=what)
    name, local = split_source(source)
    with without_bars(), readable(source, what, code=trust_remote_code):
        model, loading = kind.from_pretrained(
            name,
            config=config,
            local_files_only=local,
            use_safetensors=True,
            trust_remote_code=trust_remote_code,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, and named
            **options,
        )
    missing = {key for key in loading["missing_keys"] if not key.startswith(optional)}
    require_all_weights({**loading, "missing_keys": missing}, source, what=what)
    require_own_weights(model, source, config, what=what)
    whole: PreTrainedModel = model
    return whole


def _open_parts(
    kind: Any, folder: Path, config: PretrainedConfig, **options: Any
) -> PreTrainedModel:
    """Opens a language model of which each of several processes wrote its part of the weights.

    Args:
        kind: The class.
        folder: Where they are, in ``PARTS``, by their names in the model's state.
        config: The model's configuration.
        **options: What ``from_pretrained`` takes besides.
    """
    import torch
    from transformers import GenerationConfig

    with without_bars(), readable(folder, _CAUSAL):
        weights = PartFiles(folder / PARTS).whole()
        with torch.device("meta"):  # to see which class it is, without any numbers
            own = type(kind.from_config(config, trust_remote_code=options["trust_remote_code"]))
        model, loading = own.from_pretrained(
            None, config=config, state_dict=weights, output_loading_info=True, **options
        )
        if (folder / "generation_config.json").is_file():
            model.generation_config = GenerationConfig.from_pretrained(folder)
    require_all_weights(loading, folder, what=_CAUSAL)
    whole: PreTrainedModel = model
    return whole


def _without_pooler(trunk: PreTrainedModel) -> PreTrainedModel:
    """Takes off the layer that BERT's kin has behind its states; scores are made of the states."""
    import torch

    bert: Any = trunk
    if isinstance(getattr(bert, "pooler", None), torch.nn.Module):
        bert.pooler = None
    return trunk


def _require_own_states(trunk: PreTrainedModel, folder: str | Path) -> None:
    """Refuses a trunk for whose states of a text it matters what it is batched with.

    Raises:
        CheckpointError: If it is so, or it cannot read a batch of two texts at all.
    """
    import torch

    try:
        alone, padded = _read_twice(trunk)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        said = f"{type(trunk).__name__} cannot read plain texts of two lengths: {reason}"
        raise CheckpointError(_CAUSAL, folder, said) from error
    if not bool(torch.isfinite(alone).all()):
        raise CheckpointError(_CAUSAL, folder, "what it makes of a text are no finite numbers")
    width = getattr(trunk.config, "hidden_size", None)
    if alone.shape[-1] != width:
        said = (
            f"the states of {type(trunk).__name__} have {alone.shape[-1]} numbers, and not {width}"
        )
        raise CheckpointError(_CAUSAL, folder, f"{said}, its hidden_size")
    if bool((alone - padded).abs().max() > _ROUNDING * alone.std()):
        said = (
            f"{type(trunk).__name__} reads the pads of a batch, so no text has a score of its own"
        )
        raise CheckpointError(_CAUSAL, folder, said)


def _read_twice(trunk: PreTrainedModel) -> tuple[torch.Tensor, torch.Tensor]:
    """The states of a short text alone, and beside a longer one, ``(L, D)`` each."""
    import torch

    config: Any = trunk.config.get_text_config()
    pad = config.pad_token_id if isinstance(config.pad_token_id, int) else 0
    whole = min(_WHOLE, room(trunk) or _WHOLE)
    text = (torch.arange(whole) + pad + 1) % config.vocab_size
    begun = torch.where(torch.arange(whole) < _BEGUN, text, pad)
    mask = torch.stack([torch.ones_like(text), (torch.arange(whole) < _BEGUN).long()])
    cache = {"use_cache": False} if hasattr(trunk.config, "use_cache") else {}

    def states(ids: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            read: torch.Tensor = trunk(
                input_ids=ids, attention_mask=real, **cache
            ).last_hidden_state
        return read

    together = states(torch.stack([text, begun]), mask)[1, :_BEGUN]
    return states(text[None, :_BEGUN], mask[:1, :_BEGUN])[0], together
