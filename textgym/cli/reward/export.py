"""``textgym reward export``: a store's answers as a file that other trainers read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - the command line is made of the annotations
from typing import Literal

from rich.console import Console

from reward_models.preferences import export_judgements, export_preferences
from textgym.cli.console import say
from textgym.cli.reward.data import open_store

__all__ = ["RewardExportConfig", "export_reward_data"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardExportConfig:
    """Write a store's answers as JSON Lines, in the columns that TRL reads.

    A line is one person's latest answer to one pair: pair_id, prompt, chosen, rejected, annotator,
    strength; or to another --question. What no trainer can use is left out, and counted.
    """

    store: str
    """The store of answers, such as runs/quickstart/preferences.sqlite, or a database's URL."""
    out: Path
    """The .jsonl file to write; it is replaced."""
    split: str | None = None
    """Of one split of the pairs, such as train; left out, of all."""
    question: Literal["compare", "rank", "rate", "spans"] = "compare"
    """The answers to which question: chosen and rejected of pairs, completions with ranks, a
    completion with its rating, or with its good and bad spans."""
    ties: bool = False
    """Write ties as well, with a column probability of 0.5. TRL does not know that column."""


def export_reward_data(config: RewardExportConfig, console: Console | None = None) -> None:
    """Writes the file and says what is in it, and what is not.

    Args:
        config: What to export.
        console: Where to print; ``None`` for the terminal.

    Raises:
        FileNotFoundError: If there is no such store, or nothing in it.
        StoreError: If it cannot be read.
    """
    with open_store(str(config.store)) as store:
        if config.question == "compare":
            counts = export_preferences(store, config.out, config.split, ties=config.ties)
        else:
            counts = export_judgements(store, config.out, config.question, config.split)
    left_out = ", ".join(
        f"{number} {answer.replace('_', ' ')}"
        for answer, number in counts.items()
        if answer != "written"
    )
    say(console or Console(), f"{counts['written']} answers in {config.out}; left out: {left_out}")
