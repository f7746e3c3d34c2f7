"""GPT-2's, Llama's and Qwen2's trunks with little around them.

The weights are those of the transformers model, read through its own modules, so that adapters in
the place of a linear layer work. What is ours is attention over a cache of its own, the fused
activation and normalisation, and no more bookkeeping than that; the benchmark of rollouts times it
beside transformers' forward.

Sources: Radford et al. 2019 (GPT-2), Touvron et al. 2023 (Llama), Yang et al. 2024 (Qwen2), and
transformers' implementations, which ours is tested against, gradients included.

Simplifications: no dropout; dense attention; what else a config may ask for (upcast attention,
parallel residuals, sliding windows, cross-attention) is left to transformers' own forward.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import GPT2LMHeadModel, LlamaForCausalLM, PreTrainedModel, Qwen2ForCausalLM

from agents.forward.kv_cache import KeyValueCache
from agents.forward.onednn import PackedLayers, can_pack, run_layer

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from agents.forward.onednn import RunLayer

__all__ = ["LeanGPT2", "LeanLlama", "attend_by_products"]

# Tokens of a text on a CPU; a longer one is attended to by torch's fused kernel.
_LONGEST_BY_PRODUCTS = {torch.bfloat16: 512, torch.float32: 128}


class _LeanTrunk:
    """The walk through the layers, whatever is in them."""

    def __init__(self, model: PreTrainedModel, run: RunLayer = run_layer) -> None:
        """Takes a model of the family, which is neither copied nor changed.

        Args:
            model: Whose layers to run.
            run: How to run a linear one.
        """
        config = model.config
        self._model, self._run = model, run
        self._base: Any = model.base_model
        self._heads: int = config.num_attention_heads
        self._head_size: int = (
            getattr(config, "head_dim", None) or config.hidden_size // self._heads
        )
        self._key_heads: int = getattr(config, "num_key_value_heads", None) or self._heads
        layers: Any = self._base.h if hasattr(self._base, "h") else self._base.layers
        self._layers: list[Any] = list(layers)
        self._scale = self._head_size**-0.5

    def new_cache(self, rows: int, columns: int) -> KeyValueCache:
        """See ``agents.forward.trunk.Trunk``."""
        parameter = next(self._base.parameters())
        return KeyValueCache(
            layers=len(self._layers),
            rows=rows,
            heads=self._key_heads,
            columns=columns,
            head_size=self._head_size,
            dtype=parameter.dtype,
            device=parameter.device,
        )

    def packed(self, rows: int, dtype: torch.dtype) -> tuple[Self, RunLayer]:
        """See ``agents.forward.trunk.Trunk``."""
        if not can_pack(next(self._base.parameters()).device, dtype):
            return self, run_layer
        run = PackedLayers(rows, dtype)
        return type(self)(self._model, run), run

    def full(self, tokens: Tensor, wanted: Tensor | None = None) -> Tensor:
        """See ``agents.forward.trunk.Trunk``."""

        def attend(_layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            return self._causal(query, key, value)

        positions = torch.arange(tokens.shape[1], device=tokens.device)
        return self._walk(tokens, positions, attend, wanted)

    def read(
        self, tokens: Tensor, slots: Tensor, cache: KeyValueCache, wanted: Tensor | None = None
    ) -> Tensor:
        """See ``agents.forward.trunk.Trunk``."""

        def attend(layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            cache.write_texts(layer, slots, key, value)
            return self._causal(query, key, value)

        positions = torch.arange(tokens.shape[1], device=tokens.device)
        return self._walk(tokens, positions, attend, wanted)

    def step(self, tokens: Tensor, cache: KeyValueCache) -> Tensor:
        """See ``agents.forward.trunk.Trunk``."""
        lengths, dtype = cache.lengths, cache.keys[0].dtype
        unread = torch.arange(cache.width, device=tokens.device) > lengths[:, None]
        mask = torch.zeros(unread.shape, dtype=dtype, device=tokens.device)
        mask = mask.masked_fill_(unread, -torch.inf)[:, None, None, :]

        def attend(layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            cache.write_next(layer, key[:, :, 0], value[:, :, 0])
            keys, values = cache.read(layer)
            # Queries that share a head of keys are rows of one product. For a single column
            # the fused kernel is slower than these three calls.
            grouped = query.reshape(len(query), self._key_heads, -1, self._head_size)
            scores = torch.matmul(grouped * self._scale, keys.transpose(2, 3)).add_(mask)
            mixed = torch.matmul(scores.softmax(-1), values)
            return mixed.reshape(len(query), 1, -1)

        return self._walk(tokens[:, None], lengths[:, None], attend).squeeze(1)

    def _causal(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attention of texts to themselves: ``(N, heads, L, size)`` to ``(N, L, width)``."""
        if self._key_heads != self._heads:
            times = self._heads // self._key_heads
            key, value = (x.repeat_interleave(times, dim=1) for x in (key, value))
        on_cpu = value.device.type == "cpu"
        if on_cpu and query.shape[2] <= _LONGEST_BY_PRODUCTS.get(value.dtype, 0):
            return attend_by_products(query, key, value, self._scale).transpose(1, 2).flatten(2)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=self._scale)
        return mixed.transpose(1, 2).flatten(2)

    def _split(self, x: Tensor, heads: int) -> Tensor:
        return x.view(*x.shape[:-1], heads, self._head_size).transpose(1, 2)

    def _walk(
        self,
        tokens: Tensor,
        positions: Tensor,
        attend: Callable[[int, Tensor, Tensor, Tensor], Tensor],
        wanted: Tensor | None = None,
    ) -> Tensor:
        """Runs all layers; ``positions`` is ``(L,)`` or ``(N, 1)``, ``wanted`` as in ``full``."""
        raise NotImplementedError

    def _kept(self, number: int, x: Tensor, mixed: Tensor, wanted: Tensor | None) -> list[Tensor]:
        """Layer ``number``'s states and what they attended to; of the last layer the wanted ones.

        Above its attention no state reads another, so the others need not be computed.
        """
        if wanted is None or number < len(self._layers) - 1:
            return [x, mixed]
        return [each.flatten(0, 1).index_select(0, wanted) for each in (x, mixed)]


