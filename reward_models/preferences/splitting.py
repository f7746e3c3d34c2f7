"""The one division of preferences into those to learn from and those held out.

Files, stores, reward cards, learning curves and DPO's pairs are all divided here. What must not be
on both sides is an item's group: its prompt, or where there is none its texts, whatever their
order.

Simplifications: two prompts that are parts of one conversation are two groups; two items without a
prompt that share one text only are as well.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from reward_models.preferences.rankings import completions_of
from textgym.data.split import position

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reward_models.preferences.rankings import Item

__all__ = ["Division", "divide"]

ItemT = TypeVar("ItemT", bound="Item")


@dataclass(frozen=True, slots=True, kw_only=True)
class Division(Generic[ItemT]):
    """Items on two sides that share no group.

    Attributes:
        learned: What to learn from, in the order that it had.
        held_out: What to measure on, in the order that it had.
        dropped: How many are on neither side, by the reason; reasons without one are not there.
    """

    learned: Sequence[ItemT]
    held_out: Sequence[ItemT]
    dropped: Mapping[str, int] = field(default_factory=dict)


def divide(
    items: Sequence[ItemT], held_out: Sequence[ItemT] = (), share: float = 0.0, seed: int = 0
) -> Division[ItemT]:
    """Divides as the data say, or where they do not say, by a hash of the group.

    Args:
        items: What to learn from, or to divide.
        held_out: What the data keep apart, such as rows of another split; those whose group is
            among the ``items`` are dropped.
        share: The share of the groups that is held out, in [0, 1), where ``held_out`` is empty or
            all of it is dropped.
        seed: Another seed is another division.

    Raises:
        ValueError: If the share is used and impossible, or leaves nothing to learn from.
    """
    known = {_group(item) for item in items} if held_out else set()
    apart = [item for item in held_out if _group(item) not in known]
    dropped = Counter(_reason(item) for item in held_out if _group(item) in known)
    if apart:
        return Division(learned=list(items), held_out=apart, dropped=dict(dropped))
    if not 0 <= share < 1:
        raise ValueError(f"the share that is held out is {share}, but it lies in [0, 1)")
    learned: list[ItemT] = []
    for item in items:
        (apart if position(f"{seed}/{_group(item)}") < share else learned).append(item)
    if not learned:
        raise ValueError(
            f"all {len(items)} comparisons have one prompt, which fell to those held out: set the "
            "share to 0, or give more prompts"
        )
    return Division(learned=learned, held_out=apart, dropped=dict(dropped))


def _group(item: Item) -> str:
    """Names what must not be on both sides."""
    return item.prompt or json.dumps(sorted(completions_of(item)))


def _reason(item: Item) -> str:
    return f"held out, but their {'prompt is' if item.prompt else 'texts are'} learned from"
