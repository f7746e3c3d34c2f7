"""``textgym reward import``: a file of people's answers becomes a store of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - the command line is made of the annotations

import tyro  # noqa: TC002 - the command line is made of the annotations
from rich.console import Console

from reward_models.preferences import PreferenceStore, import_preferences, read_answers
from textgym.cli.console import say
from textgym.cli.parsing import CommandError
from textgym.data.tables import is_table, parse_columns

__all__ = ["RewardImportConfig", "import_reward_data"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardImportConfig:
    """Read a file of people's answers into a store, which keeps who answered what.

    A store counts votes, measures how far people agree, and takes more answers. FORMATS.md lists
    the files that are read; a column annotator says whose an answer is. What is in the store
    already stays as it is, so the same command may be given again. Ties and texts that were both
    bad are answers too; soft labels and ratings are not, and are counted. ``textgym reward export``
    is the way back.
    """

    data: tyro.conf.Positional[str]
    """The file of answers, such as answers.csv, or datasets:NAME."""
    store: tyro.conf.Positional[Path]
    """The store (.sqlite); it is made if there is none, and gets more answers if there is one."""
    columns: str | None = None
    """Which of the file's columns are which, as in
    prompt=question,response_a=left,response_b=right,winner=verdict."""
    annotator: str = "unnamed"
    """Who answered, where the file does not say."""
    skip_bad_rows: bool = False
    """Leave rows out that cannot be read, and say how many, instead of stopping at the first."""


def import_reward_data(config: RewardImportConfig, console: Console | None = None) -> None:
    """Fills the store and says what is in it now, and what is not.

    Args:
        config: What to import.
        console: Where to print; ``None`` for the terminal.

    Raises:
        CommandError: If the file cannot be read, or has no answers.
        FileNotFoundError: If there is no such file.
        StoreError: If the store refuses them.
    """
    if not is_table(config.data):
        raise CommandError(f"{config.data} is no file of answers; FORMATS.md lists what is read")
    try:
        found = read_answers(
            config.data,
            columns=parse_columns(config.columns),
            skip_bad=config.skip_bad_rows,
            annotator=config.annotator,
        )
    except ValueError as error:
        raise CommandError(str(error)) from error
    config.store.parent.mkdir(parents=True, exist_ok=True)
    with PreferenceStore(config.store) as store:
        counts = import_preferences(found, store)
    known = f"; {counts['known']:,} were there" if counts["known"] else ""
    left_out = ", ".join(f"{number:,} {reason}" for reason, number in found.left_out.items())
    lines = [
        f"{counts['answers']:,} answers and {counts['pairs']:,} pairs are new in {config.store}"
        f"{known}",
        *[f"left out: {left_out}"] * bool(left_out),
        *found.notes,
    ]
    say(console or Console(), *lines)
