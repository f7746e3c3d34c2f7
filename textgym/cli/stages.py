"""A run directory and the stages that fill it, each done once, whatever interrupts them.

A stage that has ended well leaves ``stages/<name>.json`` with its figures, written last and in one
piece. Starting the same command again passes over such stages and repeats the first one that has
none; within it, the stage's own checkpoints and stores say how far it was.
"""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from textgym.cli.console import bar, say
from textgym.cli.parsing import CommandError
from textgym.files import LOCK_FILE, exclusive_folder, finite, write_json
from textgym.provenance import code_version, other_contents

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from rich.console import Console

    from textgym.cli.console import Bar

__all__ = ["Run", "RunError", "Stage", "run_stages"]

_CONFIG_FILE = "config.json"
_CODE, _CONTENTS = "code", "contents"


class RunError(CommandError):
    """A run cannot go on; the message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One step of a run.

    Attributes:
        name: Names its record.
        title: What the progress bar says.
        work: Does it; returns figures that go into the record.
    """

    name: str
    title: str
    work: Callable[[Run], Mapping[str, Any]]


@dataclass(slots=True, kw_only=True)
class Run:
    """A run directory, its settings and where messages go.

    Attributes:
        out: The directory.
        config: The settings, and the data's hashes, as JSON values; equal ones are needed to go on.
        contents: Hashes of what the settings name, by what to call it; likewise.
        console: Where messages go.
        code: The versions of the code, which may be others when a run goes on.
        figures: What the stages that are done have recorded, by stage.
    """

    out: Path
    config: Mapping[str, Any]
    console: Console
    contents: Mapping[str, str] = field(default_factory=dict)
    code: Mapping[str, str] = field(default_factory=code_version)
    figures: dict[str, dict[str, Any]] = field(default_factory=dict)

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Makes the directory, or finds what an earlier attempt left in it, and keeps it.

        Raises:
            RunError: If it was made with other settings or data, or is in use for something else.
            FolderInUseError: If another run writes into it.
        """
        self._require_ours()
        with exclusive_folder(self.out):
            before = self._require_ours()
            if before.get(_CODE, self.code) != self.code:
                say(self.console, "  goes on with other code than its first stages were made by")
            mine = {**self.config, _CONTENTS: dict(self.contents), _CODE: self.code}
            write_json(self.out / _CONFIG_FILE, mine)
            yield

    def _require_ours(self) -> Mapping[str, Any]:
        """Requires an empty folder, or one of a run like this; returns what that was made with."""
        path = self.out / _CONFIG_FILE
        if path.is_file():
            made_with = json.loads(path.read_text(encoding="utf-8"))
            changed = sorted(
                name
                for name in (made_with.keys() | self.config.keys()) - {_CODE, _CONTENTS}
                if made_with.get(name) != self.config.get(name)
            )
            if changed:
                raise RunError(
                    f"{self.out} was made with another {', '.join(changed)}; choose another --out, "
                    "or remove that folder to start anew"
                )
            others = other_contents(made_with.get(_CONTENTS, {}), self.contents)
            if others:
                raise RunError(
                    f"{self.out} was begun with other contents of {others}: give what it was begun "
                    "with, or choose another --out"
                )
            return dict(made_with)
        if self.out.exists() and (
            not self.out.is_dir() or any(p.name != LOCK_FILE for p in self.out.iterdir())
        ):
            raise RunError(f"{self.out} exists and is no run of this command; choose another --out")
        return {}

    def bar(self, title: str) -> AbstractContextManager[Bar]:
        """Shows a progress bar while the block runs."""
        return bar(title, self.console)


def run_stages(run: Run, stages: Sequence[Stage]) -> None:
    """Does the stages that are not done yet, in order.

    Args:
        run: An open run; its ``figures`` are filled.
        stages: What to do.
    """
    for stage in stages:
        record = run.out / "stages" / f"{stage.name}.json"
        if record.is_file():
            run.figures[stage.name] = json.loads(record.read_text(encoding="utf-8"))
            run.console.print(f"  [dim]{stage.title}: done before[/dim]")
            continue
        if not run.console.is_terminal:
            run.console.print(f"  {stage.title} ...")
        started = time.monotonic()
        figures = finite(dict(stage.work(run)))
        figures["seconds"] = round(time.monotonic() - started, 1)
        write_json(record, figures)
        run.figures[stage.name] = figures
        shown = ", ".join(
            f"{name.replace('_', ' ')} {value:.3g}"
            if isinstance(value, float)
            else f"{name} {value}"
            for name, value in figures.items()
            if isinstance(value, int | float) and name != "seconds"
        )
        run.console.print(
            f"[green]✓[/green] {stage.title} [dim]({figures['seconds']:.0f} s)[/dim] {shown}",
            soft_wrap=True,
            highlight=False,
        )
