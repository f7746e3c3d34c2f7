"""A language model up to its last hidden state, by three forward passes.

``full`` runs whole texts and is what is learned from, ``read`` runs prompts and fills a key-value
cache, ``step`` appends one token to every text in it. A trunk holds no weights of its own: it runs
a transformers model's modules. ``make_trunk`` takes ``agents.forward.lean_gpt2`` or
``agents.forward.lean_llama`` where the model is one of those that they know, and else transformers'
own forward behind the same three methods. All of them give the same numbers (tested).

Simplification: attention must see the whole text; what of transformers' models cannot be written
step by step is refused by ``agents.forward.requirements`` before the first text.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache
from transformers.modeling_layers import GradientCheckpointingLayer

from agents.forward.kv_cache import KeyValueCache
from agents.forward.lean_gpt2 import LeanGPT2
from agents.forward.lean_llama import LeanLlama
from agents.forward.lean_trunk import selected_states
from agents.forward.requirements import UnfitModelError, require_same_steps

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import nn
    from transformers import PreTrainedModel

    from agents.forward.contract import Trunk

__all__ = ["TransformersTrunk", "make_trunk"]


def make_trunk(model: PreTrainedModel) -> Trunk:
    """Makes the fastest trunk that runs ``model``."""
    families = (family for family in (LeanGPT2, LeanLlama) if family.fits(model))
    trunk: Trunk = next(families, TransformersTrunk)(model)
    # transformers' own switch asks for training mode, in which there would be dropout.
    trunk.recomputes = any(getattr(each, "gradient_checkpointing", False) for each in trunk.blocks)
    return trunk


class TransformersTrunk:
    """Any causal model of transformers by its own forward."""

    def __init__(self, model: PreTrainedModel) -> None:
        """Takes a causal language model, which is neither copied nor changed."""
        self._model = model
        # A language model beside whose layers its class stands, and not around them, is its body.
        body: Any = model.base_model
        self._body: Any = getattr(model, "model", model) if body is model else body
        known = (part for part in self._body.modules() if _is_block(part))
        self.blocks: Sequence[nn.Module] = list(known)
        self.recomputes = False
        self._written = set[int]()

    def method_of(self, block: nn.Module) -> str | None:  # noqa: ARG002 - the protocol's
        """See ``Trunk``."""
        return None

    def new_cache(self, rows: int, columns: int) -> KeyValueCache:
        """See ``Trunk``.

        Raises:
            ValueError: If the model cannot write so long a text step by step; asked once for each
                length.
        """
        if columns > 1 and columns not in self._written:
            self._written.add(columns)  # asking makes a cache, too
            try:
                require_same_steps(self._model, self, columns)
            except BaseException:
                self._written.remove(columns)
                raise
        probe = DynamicCache(config=self._model.config)
        self._run(torch.zeros((1, 1), dtype=torch.int64, device=self._model.device), probe)
        layers = cast("list[Any]", probe.layers)
        if not all(isinstance(getattr(layer, "keys", None), Tensor) for layer in layers):
            raise UnfitModelError(self._model, "keeps more than keys and values")
        return KeyValueCache(
            shapes=[
                (layer.keys.shape[1], layer.keys.shape[3], layer.values.shape[3])
                for layer in layers
            ],
            rows=rows,
            columns=columns,
            dtype=layers[0].keys.dtype,
            device=layers[0].keys.device,
        )

    def packed(self, pass_tokens: int, dtype: torch.dtype) -> Trunk:  # noqa: ARG002 - the protocol's
        """See ``Trunk``."""
        return self

    def full(self, tokens: Tensor, selected: Tensor | None = None) -> Tensor:
        """See ``Trunk``."""
        return selected_states(self._run(tokens, None), selected)

    def read(
        self, tokens: Tensor, slots: Tensor, cache: KeyValueCache, selected: Tensor | None = None
    ) -> Tensor:
        """See ``Trunk``."""
        their_cache = DynamicCache(config=self._model.config)
        hidden = self._run(tokens, their_cache)
        for number, layer in enumerate(cast("list[Any]", their_cache.layers)):
            cache.write_texts(number, slots, layer.keys, layer.values)
        return selected_states(hidden, selected)

    def step(self, tokens: Tensor, cache: KeyValueCache) -> Tensor:
        """See ``Trunk``."""
        lengths = cache.lengths
        unread = torch.arange(cache.width, device=tokens.device) > lengths[:, None]
        lowest = torch.finfo(cache.keys[0].dtype).min
        mask = torch.zeros(unread.shape, dtype=cache.keys[0].dtype, device=tokens.device)
        mask = mask.masked_fill_(unread, lowest)[:, None, None, :]
        layers: list[Any] = [_CacheLayer(cache, number) for number in range(len(cache.keys))]
        output = self._body(
            input_ids=tokens[:, None],
            attention_mask=mask,
            position_ids=lengths[:, None],
            cache=Cache(layers=layers),
            use_cache=True,
        )
        return cast("Tensor", output.last_hidden_state[:, -1])

    def _run(self, tokens: Tensor, cache: Cache | None) -> Tensor:
        recomputed = self.recomputes and cache is None and torch.is_grad_enabled()
        # Without a mask transformers looks for padding in the ids, and warns on finding any.
        with _recomputed(self.blocks if recomputed else ()):
            output = self._body(
                input_ids=tokens,
                attention_mask=torch.ones_like(tokens),
                cache=cache,
                use_cache=cache is not None,
            )
        return cast("Tensor", output.last_hidden_state)


def _is_block(part: nn.Module) -> bool:
    """Whether it is a layer that transformers itself would recompute."""
    return isinstance(part, GradientCheckpointingLayer)


@contextmanager
def _recomputed(blocks: Sequence[nn.Module]) -> Iterator[None]:
    """Passes of modules inside keep their inputs alone, see ``Trunk.recomputes``."""
    before = [vars(block).get("forward") for block in blocks]
    for block in blocks:
        block.forward = partial(
            checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False
        )
    try:
        yield
    finally:
        for block, own in zip(blocks, before, strict=True):
            del block.forward
            if own is not None:  # somebody else's, such as accelerate's
                block.forward = own


class _CacheLayer(CacheLayerMixin):
    """One layer of our cache as transformers sees it, whose forward appends a column to it."""

    def __init__(self, cache: KeyValueCache, layer: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # transformers' is
        self._cache, self._layer = cache, layer

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Has nothing to do: the cache is allocated."""

    def update(
        self,
        key_states: Tensor,
        value_states: Tensor,
        *args: Any,  # noqa: ARG002 - transformers' signature
        **kwargs: Any,  # noqa: ARG002
    ) -> tuple[Tensor, Tensor]:
        """Writes the new column and returns all of them."""
        self._cache.write_next(self._layer, key_states[:, :, 0], value_states[:, :, 0])
        return self._cache.read(self._layer)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:  # noqa: ARG002 - as above
        """The whole cache, from its first column on."""
        return self._cache.width, 0

    def get_seq_length(self) -> int:
        """Not what positions come from: they are given."""
        return self._cache.width - 1

    def get_max_length(self) -> int:
        """The number of columns."""
        return self._cache.columns
