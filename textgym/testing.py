"""Contract checks that anybody can run on their own vector environment, reward or task.

Each check raises one ``AssertionError`` that lists everything it found. They are black boxes: they
use the public interface alone. ``check_vector_env`` is for any ``gymnasium.vector.VectorEnv``,
with numpy or torch, and knows nothing of texts.
"""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

from textgym.findings import require, run_checks
from textgym.tokenizers import load_tokenizer
from textgym.types import Task, Tokenizer
from textgym.vector_checks import check_vector_env

if TYPE_CHECKING:
    from collections.abc import Mapping

    from textgym.types import Example, RewardFunction

__all__ = ["check_reward_function", "check_task", "check_vector_env"]

_EXAMPLES = 200
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
        values = [float(value) for value in scores]
        for text, value in zip(arguments[1], values, strict=True):
            require(math.isfinite(value), f"the score of {text[:40]!r} is {value}")
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


def check_task(task: Task, tokenizer: Tokenizer | None = None) -> None:
    """Checks that a task keeps the contract of ``textgym.types.Task``.

    What is checked: names and sizes; that every split has examples with the same columns, in the
    same order each time; that no example is in two splits; that an unknown split is refused by
    name; that the tokenizer gives prompts back and uses no forbidden id for them.

    Args:
        task: The task.
        tokenizer: The tokenizer to use; ``None`` for the task's own.

    Raises:
        AssertionError: If it breaks the contract; the message lists how.
    """
    require(isinstance(task, Task), f"{type(task).__name__} lacks an attribute of Task")
    chosen = load_tokenizer(task.tokenizer) if tokenizer is None else tokenizer
    run_checks(
        task.name,
        [
            lambda: _check_task_values(task),
            lambda: _check_splits(task),
            lambda: _check_unknown_split(task),
            lambda: _check_prompts(task, chosen),
        ],
    )


def _check_task_values(task: Task) -> None:
    for name in ("name", "tokenizer", "reward"):
        require(bool(getattr(task, name)), f"{name} is empty")
    for name in ("prompt_tokens", "completion_tokens"):
        require(getattr(task, name) >= 1, f"{name} is {getattr(task, name)}")
    require(bool(task.splits), "there are no splits")
    require(len(set(task.splits)) == len(task.splits), f"a split is named twice: {task.splits}")


def _check_splits(task: Task) -> None:
    homes: dict[str, str] = {}
    for split in task.splits:
        examples = task.examples(split)
        require(len(examples) > 0, f"split {split!r} has no examples")
        require(list(examples) == list(task.examples(split)), f"split {split!r} changes its order")
        for example in examples:
            require(
                example.columns.keys() == examples[0].columns.keys(),
                f"split {split!r}: {example.prompt!r} has other columns than the first example",
            )
            home = homes.setdefault(_identity(example), split)
            require(home == split, f"{example.prompt!r} is in {home!r} and in {split!r}")
        taken = {"prompts", "completions"} & examples[0].columns.keys()
        require(not taken, f"the columns {taken} hide a reward's own arguments")


def _check_unknown_split(task: Task) -> None:
    try:
        task.examples("a split that nobody knows")
    except ValueError as error:
        listed = all(split in str(error) for split in task.splits)
        require(listed, f"the error for an unknown split does not list the known: {error}")
    else:
        require(condition=False, message="an unknown split is no ValueError")


def _check_prompts(task: Task, tokenizer: Tokenizer) -> None:
    require(isinstance(tokenizer, Tokenizer), f"{tokenizer!r} lacks an attribute of Tokenizer")
    special = {*tokenizer.forbidden_ids, tokenizer.pad_id, tokenizer.eos_id}
    for split in task.splits:
        prompts = [example.prompt for example in task.examples(split)[:_EXAMPLES]]
        rows = tokenizer.encode_batch(prompts)
        for prompt, ids, text in zip(prompts, rows, tokenizer.decode_batch(rows), strict=True):
            require(text == prompt, f"the tokenizer gives {prompt!r} back as {text!r}")
            require(not special & set(ids), f"{prompt!r} has special ids: {ids}")
            in_range = all(0 <= token < tokenizer.vocab_size for token in ids)
            require(in_range, f"{prompt!r} has ids outside the vocabulary: {ids}")


def _identity(example: Example) -> str:
    return repr((example.prompt, sorted(example.columns.items())))
