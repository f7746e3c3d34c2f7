"""``textgym report``: a study's page, CSV and JSON, made anew from its cells."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003  the command line is made from the annotations

import tyro  # noqa: TC002 - it resolves the annotations below when it is called
from rich.console import Console

from agents.comparing.campaign import read_outcomes
from agents.comparing.page import HACKS_FILE, PAGE_FILE, PEOPLE_FILE, write_page
from agents.comparing.study import read_study
from textgym.cli.benchmark.command import read_votes, show_tables
from textgym.cli.benchmark.standards.catalogue import expected
from textgym.cli.console import say
from textgym.cli.parsing import CommandError

__all__ = ["ReportConfig", "report"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportConfig:
    """Make a benchmark's page and tables anew from what its folder holds, finished or not.

    Beside the page are pairs for people: people.jsonl has last texts beside the start's, and
    hacks.jsonl what seems to game a reward. `textgym label DIR/people.jsonl` asks about them, and
    the next report has a column of what people say.
    """

    folder: tyro.conf.Positional[Path]
    """The study's folder, --out of ``textgym benchmark``."""
    every: bool = False
    """Print all tables and figures, and not the main ones alone."""
    store: Path | None = None
    """People's answers, as ``textgym label`` keeps them; None takes people.sqlite in the folder, if
    it is there."""


def report(config: ReportConfig, console: Console | None = None) -> None:
    """Writes them, and prints tables.

    Args:
        config: Which.
        console: Where to print; None for the terminal.

    Raises:
        CommandError: If there is no study.
    """
    console = console or Console()
    try:
        votes = read_votes(config.folder, config.store)
        outcomes = read_outcomes(read_study(config.folder), config.folder)
        tables = write_page(config.folder, votes, expected(config.folder, outcomes))
    except (ValueError, OSError) as error:
        raise CommandError(" ".join(str(error).split())) from error
    show_tables(tables, console, every=config.every)
    for name in (PEOPLE_FILE, HACKS_FILE):
        if (config.folder / name).is_file():
            say(console, f"for people: textgym label {config.folder / name}")
    say(console, str(config.folder / PAGE_FILE))
