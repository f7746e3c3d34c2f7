"""Which pool a text belongs to: decided by the text alone, so no text can be in two of them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["assign", "position"]

_ROUNDING = 1e-9


def position(text: str) -> float:
    """Maps a text to a fixed, uniformly distributed place in ``[0, 1)``.

    The same text has the same place on every machine and in every Python. Sorting by it shuffles.
    """
    digest = hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest()
    # 53 bits are what a float holds; more could round up to 1.
    return (int.from_bytes(digest, "big") >> 11) / (1 << 53)


def assign(text: str, fractions: Mapping[str, float]) -> str:
    """Returns the name of the pool that ``text`` belongs to.

    Args:
        text: Any text.
        fractions: The share of each pool, in a fixed order; they add up to 1.

    Raises:
        ValueError: If the shares are negative or do not add up to 1.
    """
    if min(fractions.values(), default=0.0) < 0 or abs(sum(fractions.values()) - 1) > _ROUNDING:
        raise ValueError(f"the shares of the pools must add up to 1, got {dict(fractions)}")
    place, edge, name = position(text), 0.0, ""
    for name, fraction in fractions.items():  # noqa: B007 - rounding may leave the last edge below 1
        edge += fraction
        if place < edge:
            break
    return name
