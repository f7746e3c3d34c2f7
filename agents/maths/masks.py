"""Sets of actions, kept small: eight bools a byte, or the actions that are in, where that is less.

What is legal may be most of a vocabulary, and is kept as bits. What top-k and top-p leave of it is
usually a few dozen of a hundred thousand, and is kept as ids, as vLLM does: each plus 1, int32, and
zeros behind the last. So what is filled up with zeros is the same set, and without any the empty
one, in both forms; the dtype says which it is. A is the number of actions.

Simplification: the ids of all sets of an array take as much room as those of the largest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Form",
    "bytes_of_bits",
    "ids_are_smaller",
    "in_form",
    "pack_ids",
    "pack_mask",
    "unpack_mask",
]

_BITS = 8
_ID_BYTES = 4


def bytes_of_bits(size: int) -> int:
    """How many bytes a set of ``size`` actions takes as bits."""
    return -(-size // _BITS)


def ids_are_smaller(largest: int, size: int) -> bool:
    """Whether sets of up to ``largest`` of ``size`` actions take less room as ids than as bits."""
    return _ID_BYTES * largest < bytes_of_bits(size)


def pack_mask(mask: Tensor) -> Tensor:
    """Packs eight bools into a byte.

    Args:
        mask: ``(..., A)`` bool.

    Returns:
        ``(..., ceil(A / 8))`` uint8.
    """
    missing = -mask.shape[-1] % _BITS
    padded = F.pad(mask.to(torch.uint8), (0, missing))
    bits = padded.reshape(*padded.shape[:-1], -1, _BITS)
    shifts = torch.arange(_BITS, dtype=torch.uint8, device=mask.device)
    return torch.bitwise_left_shift(bits, shifts).sum(dim=-1, dtype=torch.uint8)


def pack_ids(mask: Tensor) -> Tensor:
    """Lists the actions that are in each set; the host waits to know how many those are.

    Args:
        mask: ``(M, A)`` bool.

    Returns:
        ``(M, K)`` int32 with K of the largest set.
    """
    rows, ids = mask.nonzero(as_tuple=True)
    counts = mask.sum(dim=1)
    first = counts.cumsum(dim=0) - counts
    packed = mask.new_zeros((len(mask), int(counts.max())), dtype=torch.int32)
    packed[rows, torch.arange(len(ids), device=ids.device) - first[rows]] = (ids + 1).int()
    return packed


def unpack_mask(packed: Tensor, size: int) -> Tensor:
    """Unpacks what ``pack_mask`` or ``pack_ids`` packed.

    Args:
        packed: ``(..., ceil(size / 8))`` uint8, or ``(..., K)`` int32.
        size: A.

    Returns:
        ``(..., size)`` bool.
    """
    if packed.dtype == torch.int32:
        mask = packed.new_zeros((*packed.shape[:-1], size + 1), dtype=torch.bool)
        return mask.scatter_(-1, packed.long(), value=True)[..., 1:]
    shifts = torch.arange(_BITS, dtype=torch.uint8, device=packed.device)
    bits = torch.bitwise_right_shift(packed[..., None], shifts).bitwise_and(1)
    return bits.flatten(-2)[..., :size].bool()


class Form(NamedTuple):
    """How sets are packed."""

    in_bits: bool
    width: int

    @classmethod
    def of(cls, packed: Tensor) -> Form:
        """How these are."""
        return cls(packed.dtype == torch.uint8, packed.shape[-1])

    @classmethod
    def common(cls, forms: Sequence[Form]) -> Form:
        """What sets of the same actions can be brought to that are packed in different ways.

        Args:
            forms: At least one.
        """
        return max(forms)  # bits hold any set, and more ids more of them


def in_form(packed: Tensor, form: Form) -> Tensor:
    """The same sets in another form.

    Args:
        packed: ``(N, ..., K)`` int32, or uint8.
        form: Bits, or ids of at least as many.
    """
    if Form.of(packed) == form:
        return packed
    if not form.in_bits:
        return F.pad(packed, (0, form.width - packed.shape[-1]))
    bits = packed.new_zeros((*packed.shape[:-1], form.width), dtype=torch.uint8)
    for number, sets in enumerate(packed):  # as bools, all of them are eight times as large
        bits[number] = pack_mask(unpack_mask(sets, _BITS * form.width))
    return bits
