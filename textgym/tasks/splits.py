"""What the tasks have in common: examples over three splits, none of them twice."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from textgym.data.prose import key_of
from textgym.data.split import assign, position

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from textgym.types import Example, Task

__all__ = ["SHARES", "SPLITS", "check_split", "spread"]

SHARES: Mapping[str, float] = MappingProxyType({"train": 0.8, "validation": 0.1, "test": 0.1})
"""The share of each split: prompts to learn from, to choose by, and that only a report sees."""

SPLITS = tuple(SHARES)
"""Their names."""


def spread(
    examples: Iterable[Example],
    key: Callable[[Example], str] = lambda example: key_of(example.prompt),
) -> Mapping[str, tuple[Example, ...]]:
    """Spreads examples over the splits by a hash of their text, shuffled by it too.

    Where an example goes depends on its text alone, so none moves when others come or go. Of those
    with one key, the first is kept.

    Args:
        examples: The examples.
        key: Returns the text that two examples must not share.
    """
    kept: dict[str, Example] = {}
    for example in examples:
        kept.setdefault(key(example), example)
    splits: dict[str, list[Example]] = {split: [] for split in SPLITS}
    for text in sorted(kept, key=position):
        splits[assign(text, SHARES)].append(kept[text])
    return {split: tuple(chosen) for split, chosen in splits.items()}


def check_split(task: Task, split: str) -> None:
    """Refuses a split that a task does not have.

    Raises:
        ValueError: If ``split`` is unknown; the message lists the known ones.
    """
    if split not in task.splits:
        raise ValueError(f"unknown split {split!r} of {task.name}; known: {', '.join(task.splits)}")
