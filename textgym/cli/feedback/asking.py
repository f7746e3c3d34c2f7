"""Answers for a command that needs some: from simulated annotators at once, or from people.

Who waits for people asks the store every few seconds, and sleeps in between.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from reward_models.preferences import persona
from textgym.cli.parsing import CommandError
from textgym.cli.reward.naming import named_reward

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from reward_models.preferences import PreferenceStore, SimulatedAnnotator
    from textgym.types import RewardFunction

__all__ = ["answer_all", "make_annotators", "missing_answers", "truth_of", "wait_for_people"]

_SECONDS = 2.0
_AT_ONCE = 256


def truth_of(name: str | None) -> RewardFunction | None:
    """The hidden score that simulated annotators go by, by the name of a reward; None for none.

    Raises:
        CommandError: If there is no such reward, or it reads columns that nobody has.
    """
    if name is None:
        return None
    try:
        return named_reward(name, "cpu")
    except (CommandError, FileNotFoundError) as error:
        raise CommandError(f"--truth: {' '.join(str(error).split())}") from error


def make_annotators(
    lines: Sequence[str], truth: RewardFunction | None, seed: int
) -> list[SimulatedAnnotator]:
    """Makes simulated annotators, one a line; none for people.

    Args:
        lines: As ``persona`` reads them.
        truth: The hidden score.
        seed: Of the first; the next ones have the next.

    Raises:
        CommandError: If a line is wrong, or there is nothing that they could go by.
    """
    if lines and truth is None:
        raise CommandError("--annotators need --truth, the reward that they secretly go by")
    try:
        return [
            persona(line, truth, seed + number)
            for number, line in enumerate(lines)
            if truth is not None
        ]
    except ValueError as error:
        raise CommandError(f"--annotators: {error}") from error


def answer_all(
    store: PreferenceStore, annotators: Sequence[SimulatedAnnotator], split: str | None = None
) -> int:
    """Lets simulated annotators answer what each of them has not answered yet.

    Returns:
        How many answers are new.
    """
    number = 0
    for annotator in annotators:
        pending = store.pending(annotator.name, split)
        done = sum(answer.annotator == annotator.name for answer in store.answers())
        for start in range(0, len(pending), _AT_ONCE):
            answers = annotator.answer(pending[start : start + _AT_ONCE], done + start)
            number += store.record_answers(answers)
    return number


def missing_answers(store: PreferenceStore, split: str | None, each: int) -> int:
    """How many answers of different people the pairs of a split are short of, skips not counted."""
    people = {
        (answer.pair_id, answer.annotator)
        for answer in store.answers(split)
        if answer.answer != "skip"
    }
    given = Counter(pair_id for pair_id, _ in people)
    return sum(max(0, each - given[pair.pair_id]) for pair in store.pairs(split))


def wait_for_people(
    store: PreferenceStore, split: str, each: int, how: str, console: Console
) -> None:
    """Waits until each pair of a split has its answers.

    Args:
        store: Where they come in.
        split: Of the pairs.
        each: How many people answer each pair.
        how: How they do that, in a sentence.
        console: Where progress is shown.
    """
    from textgym.cli.console import bar, say

    left = missing_answers(store, split, each)
    if not left:
        return
    total = each * len(store.pairs(split))
    say(console, how)
    with bar("Waiting for answers", console) as shown:
        while left:
            shown.update(total - left, total, "Ctrl-C stops, and nothing is lost")
            time.sleep(_SECONDS)
            left = missing_answers(store, split, each)
