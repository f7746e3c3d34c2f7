"""What the lean trunks share: the cache, attention, and the loop over a model's blocks.

The weights are those of the transformers model, read through its own modules, so that adapters in
the place of a linear layer work. What is ours is attention over a cache of its own, the fused
activation and normalisation, and no more bookkeeping than that; the benchmark of rollouts times it
beside transformers' forward. What is in a block says the family: ``agents.forward.lean_gpt2`` and
``agents.forward.lean_llama``, which are tested against transformers' own, gradients included.

Simplifications: no dropout; dense attention; what else a config may ask for (upcast attention,
parallel residuals, sliding windows, cross-attention) is left to transformers' own forward.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from agents.forward.attention import attend_to_cache, causal_attention
from agents.forward.kv_cache import KeyValueCache
from agents.forward.onednn import PackedLayers, can_pack, run_layer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Self

    from torch import nn
    from transformers import PreTrainedModel

    from agents.forward.onednn import RunLayer

__all__ = ["Attention", "LayerAttention", "LeanTrunk", "Rotation", "selected_states"]

Attention: TypeAlias = "Callable[[Tensor, Tensor, Tensor], Tensor]"
"""From queries, keys and values, ``(N, heads, L, head_size)``, to ``(N, L, heads * head_size)``."""

LayerAttention: TypeAlias = "Callable[[int, Tensor, Tensor, Tensor], Tensor]"
"""The same, with the number of the layer before them."""

_METHOD = "run_lean"  # of a block that is sharded

Rotation: TypeAlias = tuple[Tensor, ...]
"""Cosines and sines of rotary positions, ``(N, 1, L, head_size)`` each; empty without them."""


class LeanTrunk:
    """The passes of ``agents.forward.trunk.Trunk``; a subclass says what is in a block."""

    def __init__(self, model: PreTrainedModel, run: RunLayer = run_layer) -> None:
        """Takes a model of the family, which is neither copied nor changed.

        Args:
            model: Whose blocks to run.
            run: How to run a linear layer.
        """
        config = model.config
        self._model, self._run = model, run
        self._base: Any = model.base_model
        self._heads: int = config.num_attention_heads
        self._head_size: int = (
            getattr(config, "head_dim", None) or config.hidden_size // self._heads
        )
        self._key_heads: int = getattr(config, "num_key_value_heads", None) or self._heads
        blocks: Any = self._base.h if hasattr(self._base, "h") else self._base.layers
        self.blocks: Sequence[nn.Module] = list(blocks)
        self.recomputes = False
        self._scale = self._head_size**-0.5

    def new_cache(self, rows: int, columns: int) -> KeyValueCache:
        """See ``agents.forward.trunk.Trunk``."""
        parameter = next(self._base.parameters())
        return KeyValueCache(
            shapes=[(self._key_heads, self._head_size, self._head_size)] * len(self.blocks),
            rows=rows,
            columns=columns,
            dtype=parameter.dtype,
            device=parameter.device,
        )

    def packed(self, pass_tokens: int, dtype: torch.dtype) -> Self:
        """See ``agents.forward.trunk.Trunk``."""
        if not can_pack(next(self._base.parameters()).device, dtype):
            return self
        return type(self)(self._model, PackedLayers(pass_tokens, dtype))

    def full(self, tokens: Tensor, selected: Tensor | None = None) -> Tensor:
        """See ``agents.forward.trunk.Trunk``."""

        def attend(_layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            return causal_attention(query, key, value, self._scale)

        positions = torch.arange(tokens.shape[1], device=tokens.device)
        return self._hidden_states(tokens, positions, attend, selected)

    def read(
        self, tokens: Tensor, slots: Tensor, cache: KeyValueCache, selected: Tensor | None = None
    ) -> Tensor:
        """See ``agents.forward.trunk.Trunk``."""

        def attend(layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            cache.write_texts(layer, slots, key, value)
            return causal_attention(query, key, value, self._scale)

        positions = torch.arange(tokens.shape[1], device=tokens.device)
        return self._hidden_states(tokens, positions, attend, selected)

    def step(self, tokens: Tensor, cache: KeyValueCache) -> Tensor:
        """See ``agents.forward.trunk.Trunk``."""
        lengths, dtype = cache.lengths, cache.keys[0].dtype
        unread = torch.arange(cache.width, device=tokens.device) > lengths[:, None]
        mask = torch.zeros(unread.shape, dtype=dtype, device=tokens.device)
        mask = mask.masked_fill_(unread, -torch.inf)[:, None, None, :]

        def attend(layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            cache.write_next(layer, key[:, :, 0], value[:, :, 0])
            return attend_to_cache(query, *cache.read(layer), mask, self._scale)

        return self._hidden_states(tokens[:, None], lengths[:, None], attend).squeeze(1)

    def _hidden_states(
        self,
        tokens: Tensor,
        positions: Tensor,
        attend: LayerAttention,
        selected: Tensor | None = None,
    ) -> Tensor:
        """Runs all blocks.

        Args:
            tokens: ``(N, L)`` int64.
            positions: ``(L,)`` or ``(N, 1)`` int64.
            attend: Runs a layer's attention.
            selected: As in ``full``.

        Returns:
            ``(M, width)``, or ``(N, L, width)``.
        """
        states, rotation = self._embed(tokens, positions)
        last = len(self.blocks) - 1
        for number, block in enumerate(self.blocks):
            asked = selected if number == last else None
            run = getattr(block, _METHOD, partial(_run_lean, block))
            states = run(self, states, rotation, partial(attend, number), asked)
        return self._last_norm(states)

    def method_of(self, block: Any) -> str | None:
        """See ``agents.forward.contract.Trunk``."""
        setattr(block, _METHOD, partial(_run_lean, block))
        return _METHOD

    def run_block(self, block: Any, *given: Any) -> Tensor:
        """Runs a block, inside of what it is wrapped in; see ``_run_block``."""
        if self.recomputes and torch.is_grad_enabled():
            again: Tensor = checkpoint(
                self._run_block, block, *given, use_reentrant=False, preserve_rng_state=False
            )
            return again
        return self._run_block(block, *given)

    def _embed(self, tokens: Tensor, positions: Tensor) -> tuple[Tensor, Rotation]:
        """The states before the first block, ``(N, L, width)``, and the blocks' rotation."""
        raise NotImplementedError

    def _run_block(
        self,
        block: Any,
        states: Tensor,
        rotation: Rotation,
        attend: Attention,
        selected: Tensor | None,
    ) -> Tensor:
        """One block's states, of the ``selected`` ones alone where that is not ``None``."""
        raise NotImplementedError

    def _last_norm(self, states: Tensor) -> Tensor:
        """The normalisation behind the last block."""
        raise NotImplementedError

    def _split_heads(self, x: Tensor, heads: int) -> Tensor:
        """From ``(N, L, heads * head_size)`` to ``(N, heads, L, head_size)``."""
        return x.view(*x.shape[:-1], heads, self._head_size).transpose(1, 2)


def _run_lean(block: Any, trunk: LeanTrunk, *given: Any) -> Tensor:
    """``LeanTrunk.run_block`` as a method of a block, which whoever shards it can wrap."""
    return trunk.run_block(block, *given)


def selected_states(states: Tensor, selected: Tensor | None) -> Tensor:
    """The states ``(N, L, width)`` at flat positions ``(M,)``, ``(M, width)``; all for ``None``."""
    return states if selected is None else states.flatten(0, 1).index_select(0, selected)
