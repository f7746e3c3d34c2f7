"""The one division of preferences into those to learn from and those held out.

Files, stores, reward cards, learning curves and DPO's pairs are all divided here. What must not be
on both sides is what a model could remember: an item's prompt, or where there is no prompt each of
its texts. Of prompts that are what a row's texts begin with, those that begin alike are one.

Texts without prompts that are compared with each other, and with no others, stay together as long
as they are few. Where they are many, as in a tournament, each text has a side of its own, and a
comparison across the sides is on neither.

Simplifications: two prompts of a column that are parts of one conversation are two; two texts that
differ in a space are two as well.
"""

from __future__ import annotations

import bisect
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from reward_models.preferences.pairs import Preference
from reward_models.preferences.rankings import completions_of
from textgym.data.split import position
from textgym.statistics.linked import connected

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from reward_models.preferences.rankings import Item

__all__ = ["Division", "divide", "divided_by", "remarks"]

ItemT = TypeVar("ItemT", bound="Item")

_TOGETHER = 0.1  # the largest share of all texts that stay together because they were compared
_FEW = 100  # held-out items whose accuracy is known to within ten points
_MIXED = "of which one text fell to what is learned from and another to what is held out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Division(Generic[ItemT]):
    """Items on two sides that share no prompt, and without prompts no text.

    Attributes:
        learned: What to learn from, in the order that it had.
        held_out: What to measure on, in the order that it had.
        dropped: How many are on neither side, by the reason; reasons without one are not there.
    """

    learned: Sequence[ItemT]
    held_out: Sequence[ItemT]
    dropped: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Key:
    """What must not be on both sides: a prompt, or a text that has none."""

    text: str
    is_prompt: bool


def divide(
    items: Sequence[ItemT],
    held_out: Sequence[ItemT] = (),
    share: float = 0.0,
    seed: int = 0,
    purpose: str = "",
) -> Division[ItemT]:
    """Divides as the data say, or where they do not say, by hashes of prompts or of texts.

    Args:
        items: What to learn from, or to divide.
        held_out: What the data keep apart, such as rows of another split; those whose prompt, or
            without one any of whose texts, is among the ``items`` are dropped.
        share: The share of the prompts, or of the texts without one, that is held out, in [0, 1),
            where ``held_out`` is empty or all of it is dropped. Where texts are divided one by one,
            about the square of it is the share of pairs that are held out.
        seed: Another seed is another division.
        purpose: What is divided for. Two divisions of one seed, of which the second is of what the
            first held out, need two purposes: else the second one puts it all on one side.

    Raises:
        ValueError: If the share is used and impossible, or leaves nothing to learn from.
    """
    roots = _roots([*items, *held_out])
    keys = [_keys(item, roots) for item in items]
    known = {key for some in keys for key in some}
    apart: list[ItemT] = []
    dropped: Counter[str] = Counter()
    for item in held_out:
        shared = [key for key in _keys(item, roots) if key in known]
        if shared:
            what = "their prompt" if shared[0].is_prompt else "a text of theirs"
            dropped[f"held out, but {what} is learned from"] += 1
        else:
            apart.append(item)
    if apart:
        return Division(learned=list(items), held_out=apart, dropped=dict(dropped))
    if not 0 <= share < 1:
        raise ValueError(f"the share that is held out is {share}, but it lies in [0, 1)")
    names = _names(keys)
    away = {key for key, name in names.items() if position(f"{purpose}{seed}/{name}") < share}
    learned: list[ItemT] = []
    for item, its in zip(items, keys, strict=True):
        number = sum(key in away for key in its)
        if 0 < number < len(its):
            dropped[_MIXED] += 1
        else:
            (apart if number else learned).append(item)
    if not learned:
        raise ValueError(_nothing(items, dropped))
    return Division(learned=learned, held_out=apart, dropped=dict(dropped))


