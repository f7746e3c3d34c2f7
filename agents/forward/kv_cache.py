"""The key-value cache: keys and values of the tokens that have been read, a slot for each text.

A token's column is its position in its own text, so texts of different lengths, and texts that
began at different times, stand side by side without padding between them: the columns that a text
has not reached yet are masked by its length, and are overwritten when it gets there.

There are only as many columns as the longest open text needs, rounded up to a block, or up to twice
as many. Of a larger tensor, the first columns are not contiguous, and on a CPU a batched product
copies them before it begins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from textgym.envs.backends import TorchBackend

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

__all__ = ["KeyValueCache"]

_BLOCK = 32


class KeyValueCache:
    """Keys and values, ``(rows, heads, width, head_size)`` for each layer, whose sizes are its own.

    The open texts are the first ``count`` slots; ``drop`` keeps it so by moving the last ones.

    Attributes:
        keys: One tensor a layer.
        values: One tensor a layer.
        lengths: How many tokens of each open text have been read, ``(count,)`` int64.
        columns: The most that ``width`` can become.
    """

    def __init__(
        self,
        *,
        shapes: Sequence[tuple[int, int, int]],
        rows: int,
        columns: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        """Makes a cache without any open text, and without columns.

        Args:
            shapes: For each layer the heads that keep keys and values, and the sizes of both.
            rows: The most texts that are open.
            columns: The longest text.
            dtype: Of keys and values.
            device: Where they are.
        """

        def empty(heads: int, size: int) -> Tensor:
            return torch.zeros((rows, heads, 0, size), dtype=dtype, device=device)

        self.keys = [empty(heads, size) for heads, size, _ in shapes]
        self.values = [empty(heads, size) for heads, _, size in shapes]
        self.lengths = torch.zeros(0, dtype=torch.int64, device=device)
        self.columns = columns

    @property
    def count(self) -> int:
        """The number of open texts."""
        return len(self.lengths)

    @property
    def width(self) -> int:
        """The number of columns that there are."""
        return self.keys[0].shape[2]

    def fit(self, columns: int) -> None:
        """Makes room for texts of ``columns`` tokens, or takes it from where longer ones were.

        By blocks, and only what is more than half of the width is taken, so that it is seldom done.

        Args:
            columns: The most tokens that an open text has, or that one will have.
        """
        width = min(-(-columns // _BLOCK) * _BLOCK, self.columns)
        if self.width // 2 <= width <= self.width:
            return
        before = min(width, self.width)
        for layers in (self.keys, self.values):
            for number, layer in enumerate(layers):
                rows, heads, _, head_size = layer.shape
                layers[number] = layer.new_empty((rows, heads, width, head_size))
                layers[number][:, :, :before] = layer[:, :, :before]
                # A masked column is multiplied by 0, which NaN survives.
                layers[number][:, :, before:] = 0

    def add(self, lengths: Tensor) -> Tensor:
        """Opens slots for texts.

        Args:
            lengths: How many tokens each has, ``(k,)`` int64.

        Returns:
            Their slots, ``(k,)`` int64.
        """
        first = self.count
        self.lengths = torch.cat([self.lengths, lengths])
        return torch.arange(first, self.count, device=lengths.device)

    def drop(self, slots: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Closes slots; which others move is worked out on the host, so no device is waited for.

        Args:
            slots: ``(k,)``, different ones.

        Returns:
            Which slot each of the slots that are left was before, ``(count,)`` int64.
        """
        left, send = self.count - len(slots), TorchBackend(self.lengths.device).send
        is_open = np.ones(self.count, dtype=np.bool_)
        is_open[slots] = False
        holes, movers = np.flatnonzero(~is_open[:left]), left + np.flatnonzero(is_open[left:])
        source = np.arange(left)
        source[holes] = movers
        to, where_from = send(holes), send(movers)
        for layer in (*self.keys, *self.values):
            layer[to] = layer[where_from]
        self.lengths = self.lengths[send(source)]
        return source

    def write_texts(self, layer: int, slots: Tensor, keys: Tensor, values: Tensor) -> None:
        """Writes whole texts from their first column on, each ``(k, heads, L, head_size)``."""
        length = keys.shape[2]
        self.keys[layer][slots, :, :length] = keys.to(self.keys[layer].dtype)
        self.values[layer][slots, :, :length] = values.to(self.values[layer].dtype)

    def copy_texts(self, sources: Tensor, slots: Tensor) -> None:
        """Gives texts the keys and values of others, ``(k,)`` int64 slots each, all they have."""
        for layer in (*self.keys, *self.values):
            layer[slots] = layer[sources]

    def write_next(self, layer: int, keys: Tensor, values: Tensor) -> None:
        """Writes one column of every open text, each ``(count, heads, head_size)``."""
        slots = torch.arange(self.count, device=keys.device)
        self.keys[layer][slots, :, self.lengths] = keys
        self.values[layer][slots, :, self.lengths] = values

    def read(self, layer: int) -> tuple[Tensor, Tensor]:
        """Returns the open texts' keys and values, ``(count, heads, width, head_size)``."""
        return self.keys[layer][: self.count], self.values[layer][: self.count]
