"""Rows of ids into batches of like length, and batches into scores.

Rows are padded on the right. A causal trunk then never sees a pad from a real token, and a mask
hides pads from the others, so a score depends on its own text alone.

Simplification: a batch is bounded by its rows and its padding, not by memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["batches", "pad_rows", "right_padded", "score_rows", "spare_pads"]

# Another forward pass costs about as much as this many padded tokens do, measured with encoders and
# decoders of 4 layers on one core. A GPU starts a pass no faster, but pads cost it next to nothing.
_SPARE_PADS = 64
_SPARE_PADS_ON_A_GPU = 4096


def pad_rows(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pads rows of ids on the right to the longest of them: ids and mask, ``(N, L)`` int64."""
    width = max(len(row) for row in rows)
    ids = torch.tensor([[*row, *[pad_id] * (width - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return ids, mask


def right_padded(
    input_ids: torch.Tensor, attention_mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Moves padding on the left of a row to its right, so that positions start at the text.

    Args:
        input_ids: Token ids, ``(N, L)`` int64.
        attention_mask: 1 for real tokens and 0 for padding, ``(N, L)``.

    Returns:
        Both, of the same shapes.

    Raises:
        ValueError: If a row is empty, or has padding between its tokens.
    """
    real = attention_mask.bool()
    before = torch.nn.functional.pad(real[:, :-1], (1, 0))
    if bool(((real & ~before).sum(dim=1) != 1).any()):
        raise ValueError(
            "attention_mask has an empty row or padding between tokens: pad on one side, and begin "
            "every row with the beginning-of-text token"
        )
    if bool(real[:, 0].all()):
        return input_ids, attention_mask
    width = real.shape[1]
    start = real.int().argmax(dim=1, keepdim=True)
    places = (torch.arange(width, device=real.device) + start) % width
    return input_ids.gather(1, places), attention_mask.gather(1, places)


def batches(
    lengths: Sequence[int], batch_size: int, spare_pads: int = _SPARE_PADS
) -> Iterator[list[int]]:
    """Groups rows of like length, from the longest to the shortest.

    Args:
        lengths: The rows' lengths, ``(N,)``.
        batch_size: The most rows of a batch.
        spare_pads: The most pads in a batch; beyond them another forward pass is cheaper.

    Yields:
        The numbers of the rows of each batch.
    """
    batch: list[int] = []
    pads = 0
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        needed = lengths[batch[0]] - lengths[row] if batch else 0
        if batch and (len(batch) == batch_size or pads + needed > spare_pads):
            yield batch
            batch, pads, needed = [], 0, 0
        batch.append(row)
        pads += needed
    if batch:
        yield batch


def spare_pads(model: Any) -> int:
    """How many pads of a batch are cheaper than another forward pass of a model.

    A model may say so itself, by an attribute of this name.
    """
    own = int(getattr(model, "spare_pads", _SPARE_PADS))
    return own if model.device.type == "cpu" else max(own, _SPARE_PADS_ON_A_GPU)


def score_rows(
    rows: Sequence[Sequence[Any]],
    forward: Callable[[list[tuple[Any, ...]]], torch.Tensor],
    batch_size: int,
    spare: int = _SPARE_PADS,
) -> torch.Tensor:
    """Scores rows in batches of like length; rows that are equal are run once.

    Args:
        rows: The rows, ``(N,)``, none of them empty.
        forward: Takes some rows, as tuples, and gives one score for each, ``(n,)``.
        batch_size: The most rows of a batch.
        spare: The most pads of a batch.

    Returns:
        ``(N,)`` float64 on the CPU.
    """
    places: dict[tuple[Any, ...], int] = {}
    which = [places.setdefault(tuple(row), len(places)) for row in rows]
    different = list(places)
    scores = torch.zeros(len(different), dtype=torch.float64)
    with torch.inference_mode():
        for batch in batches([len(row) for row in different], batch_size, spare):
            scores[batch] = forward([different[row] for row in batch]).cpu().double()
    return scores[which]
