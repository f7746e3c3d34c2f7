"""PURE: rows that hang together by what they share, such as comparisons that share a text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

__all__ = ["connected"]


def connected(units: Sequence[Iterable[Hashable]]) -> list[int]:
    """Says which rows hang together: those that share a unit, and those that share one with them.

    Args:
        units: The units of each row, at least one, ``(N,)``.

    Returns:
        A number for each row, ``(N,)``, the same where rows hang together.
    """
    above: dict[Hashable, Hashable] = {}
    firsts: list[Hashable] = []

    def top(unit: Hashable) -> Hashable:
        above.setdefault(unit, unit)
        while above[unit] != unit:
            above[unit] = above[above[unit]]  # shortens the way for the next one who asks
            unit = above[unit]
        return unit

    for row in units:
        first, *others = map(top, row)
        for other in others:
            above[top(other)] = top(first)
        firsts.append(first)
    number: dict[Hashable, int] = {}
    return [number.setdefault(top(first), len(number)) for first in firsts]
