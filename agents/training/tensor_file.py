"""Safetensors files that are written and read tensor by tensor, so that no second copy is needed.

safetensors' own writer takes all tensors at once: those of a GPU are first copied to the host, and
those that lie in parts on several devices would first have to be put together. Here each is made
when its turn comes, written, and let go. The format is the same: eight bytes that say how long the
header is, the header in JSON with every tensor's type, shape and place, and then the numbers.

Source: the description of the format in safetensors' README.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from safetensors import safe_open

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from torch import Tensor

__all__ = ["TensorFile", "Waiting", "write_tensors"]

_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_ALIGNMENT = 8  # bytes, of the first number


class Waiting(NamedTuple):
    """A tensor that is yet to be made."""

    name: str
    shape: Sequence[int]
    dtype: torch.dtype
    make: Callable[[], Tensor]
    """Called once, in turn; of that shape and dtype, on any device."""


def write_tensors(path: Path | None, waiting: Iterable[Waiting]) -> None:
    """Writes tensors one by one, each made when its turn comes.

    Args:
        path: The file; ``None`` makes each tensor and writes none, for a process that only has to
            help in making them.
        waiting: What to write.
    """
    order = list(waiting)
    if path is None:
        for each in order:
            each.make()
        return
    header, end = {}, 0
    for each in order:
        start, end = end, end + math.prod(each.shape) * each.dtype.itemsize
        header[each.name] = {
            "dtype": _NAMES[each.dtype],
            "shape": [*each.shape],
            "data_offsets": [start, end],
        }
    said = json.dumps(header, separators=(",", ":")).encode()
    said += b" " * (-len(said) % _ALIGNMENT)
    with path.open("wb") as file:
        file.write(len(said).to_bytes(8, "little"))
        file.write(said)
        for each in order:
            numbers = each.make().detach().cpu().contiguous().flatten()
            file.write(numbers.view(torch.uint8).numpy().data)


class TensorFile:
    """The tensors of a safetensors file by name; each is read when it is asked for.

    Attributes:
        shapes: Of all of them, by name.
    """

    def __init__(self, path: Path) -> None:
        """Reads the header.

        Args:
            path: The file.

        Raises:
            SafetensorError: If it is damaged, or cut off.
            OSError: If it cannot be read.
        """
        self._file = cast("Any", safe_open(path, framework="pt", device="cpu"))
        names: list[str] = self._file.keys()
        self.shapes: dict[str, tuple[int, ...]] = {
            name: tuple(self._file.get_slice(name).get_shape()) for name in names
        }

    def read(self, name: str) -> Tensor:
        """One tensor, on the host.

        Raises:
            KeyError: If there is none of this name.
        """
        if name not in self.shapes:
            raise KeyError(name)
        tensor: Tensor = self._file.get_tensor(name)
        return tensor