class LeanGPT2(_LeanTrunk):
    """GPT-2: learned positions, one projection for queries, keys and values, gelu by tanh."""

    @staticmethod
    def fits(model: PreTrainedModel) -> bool:
        """Whether ``model`` is one, without any of its rarer options."""
        config = model.config
        return type(model) is GPT2LMHeadModel and (
            config.activation_function == "gelu_new"
            and config.scale_attn_weights
            and not config.scale_attn_by_inverse_layer_idx
            and not config.reorder_and_upcast_attn
            and not config.add_cross_attention
        )

    def _walk(
        self,
        tokens: Tensor,
        positions: Tensor,
        attend: Callable[[int, Tensor, Tensor, Tensor], Tensor],
        wanted: Tensor | None = None,
    ) -> Tensor:
        base = self._base
        x = base.wte(tokens) + base.wpe(positions)
        for number, layer in enumerate(self._layers):
            projected = self._run(layer.attn.c_attn, layer.ln_1(x)).chunk(3, dim=-1)
            query, key, value = (self._split(part, self._heads) for part in projected)
            x, mixed = self._kept(number, x, attend(number, query, key, value), wanted)
            x = x + self._run(layer.attn.c_proj, mixed)
            inner = self._run(layer.mlp.c_fc, layer.ln_2(x), "gelu")
            x = x + self._run(layer.mlp.c_proj, inner)
        return base.ln_f(x)  # type: ignore[no-any-return] # a module's call has no type


class LeanLlama(_LeanTrunk):
    """Llama and Qwen2: rotary positions, grouped keys, gated silu, root-mean-square norms."""

    @staticmethod
    def fits(model: PreTrainedModel) -> bool:
        """Whether ``model`` is one, without any of its rarer options."""
        config = model.config
        layer_types = set(getattr(config, "layer_types", None) or ["full_attention"])
        return type(model) in (LlamaForCausalLM, Qwen2ForCausalLM) and (
            config.hidden_act == "silu"
            and layer_types == {"full_attention"}
            and getattr(config, "pretraining_tp", 1) == 1
        )

    def _walk(
        self,
        tokens: Tensor,
        positions: Tensor,
        attend: Callable[[int, Tensor, Tensor, Tensor], Tensor],
        wanted: Tensor | None = None,
    ) -> Tensor:
        base = self._base
        x = base.embed_tokens(tokens)
        cos, sin = base.rotary_emb(x, positions.expand(len(tokens), -1))
        cos, sin = cos[:, None], sin[:, None]
        for number, layer in enumerate(self._layers):
            attention, mlp = layer.self_attn, layer.mlp
            normed = _normalise(layer.input_layernorm, x)
            query = self._split(self._run(attention.q_proj, normed), self._heads)
            key = self._split(self._run(attention.k_proj, normed), self._key_heads)
            value = self._split(self._run(attention.v_proj, normed), self._key_heads)
            query, key = _rotate(query, cos, sin), _rotate(key, cos, sin)
            x, mixed = self._kept(number, x, attend(number, query, key, value), wanted)
            x = x + self._run(attention.o_proj, mixed)
            normed = _normalise(layer.post_attention_layernorm, x)
            gate = self._run(mlp.gate_proj, normed, "silu")
            x = x + self._run(mlp.down_proj, gate * self._run(mlp.up_proj, normed))
        return _normalise(base.norm, x)


def attend_by_products(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """Causal attention by two products, all ``(N, heads, L, size)``.

    On a CPU the fused kernel's backward pass is slow in bfloat16: at 64 tokens it takes four times
    as long as this one, at 1024 the same. In float32 both passes of 64 tokens take a tenth to a
    fifth less here, and those of 256 as long. The scores are rounded, as transformers' are.
    """
    length = query.shape[2]
    unseen = torch.ones((length, length), dtype=torch.bool, device=query.device).triu_(1)
    mask = torch.zeros_like(unseen, dtype=value.dtype).masked_fill_(unseen, -torch.inf)
    queries, keys, values = (x.flatten(0, 1) for x in (query, key, value))
    scores = torch.baddbmm(mask, queries, keys.transpose(1, 2), alpha=scale)
    return torch.bmm(scores.softmax(-1), values).view_as(query)


def _normalise(norm: Any, x: Tensor) -> Tensor:
    return F.rms_norm(x, norm.weight.shape, norm.weight, norm.variance_epsilon)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Su et al. 2021, equation 34, for halves instead of neighbours."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin
