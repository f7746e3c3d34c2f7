"""What every way to run a transformer offers: texts read whole, read in part, and written on.

The lean forward passes and transformers' own are interchangeable by it, and tested to be the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from torch import Tensor, nn

    from agents.forward.kv_cache import KeyValueCache

__all__ = ["Trunk"]


class Trunk(Protocol):
    """A language model up to its last hidden state.

    Attributes:
        blocks: The model's layers in order, each of which reads what the one before it gave; none
            where it is not known which they are.
        recomputes: Whether passes with gradients keep no more than what goes into each block, and
            compute what is inside again for the backward pass (Chen et al. 2016).
    """

    blocks: Sequence[nn.Module]
    recomputes: bool

    def method_of(self, block: nn.Module) -> str | None:
        """Gives a block a method by which it is run from now on, for hooks around that.

        Args:
            block: One of ``blocks``.

        Returns:
            The method's name; ``None`` where a block is run by ``forward``.
        """

    def new_cache(self, rows: int, columns: int) -> KeyValueCache:
        """Makes a cache for so many texts of so many tokens."""

    def packed(self, pass_tokens: int, dtype: torch.dtype) -> Trunk:
        """Makes a trunk for passes without gradients, as long as the weights stay as they are.

        Args:
            pass_tokens: How many tokens a pass usually has.
            dtype: Of its products; autocast's, if it is to run under that.

        Returns:
            The trunk, which is this one where nothing is gained.
        """

    def full(self, tokens: Tensor, selected: Tensor | None = None) -> Tensor:
        """Runs right-padded texts, with gradients where they are on.

        Args:
            tokens: ``(N, L)`` int64.
            selected: Whose states to return, ``n * L + l`` for token l of text n, ``(M,)`` int64,
                in any order; ``None`` for all.

        Returns:
            Last hidden states, ``(M, width)``, or ``(N, L, width)``, where those at padding mean
            nothing.
        """

    def read(
        self, tokens: Tensor, slots: Tensor, cache: KeyValueCache, selected: Tensor | None = None
    ) -> Tensor:
        """Runs right-padded texts and keeps their keys and values.

        Args:
            tokens: ``(k, L)`` int64.
            slots: Where they stand in the cache, ``(k,)`` int64.
            cache: Is written to; at least as wide as the texts.
            selected: As in ``full``.

        Returns:
            ``(M, width)``, or ``(k, L, width)``.
        """

    def step(self, tokens: Tensor, cache: KeyValueCache) -> Tensor:
        """Appends one token to every open text, without changing the cache's lengths.

        Args:
            tokens: ``(count,)`` int64.
            cache: Is written to; wider than every open text is long.

        Returns:
            ``(count, width)``.
        """
