"""A reward that remembers: a text that comes again is not scored again.

Worth its memory where texts repeat: finished texts of small action spaces, prefixes in edits, the
same completions measured after every epoch. Within one call, learned rewards run equal texts once
anyway.

Simplification: the least recently used score goes first; nothing is kept on disk.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textgym.types import RewardFunction

__all__ = ["CachedReward"]


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
            reward: One that reads no columns: a text's score must depend on prompt and completion
                alone.
            size: How many scores are remembered, at least 1.
        """
        if size < 1:
            raise ValueError(f"a cache of {size} scores remembers nothing; give 1 or more")
        self.reward = reward
        self.size = size
        self.hits = 0
        self._scores: OrderedDict[tuple[str, str], float] = OrderedDict()

    def __call__(
        self,
        prompts: Sequence[str],
        completions: Sequence[str],
        **columns: Sequence[Any],  # noqa: ARG002  what is remembered does not depend on them
    ) -> list[float]:
        """Scores each completion, ``(N,)``; the reward sees each new text once."""
        pairs = list(zip(prompts, completions, strict=True))
        known = {pair: self._scores[pair] for pair in pairs if pair in self._scores}
        new = list(dict.fromkeys(pair for pair in pairs if pair not in known))
        self.hits += len(pairs) - len(new)
        if new:
            try:
                scores = self.reward([prompt for prompt, _ in new], [text for _, text in new])
            except Exception as error:
                row: Any = getattr(error, "row", None)
                if isinstance(row, int) and 0 <= row < len(new):  # of what was asked about
                    error.row = pairs.index(new[row])  # type: ignore[attr-defined] # it has one
                raise
            known.update(zip(new, map(float, scores), strict=True))
        for pair in pairs:
            self._scores[pair] = known[pair]
            self._scores.move_to_end(pair)
        while len(self._scores) > self.size:
            self._scores.popitem(last=False)
        return [known[pair] for pair in pairs]
