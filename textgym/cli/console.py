"""The terminal and the process that a command runs in: its bars, its memory, its pictures."""

from __future__ import annotations

import ctypes
import re
import sys
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from textgym.cli.parsing import CommandError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from rich.console import Console

__all__ = [
    "Bar",
    "bar",
    "chosen_device",
    "keep_large_blocks",
    "listing",
    "require_new_file",
    "require_picture",
    "say",
    "say_coloured",
    "use_quiet_transformers",
]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_ONE_GIBIBYTE = 1 << 30
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_PICTURES = (".png", ".svg")


@dataclass(slots=True)
class Bar:
    """A progress bar."""

    progress: Progress
    task: Any

    def update(self, completed: float, total: float, note: str = "") -> None:
        """Says how much is done.

        Args:
            completed: Steps done, those of an earlier attempt included.
            total: Steps in all.
            note: A few figures to show beside the bar.
        """
        self.progress.update(self.task, completed=completed, total=total, note=note)


@contextmanager
def bar(title: str, console: Console) -> Iterator[Bar]:
    """Shows a progress bar while the block runs.

    Args:
        title: What stands beside it.
        console: Where to draw; what is printed meanwhile goes there as well, unless that is
            standard error, and standard output may be piped.
    """
    columns = (
        TextColumn("{task.description:<28}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    redirect = not console.stderr
    with Progress(*columns, console=console, transient=True, redirect_stdout=redirect) as progress:
        yield Bar(progress, progress.add_task(title, total=None, note=""))


def chosen_device(name: str) -> str:
    """Finds where to compute.

    Args:
        name: What torch calls a device, or ``auto``: the first GPU if there is one.

    Raises:
        CommandError: If torch can use no such device here.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name).cpu()  # which those that only know shapes cannot
    except (RuntimeError, AssertionError) as error:
        raise CommandError(
            f"--device {name}: there is none here that torch can use; cpu always is, and cuda "
            "where a GPU and a torch that was built for it are"
        ) from error
    return name


def say(console: Console, *lines: str) -> None:
    """Prints lines as they are: nothing in them is markup, a picture, or broken by us.

    Where nobody looks at a terminal, not even a tab is changed.

    Args:
        console: Where to print.
        *lines: What to say, a line each or several.
    """
    for line in lines:
        if console.is_terminal or console.quiet:
            console.print(Text(line), soft_wrap=True)
        else:
            console.file.write(f"{line}\n")
            console.file.flush()  # whoever follows a log shall not wait for a full buffer


def say_coloured(console: Console, shown: str) -> None:
    """Prints what has a terminal's colours in it; elsewhere without them.

    Args:
        console: Where to print.
        shown: A text whose only control characters are those of colours.
    """
    if console.is_terminal:
        console.print(Text.from_ansi(shown), soft_wrap=True)
    else:
        say(console, _COLOUR.sub("", shown))


def listing(console: Console, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table: in a terminal the last column is folded, elsewhere each row is a whole line.

    Args:
        console: Where to print.
        titles: Of the columns.
        rows: Their cells.
    """
    if console.is_terminal:
        table = Table(box=None, pad_edge=False)
        for title in titles[:-1]:
            table.add_column(title, no_wrap=True)
        table.add_column(titles[-1], overflow="fold")
        for row in rows:
            table.add_row(*map(Text, row))
        console.print(table)
        return
    lines = [titles, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = zip(line, widths, strict=True)
        say(console, "  ".join(cell.ljust(width) for cell, width in cells).rstrip())


def use_quiet_transformers() -> None:
    """Switches off transformers' bars and its remarks; errors are still shown."""
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call] # untyped there
    logging.disable_progress_bar()  # type: ignore[no-untyped-call] # untyped there
    # Trainer says so whenever no accelerator is there, which is no news on a CPU.
    warnings.filterwarnings("ignore", message=".*pin_memory.*")


def keep_large_blocks() -> bool:
    """Tells glibc to keep freed blocks of up to a gibibyte for the next use.

    By default it gives blocks above 32 MiB back to the kernel at each free, and every logits tensor
    of the next step faults all its pages in again. Training on a CPU is faster without.

    Returns:
        Whether the setting was made; it exists in glibc only.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _ONE_GIBIBYTE)) and bool(
        mallopt(_M_TRIM_THRESHOLD, _ONE_GIBIBYTE)
    )


def require_new_file(path: Path | None) -> None:
    """Makes the folder of a file to write, and refuses one that is there; None is no file.

    Raises:
        CommandError: If it is there, or cannot be.
    """
    if path is None:
        return
    if path.exists():
        raise CommandError(f"--out {path} is there already: name another file, or remove it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"--out {path} cannot be written: {error.strerror or error}") from error


def require_picture(path: Path | None) -> None:
    """Refuses, before any work, a file that no picture can be written to; None is no picture.

    Raises:
        CommandError: If it is no PNG or SVG, or its folder is missing.
    """
    if path is None:
        return
    if path.suffix not in _PICTURES:
        raise CommandError(
            f"{path} is no picture: name a file that ends in {' or '.join(_PICTURES)}"
        )
    if not path.parent.is_dir():
        raise CommandError(f"there is no folder {path.parent} for the picture {path.name}: make it")
