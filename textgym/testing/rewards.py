"""The contract of a reward, checked on anybody's."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

from textgym.rewards.checking import as_float
from textgym.testing.findings import require, run_checks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from textgym.types import RewardFunction

__all__ = ["check_reward_function"]

_TOLERANCE = 1e-4
_TEXTS = (
    ("The film", " was a delight from beginning to end."),
    ("The film", " was dull, and I left."),
    ("", ""),
    ("I", ""),
    ("", " !?\n\t\0"),
    ("Une œuvre", " étrange 🎬 映画"),
    ("Long", " words" * 200),
)


def check_reward_function(
    reward: RewardFunction, *, columns: Mapping[str, Any] | None = None
) -> None:
    """Checks that a reward keeps the contract of ``textgym.types.RewardFunction``.

    What is checked, on texts that include empty, foreign and long ones: it accepts columns that it
    does not know; it returns one finite float per completion; it repeats itself; a text's score
    does not depend on its batch (to 1e-4); it leaves its arguments alone.

    Args:
        reward: The reward.
        columns: One value for each column that it needs; every text gets the same.

    Raises:
        AssertionError: If it breaks the contract; the message lists how.
    """
    given = {**(columns or {}), "a_column_that_nobody_knows": 0}
    prompts, completions = [prompt for prompt, _ in _TEXTS], [text for _, text in _TEXTS]

    def score(rows: slice) -> list[float]:
        arguments = prompts[rows], completions[rows]
        batch = {key: [value] * len(arguments[0]) for key, value in given.items()}
        before = copy.deepcopy((arguments, batch))
        scores = reward(*arguments, **batch)
        require((arguments, batch) == before, "it changes its arguments")
        require(
            len(scores) == len(arguments[0]),
            f"{len(scores)} scores for {len(arguments[0])} completions",
        )
        values = [as_float(value) for value in scores]
        for text, value, given_back in zip(arguments[1], values, scores, strict=True):
            require(math.isfinite(value), f"the score of {text[:40]!r} is {given_back!r}")
        return values

    def check_repeats() -> None:
        require(score(slice(None)) == score(slice(None)), "two equal calls differ")

    def check_batches() -> None:
        together = score(slice(None))
        for row, (prompt, text) in enumerate(_TEXTS):
            alone = score(slice(row, row + 1))[0]
            require(
                abs(alone - together[row]) <= _TOLERANCE,
                f"{prompt + text[:40]!r} scores {alone} alone and {together[row]} in a batch",
            )

    run_checks(getattr(reward, "__name__", type(reward).__name__), [check_repeats, check_batches])
