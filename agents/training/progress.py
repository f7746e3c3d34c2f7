"""A progress bar of training: tokens, tokens a second, reward and KL on one line of a terminal."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["TrainingBar", "training_bar"]

_SHOWN = {"reward": "reward", "kl": "KL"}


@dataclass(slots=True, kw_only=True)
class TrainingBar:
    """One line that is redrawn; where there is no terminal, nothing is drawn.

    Attributes:
        progress: Rich's bar.
        task: The bar's line.
        start: Tokens that earlier runs had written; they do not count into tokens a second.
        clock: Gives the time, in seconds.
        started: When the bar was made, by ``clock``.
    """

    progress: Progress
    task: TaskID
    start: int
    clock: Callable[[], float]
    started: float

    def update(self, tokens: int, metrics: Mapping[str, float]) -> None:
        """Shows how far training is.

        Args:
            tokens: Tokens written so far, those before the bar included.
            metrics: Of the last iteration; ``reward`` and ``kl`` are shown if they are there.
        """
        seconds = max(self.clock() - self.started, 1e-9)
        notes = [f"{(tokens - self.start) / seconds:,.0f} tokens/s"]
        notes += [f"{name} {metrics[key]:.3g}" for key, name in _SHOWN.items() if key in metrics]
        self.progress.update(self.task, completed=tokens, note="  ".join(notes))


@contextmanager
def training_bar(
    total: int,
    *,
    start: int = 0,
    console: Console | None = None,
    visible: bool = True,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[TrainingBar]:
    """Shows a bar while the block runs.

    Args:
        total: Tokens at the end.
        start: Tokens that an earlier run has written.
        console: Where to draw; standard error if it is not given, so that output can be piped.
        visible: Whether to draw at all. In a file or a pipe nothing is drawn in any case.
        clock: Gives the time, in seconds.
    """
    console = Console(stderr=True) if console is None else console
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f} tokens"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    hidden = not (visible and console.is_terminal)
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        task = progress.add_task("training", total=total, completed=start, note="")
        yield TrainingBar(progress=progress, task=task, start=start, clock=clock, started=clock())
