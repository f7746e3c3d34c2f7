"""The best that any agent can do on a small task, by going through every text it could write.

Appending tokens makes a tree of finite depth: no text comes back to an earlier one. Value iteration
then converges in one sweep from the longest texts to the empty one, and is exact. It is for toys:
the number of texts is about the number of legal tokens to the power of the allowance.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from textgym.proposing.proposals import ordinary_ids
from textgym.rewards import resolve
from textgym.tokenizers import load_tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from textgym.types import Example, RewardFunction, Task, Tokenizer

__all__ = ["MOST_TEXTS", "mean", "optimal_return", "optimal_values", "uniform_return"]

MOST_TEXTS = 500_000
"""How many texts are gone through at most; a task with more is refused."""


def optimal_return(task: Task, split: str = "train") -> float:
    """Returns what the best policy scores, in the mean over the examples of a split.

    Args:
        task: A small task.
        split: One of its splits.

    Raises:
        ValueError: If the split is unknown, or the task has more than ``MOST_TEXTS`` texts.
    """
    return _mean_return(task, split, max)


def uniform_return(task: Task, split: str = "train") -> float:
    """Returns what a policy scores in expectation that is uniform over the legal tokens.

    It is the same sweep with a mean in the place of the maximum. See ``optimal_return``.
    """
    return _mean_return(task, split, mean)


def optimal_values(
    task: Task,
    example: Example,
    *,
    backup: Callable[[Sequence[float]], float] = max,
) -> Mapping[tuple[int, ...], float]:
    """Returns the value of every unfinished text of one example: the best score it can end with.

    Args:
        task: A small task; its own tokenizer and reward are used. The action is to append.
        example: One of its examples.
        backup: Makes a text's value of the values of what its legal tokens lead to, in the order
            of their ids; ``max`` for the best policy.

    Returns:
        The values by the tokens that have been written, ``()`` being the beginning. Only texts
        that still have an action are in it.

    Raises:
        ValueError: If the task has more than ``MOST_TEXTS`` texts.
        RewardError: If the reward fails; see ``textgym.rewards``.
    """
    tokenizer, reward = load_tokenizer(task.tokenizer), resolve(task.reward)
    letters = ordinary_ids(tokenizer).tolist()
    levels = _levels(task, letters)
    texts = list(itertools.chain.from_iterable(levels))
    scores = dict(zip(texts, _score(reward, tokenizer, example, texts), strict=True))
    actions = sorted([*letters, tokenizer.eos_id])
    # A text of the whole allowance is finished; its value is its score.
    values = {text: scores[text] for text in levels[-1]}
    for text in itertools.chain.from_iterable(reversed(levels[:-1])):
        values[text] = backup(
            [
                scores[text] if token == tokenizer.eos_id else values[(*text, token)]
                for token in actions
            ]
        )
    return {text: value for text, value in values.items() if len(text) < task.completion_tokens}


def mean(values: Sequence[float]) -> float:
    """Returns the mean, the backup of a policy that is uniform."""
    return sum(values) / len(values)


def _mean_return(task: Task, split: str, backup: Callable[[Sequence[float]], float]) -> float:
    return mean(
        [optimal_values(task, example, backup=backup)[()] for example in task.examples(split)]
    )


def _levels(task: Task, letters: Sequence[int]) -> list[list[tuple[int, ...]]]:
    number = sum(len(letters) ** length for length in range(task.completion_tokens + 1))
    if number > MOST_TEXTS:
        raise ValueError(
            f"{task.name} has {number} texts of up to {task.completion_tokens} of {len(letters)} "
            f"tokens, more than {MOST_TEXTS}; use a smaller allowance or alphabet"
        )
    return [
        list(itertools.product(letters, repeat=length))
        for length in range(task.completion_tokens + 1)
    ]


def _score(
    reward: RewardFunction, tokenizer: Tokenizer, example: Example, texts: Iterable[tuple[int, ...]]
) -> Sequence[float]:
    completions = tokenizer.decode_batch(list(texts))
    columns = {key: [value] * len(completions) for key, value in example.columns.items()}
    return reward([example.prompt] * len(completions), completions, **columns)
