"""A reward that remembers: a text that comes again is not scored again.

Worth its memory where texts repeat: finished texts of small action spaces, prefixes in edits, the
same completions measured after every epoch. Within one call, learned rewards run equal texts once
anyway.

Simplifications: the least recently used score goes first; nothing is kept on disk. Columns are
compared as pickle writes them, so equal ones of an unusual type may be scored twice.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from textgym.types import RewardFunction

__all__ = ["CachedReward"]

_Key = tuple[str, str, object]


class CachedReward:
    """A reward function with a memory of its last scores.

    Attributes:
        reward: The reward that is asked about texts that are not remembered.
        size: How many scores are remembered.
        hits: How many scores came from memory.
    """

    def __init__(self, reward: RewardFunction, size: int) -> None:
        """Stands around a reward.

        Args:
            reward: One whose scores hang on prompt, completion and columns alone.
            size: How many scores are remembered, at least 1.
        """
        if size < 1:
            raise ValueError(f"a cache of {size} scores remembers nothing; give 1 or more")
        self.reward = reward
        self.size = size
        self.hits = 0
        self._scores: OrderedDict[_Key, float] = OrderedDict()

    def __call__(
        self,
        prompts: Sequence[str],
        completions: Sequence[str],
        **columns: Sequence[Any],
    ) -> list[float]:
        """Scores each completion, ``(N,)``; the reward sees each new text once, with columns."""
        keys = _keys(prompts, completions, columns)
        known = {key: self._scores[key] for key in keys if key in self._scores}
        rows: dict[_Key, int] = {}
        for row, key in enumerate(keys):
            if key not in known:
                rows.setdefault(key, row)
        self.hits += len(keys) - len(rows)
        if rows:
            known.update(zip(rows, self._ask(prompts, completions, columns, rows), strict=True))
        for key in keys:
            self._scores[key] = known[key]
            self._scores.move_to_end(key)
        while len(self._scores) > self.size:
            self._scores.popitem(last=False)
        return [known[key] for key in keys]

    def _ask(
        self,
        prompts: Sequence[str],
        completions: Sequence[str],
        columns: Mapping[str, Sequence[Any]],
        rows: Mapping[_Key, int],
    ) -> list[float]:
        """Has some rows scored; an error that names one of them names its place in the batch."""
        places = list(rows.values())
        taken = {name: [values[row] for row in places] for name, values in columns.items()}
        try:
            scores = self.reward(
                [prompts[row] for row in places], [completions[row] for row in places], **taken
            )
        except Exception as error:
            row: Any = getattr(error, "row", None)
            if isinstance(row, int) and 0 <= row < len(places):  # of what was asked about
                error.row = places[row]  # type: ignore[attr-defined] # it has one
            raise
        return [float(score) for score in scores]


def _keys(
    prompts: Sequence[str], completions: Sequence[str], columns: Mapping[str, Sequence[Any]]
) -> list[_Key]:
    """What decides each row's score."""
    if not columns:
        return [(*pair, None) for pair in zip(prompts, completions, strict=True)]
    names = sorted(columns)
    values = zip(*(columns[name] for name in names), strict=True)
    return [
        (prompt, completion, _written(names, row))
        for prompt, completion, row in zip(prompts, completions, values, strict=True)
    ]


def _written(names: Sequence[str], values: tuple[Any, ...]) -> object:
    """A row's columns as something to compare; what cannot be written is like nothing else."""
    try:
        return pickle.dumps((names, values))
    except (pickle.PicklingError, TypeError, AttributeError):
        return object()
