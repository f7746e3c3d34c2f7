"""The steps of a completion: where it is cut, where its parts stand in a row of ids, and their sum.

Pure: texts and numbers in, texts and numbers out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reward_models.reading.scoring import Reader

__all__ = ["REDUCTIONS", "Reduction", "lay_out", "reduce_steps", "split_steps"]

Reduction = Literal["last", "sum", "min", "mean"]
"""How the scores of steps become one."""

REDUCTIONS: tuple[Reduction, ...] = ("last", "sum", "min", "mean")


def split_steps(completion: str, delimiter: str | None) -> list[str]:
    """Cuts a text behind each delimiter; the pieces joined are the text, and none is empty."""
    if delimiter is None:
        return [completion] if completion else []
    *ended, rest = completion.split(delimiter)
    return [*(piece + delimiter for piece in ended), *([rest] if rest else [])]


def lay_out(
    tokenizer: Reader,
    prompts: Sequence[str],
    steps: Sequence[Sequence[str]],
    max_tokens: int,
    *,
    every_token: bool,
) -> tuple[list[list[int]], list[list[int]]]:
    """Encodes prompts and steps into rows, and says where each step ends.

    Args:
        tokenizer: What the model reads by; its special ids stand around each row.
        prompts: The prompts' texts, ``(N,)``.
        steps: The steps of each completion, ``(N,)`` lists of texts.
        max_tokens: The most ids of a row; of a longer one the end is kept.
        every_token: Whether each of a step's tokens is a step.

    Returns:
        The rows, and for each the places of its steps' last tokens, as far as they are read.
    """
    head = list(getattr(tokenizer, "head", (tokenizer.bos_id,)))
    tail = list(getattr(tokenizer, "tail", ()))
    kept = max(0, max_tokens - len(head) - len(tail))
    encoded = iter(tokenizer.encode_batch([step for part in steps for step in part]))
    rows, places = [], []
    for ids, part in zip(tokenizer.encode_batch(prompts), steps, strict=True):
        text, ends = list(ids), list[int]()
        for _ in part:
            step = next(encoded)
            text += step
            first = len(text) - (len(step) if every_token else min(len(step), 1))
            ends += range(first, len(text))
        cut = max(0, len(text) - kept)
        rows.append([*head, *text[cut:], *tail])
        places.append([len(head) + end - cut for end in ends if end >= cut])
    return rows, places


def reduce_steps(scores: Sequence[float], how: Reduction) -> float:
    """Makes one score of steps' scores; of none it is 0."""
    if not scores:
        return 0.0
    if how == "last":
        return scores[-1]
    if how == "min":
        return min(scores)
    return sum(scores) / (len(scores) if how == "mean" else 1)
