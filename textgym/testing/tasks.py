"""The contract of a task, checked on anybody's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textgym.testing.findings import require, run_checks
from textgym.tokenizers import load_tokenizer
from textgym.types import Task, Tokenizer

if TYPE_CHECKING:
    from textgym.types import Example

__all__ = ["check_task"]

_EXAMPLES = 200


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
