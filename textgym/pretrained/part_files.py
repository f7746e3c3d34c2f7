"""Tensors that several processes keep in parts: each writes its own, and any number of them reads.

It is ``torch.distributed.checkpoint`` with files of safetensors, one a process, whose headers say
where in each tensor the numbers belong. No tensor is ever whole in a process that writes, and one
that reads takes what it needs of each file. Beside them is a list of the tensors, written last, by
which a file that is missing is noticed: torch would leave a gap as it was.

Source: torch's documentation of ``torch.distributed.checkpoint``.

Simplification: each process makes a second copy of its own part on the host while it writes.
"""

from __future__ import annotations

import json
import math
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from textgym.files import write_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import torch

__all__ = ["PARTS", "PartFiles", "write_parts"]

PARTS = "parts"
"""The folder in a model's that has its weights in parts, instead of ``model.safetensors``."""

_LIST = "tensors.json"


def write_parts(tensors: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Writes what each process keeps of tensors; to be called in all of them.

    Args:
        tensors: By name, the same names in all processes; what is not cut is written once.
        folder: Made if it is missing; all processes have to see the same.

    Raises:
        OSError: If one of them cannot write; in all.
    """
    from torch.distributed import get_rank
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    writer = HuggingFaceStorageWriter(path=str(folder), save_distributed=True)
    with _failure_in_one_line():
        save(dict(tensors), storage_writer=writer)
    if get_rank() == 0:
        write_json(folder / _LIST, {name: [*tensor.shape] for name, tensor in tensors.items()})


class PartFiles:
    """What lies in a folder of parts, read by whoever needs it, without asking other processes.

    Attributes:
        shapes: Of all tensors, by name.
    """

    def __init__(self, folder: Path) -> None:
        """Reads the headers.

        Args:
            folder: What ``write_parts`` wrote.

        Raises:
            OSError: If a file cannot be read, or is damaged.
            ValueError: If a file is missing; the message names a tensor.
        """
        from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader

        shapes = json.loads((folder / _LIST).read_text(encoding="utf-8"))
        self.shapes: dict[str, tuple[int, ...]] = {name: tuple(shapes[name]) for name in shapes}
        self._reader = HuggingFaceStorageReader(path=str(folder))
        with _failure_in_one_line():
            metadata = self._reader.read_metadata().state_dict_metadata
        found: dict[str, Any] = dict(metadata)  # each of a tensor
        self._dtypes = {name: each.properties.dtype for name, each in found.items()}
        for name, shape in self.shapes.items():
            chunks = found[name].chunks if name in found else ()
            there, whole = sum(math.prod(each.sizes) for each in chunks), math.prod(shape)
            if there != whole:
                raise ValueError(
                    f"of the {whole} numbers of {name} there are {there} in {folder}: the file of "
                    "another process is missing"
                )

    def read_into(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Reads into tensors in place, of one that is cut the own part alone.

        Args:
            tensors: By name, of the shapes that were written.

        Raises:
            OSError: If a file cannot be read, or lacks one of them.
        """
        import torch
        from torch.distributed.checkpoint.state_dict_loader import load

        given = {name: tensor.detach() for name, tensor in tensors.items()}
        with _failure_in_one_line(), torch.no_grad(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "torch.distributed is disabled")
            load(given, storage_reader=self._reader, no_dist=True)

    def whole(self) -> dict[str, torch.Tensor]:
        """All of it, on the host, by name."""
        import torch

        found = {
            name: torch.empty(shape, dtype=self._dtypes[name])
            for name, shape in self.shapes.items()
        }
        self.read_into(found)
        return found


@contextmanager
def _failure_in_one_line() -> Iterator[None]:
    """Says what failed first in one of the processes, which torch wraps in a traceback each.

    Raises:
        OSError: Instead of what torch and safetensors raise.
    """
    from safetensors import SafetensorError
    from torch.distributed.checkpoint.api import CheckpointException

    try:
        yield
    except CheckpointException as error:
        first = next(iter(error.failures.values()))[0]
        raise OSError(" ".join(str(first).split()) or type(first).__name__) from error
    except SafetensorError as error:
        raise OSError(" ".join(str(error).split())) from error
