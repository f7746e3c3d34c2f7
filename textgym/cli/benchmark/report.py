"""``textgym report``: a study's page, CSV and JSON, made anew from its cells."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003  the command line is made from the annotations

import tyro  # noqa: TC002 - it resolves the annotations below when it is called
from rich.console import Console

from agents.comparing.page import PAGE_FILE, write_page
from textgym.cli.benchmark.command import show_tables
from textgym.cli.console import say
from textgym.cli.parsing import CommandError

__all__ = ["ReportConfig", "report"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportConfig:
    """Make a benchmark's page and tables anew from what its folder holds, finished or not."""

    folder: tyro.conf.Positional[Path]
    """The study's folder, --out of ``textgym benchmark``."""
    every: bool = False
    """Print all tables, and not the main ones alone."""


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
        tables = write_page(config.folder)
    except (ValueError, OSError) as error:
        raise CommandError(" ".join(str(error).split())) from error
    show_tables(tables, console, every=config.every)
    say(console, str(config.folder / PAGE_FILE))
