"""Language models with random weights, of a given kind and size, for a tokenizer's vocabulary.

Written in one line, so that JSON and a command line can hold it::

    scratch:gpt2?layers=4&width=256
    scratch:llama?layers=2&width=128&heads=4&kv_heads=2&seed=1

Simplification: four kinds of model; what else transformers has is made with its own classes.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, get_args
from urllib.parse import parse_qsl

import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from textgym.ranges import COUNT, SEED, Range, require_ranges

if TYPE_CHECKING:
    from textgym.types import Tokenizer

__all__ = ["SCRATCH_PREFIX", "ScratchConfig", "make_scratch_model"]

SCRATCH_PREFIX = "scratch:"
"""Begins the line that describes a model with random weights."""

Kind = Literal["gpt2", "llama", "qwen2", "qwen3"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScratchConfig:
    """The kind and size of a model with random weights."""

    kind: Kind = "gpt2"
    """``gpt2`` learns positions, the others rotate; ``qwen2`` has biases, too, and ``qwen3``
    normalises queries and keys."""
    layers: int = 4
    """Transformer blocks; the time that a token takes grows with them."""
    width: int = 256
    """Size of the hidden states; a multiple of ``heads``. Time and memory grow with its square."""
    heads: int = 4
    """Attention heads; more of them are narrower."""
    kv_heads: int = 0
    """Heads that keep keys and values; fewer make the cache smaller. 0: as many as ``heads``."""
    inner: int = 0
    """Size between the two halves of a block's network. 0: four times ``width``."""
    positions: int = 512
    """The longest text that the model can read, in tokens."""
    seed: int = 0
    """Of the weights; another one, other weights."""

    def __post_init__(self) -> None:
        """Checks the numbers.

        Raises:
            ValueError: If there is no such model; the message names the field.
        """
        if self.kind not in get_args(Kind):
            raise ValueError(f"unknown kind {self.kind!r}; known: {', '.join(get_args(Kind))}")
        counts = dict.fromkeys(("layers", "width", "heads", "positions"), COUNT)
        others = dict.fromkeys(("kv_heads", "inner"), Range(0, COUNT.high))
        require_ranges(self, {**counts, **others, "seed": SEED})
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        if self.kind != "gpt2" and self.width // self.heads % 2:
            raise ValueError(
                f"{self.kind} turns pairs of numbers: width / heads must be even, and "
                f"{self.width} / {self.heads} is not"
            )
        if self.kv_heads and self.kind == "gpt2":
            raise ValueError(f"{self.kind} takes no kv_heads of {self.kv_heads}")
        if self.kv_heads and self.heads % self.kv_heads:
            raise ValueError(f"heads {self.heads} is not a multiple of kv_heads {self.kv_heads}")

    @classmethod
    def parse(cls, line: str) -> ScratchConfig:
        """Reads ``scratch:KIND?FIELD=NUMBER&...``; what is not given has its default.

        Raises:
            ValueError: If it cannot be read, or there is no such model.
        """
        kind, _, query = line.removeprefix(SCRATCH_PREFIX).partition("?")
        numbers = [field.name for field in fields(cls) if field.name != "kind"]
        given: dict[str, Any] = {}
        for name, value in parse_qsl(query, keep_blank_values=True):
            if name not in numbers:
                raise ValueError(f"unknown field {name!r} in {line!r}; known: {', '.join(numbers)}")
            if name in given:
                raise ValueError(f"{line!r} gives {name} twice")
            try:
                given[name] = int(value)
            except ValueError:
                raise ValueError(f"{name} in {line!r} is no whole number: {value!r}") from None
        return cls(kind=kind, **given)  # type: ignore[arg-type] # __post_init__ checks it

    def line(self) -> str:
        """Writes it as ``parse`` reads it, every field included."""
        numbers = [field.name for field in fields(self) if field.name != "kind"]
        query = "&".join(f"{name}={getattr(self, name)}" for name in numbers)
        return f"{SCRATCH_PREFIX}{self.kind}?{query}"


def make_scratch_model(
    config: ScratchConfig, tokenizer: Tokenizer, attention: str = "eager"
) -> PreTrainedModel:
    """Makes the model in float32 on the CPU, without dropout, its output layer its embedding.

    Args:
        config: Kind, size and seed; the global generator is left as it was.
        tokenizer: Gives the size of the vocabulary and the special ids.
        attention: transformers' name of how attention is computed.
    """
    shared: dict[str, Any] = {
        "vocab_size": tokenizer.vocab_size,
        "attn_implementation": attention,
        "bos_token_id": tokenizer.bos_id,
        "eos_token_id": tokenizer.eos_id,
        "pad_token_id": tokenizer.pad_id,
        "tie_word_embeddings": True,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        if config.kind == "gpt2":
            return GPT2LMHeadModel(GPT2Config(**shared, **_gpt2(config)))
        if config.kind == "llama":
            return LlamaForCausalLM(LlamaConfig(**shared, **_rotary(config)))
        if config.kind == "qwen2":
            return Qwen2ForCausalLM(Qwen2Config(**shared, **_rotary(config)))
        head_size = config.width // config.heads
        return Qwen3ForCausalLM(Qwen3Config(**shared, **_rotary(config), head_dim=head_size))


def _gpt2(config: ScratchConfig) -> dict[str, Any]:
    return {
        "n_layer": config.layers,
        "n_embd": config.width,
        "n_head": config.heads,
        "n_inner": config.inner or 4 * config.width,
        "n_positions": config.positions,
        "activation_function": "gelu_pytorch_tanh",
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
    }


def _rotary(config: ScratchConfig) -> dict[str, Any]:
    return {
        "num_hidden_layers": config.layers,
        "hidden_size": config.width,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads or config.heads,
        "intermediate_size": config.inner or 4 * config.width,
        "max_position_embeddings": config.positions,
    }