def remarks(
    learned: Sequence[Item], held_out: Sequence[Item], dropped: Mapping[str, int]
) -> list[str]:
    """Says what a division leaves to be known about it, a line each.

    Args:
        learned: What is learned from.
        held_out: What is measured on.
        dropped: What is on neither side, by the reason.

    Returns:
        How many were dropped; how many of those held out share a text with what is learned from,
        whatever the prompts; and whether too few are left to measure on.
    """
    lines = [f"left out: {number} {reason}" for reason, number in dropped.items()]
    if held_out:
        known = {text for item in learned for text in completions_of(item)}
        shared = sum(not known.isdisjoint(completions_of(item)) for item in held_out)
        kind = type(held_out[0]).__name__.lower()
        noun = "pairs" if isinstance(held_out[0], Preference) else f"{kind}s"
        lines.append(
            f"{shared:,} of {len(held_out):,} held-out {noun} share a text with what is learned "
            "from"
        )
    if dropped.get(_MIXED) and len(held_out) < _FEW:
        lines.append(
            f"{len(held_out)} comparisons have two texts that are held out, too few to measure "
            "much; hold out a larger share of the texts, or give a column prompt or split"
        )
    return lines


def divided_by(items: Sequence[Item]) -> list[list[str]]:
    """Returns the prompts by which each item is divided, named or begun with; of texts, none."""
    roots = _roots(items)
    return [[key.text for key in _keys(item, roots) if key.is_prompt] for item in items]


def _roots(items: Iterable[Item]) -> list[str]:
    """The implicit prompts with which no other one begins, in the order of the alphabet.

    Whatever begins with one of them begins with no other one.
    """
    prompts = {i.prompt for i in items if isinstance(i, Preference) and i.implicit and i.prompt}
    roots: list[str] = []
    for prompt in sorted(prompts):  # what begins with a prompt comes behind it, in one piece
        if not (roots and prompt.startswith(roots[-1])):
            roots.append(prompt)
    return roots


def _keys(item: Item, roots: Sequence[str]) -> tuple[_Key, ...]:
    """What of an item must not be on both sides, each once."""
    if not (isinstance(item, Preference) and item.implicit):
        if item.prompt:
            return (_Key(item.prompt, is_prompt=True),)
        return tuple(_Key(text, is_prompt=False) for text in dict.fromkeys(completions_of(item)))
    begins = [_root(item.prompt + text, roots) for text in completions_of(item)]
    found = zip(begins, completions_of(item), strict=True)
    return tuple(dict.fromkeys(_Key(root or text, is_prompt=bool(root)) for root, text in found))


def _root(text: str, roots: Sequence[str]) -> str:
    """The implicit prompt that a text begins with; empty if with none."""
    place = bisect.bisect_right(roots, text)
    return roots[place - 1] if place and text.startswith(roots[place - 1]) else ""


def _names(keys: Sequence[Sequence[_Key]]) -> dict[_Key, str]:
    """By each key, what is hashed for it: a prompt itself, a text alone or with those it met."""
    groups: dict[int, dict[_Key, None]] = {}
    widest: Counter[int] = Counter()
    for number, its in zip(connected(keys), keys, strict=True):
        groups.setdefault(number, {}).update(dict.fromkeys(its))
        widest[number] = max(widest[number], len(its))
    texts = sum(not key.is_prompt for group in groups.values() for key in group)
    names: dict[_Key, str] = {}
    for number, group in groups.items():
        # The texts of one item stay together, however few there are in all.
        together = len(group) <= max(widest[number], _TOGETHER * texts)
        if together and not any(key.is_prompt for key in group):
            names |= dict.fromkeys(group, json.dumps(sorted(key.text for key in group)))
        else:
            names |= {k: k.text if k.is_prompt else json.dumps([k.text]) for k in group}
    return names


def _nothing(items: Sequence[Item], dropped: Mapping[str, int]) -> str:
    if dropped.get(_MIXED):
        return (
            f"none of {len(items)} comparisons has both texts among those to learn from: hold out "
            "a smaller share, or give a column prompt or split"
        )
    return (
        f"all {len(items)} comparisons have one prompt, which fell to those held out: set the "
        "share to 0, or give more prompts"
    )
