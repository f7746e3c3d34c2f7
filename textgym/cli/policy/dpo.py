"""``textgym train dpo``: from people's answers, or from texts that the environment ranks.

With ``--data`` the pairs are read once and learned from (offline), and the environment gives the
tokenizer and the lengths of texts. Without, two completions of each prompt are written in every
iteration and the environment's score says which is better (online).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from agents.dpo import DPO, DPOConfig
from reward_models.preferences import Preference
from textgym.cli.parsing import CommandError
from textgym.cli.policy.running import Training, run_training
from textgym.cli.reward.data import DIVISION, REVIEWS, Votes, load_data

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from agents.learner import Learner

__all__ = ["DPOTraining", "train_dpo"]

_Triple = tuple[str, str, str]
_TIE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class DPOTraining(Training):
    """Train by direct preference optimisation; the same command goes on after a stop."""

    data: str | None = None
    """Answers to learn from: a file of comparisons (FORMATS.md lists what is read), a store
    (.sqlite), or datasets:NAME. None lets the policy write, and the environment's score
    choose. What was not written by the policy teaches it less, see LEARNERS.md."""
    held_out: float = 0.1
    """The share of the prompts, or without them of the texts, whose answers are kept apart to
    measure on at the end, where the data do not say which. More measures more precisely and leaves
    less to learn from."""
    votes: Votes = "majority"
    """Of several people's answers to a pair: what most said, their shares as soft labels (ties
    count half), or each answer by itself."""
    columns: str | None = None
    """Which of a file's columns are which, where its format is unknown, as in
    prompt=question,chosen=answer_1,rejected=answer_2."""
    skip_bad_rows: bool = False
    """Leave rows of a file out that cannot be read, and say how many, instead of stopping at the
    first."""
    dpo: DPOConfig = field(default_factory=DPOConfig)
    """The algorithm's settings."""


def train_dpo(config: DPOTraining, console: Console | None = None) -> None:
    """Trains by DPO; see ``run_training``.

    Raises:
        CommandError: If the data are no pairs.
        FileNotFoundError: If there are none.
    """
    train, held_out, notes = ([], [], ()) if config.data is None else _read(config)
    pairs = [_triple(pair) for pair in train] or None
    probabilities = [pair.probability for pair in train] or None

    def measured(learner: Learner) -> str:
        if not held_out:
            return "\n".join(notes)
        accuracy, number = cast("DPO", learner).accuracy([_triple(pair) for pair in held_out])
        said = (
            f"of {number} held-out pairs, the policy's log-probabilities tell the chosen text in "
            f"{accuracy:.1%}"
        )
        return "\n".join([said, *notes])

    run_training(
        config,
        lambda policy, envs: DPO(
            policy, envs, config.dpo, pairs=pairs, probabilities=probabilities
        ),
        console,
        measured,
    )


def _triple(pair: Preference) -> _Triple:
    return pair.prompt, pair.chosen, pair.rejected


def _read(
    config: DPOTraining,
) -> tuple[Sequence[Preference], Sequence[Preference], Sequence[str]]:
    """The pairs to learn from, those to measure on, and what is to be said about them.

    A tie is learned from as half an answer for either text, and measures nothing.
    """
    name = str(config.data)
    if name == REVIEWS:
        raise CommandError(f"{REVIEWS} are pairs of whole reviews, not of completions of a prompt")
    data = load_data(
        name,
        held_out=config.held_out,
        seed=DIVISION,
        votes=config.votes,
        skip_bad=config.skip_bad_rows,
        columns=config.columns,
    )
    both = []
    for items in (data.train, data.held_out):
        if not all(isinstance(item, Preference) for item in items):
            raise CommandError(
                f"{name} has rankings or ratings; DPO learns from pairs: chosen and rejected"
            )
        both.append([item for item in items if isinstance(item, Preference)])
    decided = [pair for pair in both[1] if pair.probability > _TIE]
    return both[0], decided, data.notes
