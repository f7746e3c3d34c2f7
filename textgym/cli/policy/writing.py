"""Texts of a policy are printed or written into a file, a piece before the next is played.

So what was written before a stop stays, however many are asked for.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console

from agents.training.guards import GuardError, explained_memory
from textgym.cli.console import bar, say
from textgym.cli.parsing import CommandError
from textgym.cli.policy.policies import one_line
from textgym.rewards import RewardError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from typing import TextIO

    from agents.rollouts.texts import Text
    from textgym.cli.console import Bar

__all__ = ["Writer", "writer"]


@dataclass(slots=True, kw_only=True)
class Writer:
    """Prints texts, or writes them into a file, and knows how many there are.

    Attributes:
        total: How many there will be.
        console: Where to print.
        file: Where to write instead; ``None`` to print.
        scored: Whether their scores mean something.
        bar: Shows how far they are.
        scores: Of the texts so far.
    """

    total: int
    console: Console
    file: TextIO | None
    scored: bool
    bar: Bar
    scores: list[float] = field(default_factory=list)

    def add(self, texts: Sequence[Text]) -> None:
        """Writes texts down, so that a stop does not lose them."""
        if self.file is None:
            for text in texts:
                self._print(text)
        else:
            self.file.write("".join(map(self._as_json, texts)))
            self.file.flush()
        self.scores += [text.score for text in texts]
        self.bar.update(len(self.scores), self.total)
        if self.file is not None and not self.console.is_terminal:  # there a bar says it
            say(self.console, f"{len(self.scores):,} of {self.total:,} texts")

    def say_end(self) -> None:
        """Says where the texts are, and what they were worth."""
        if self.file is not None:
            say(self.console, f"{len(self.scores):,} texts in {self.file.name}")
        if self.scored:
            say(self.console, f"mean score {np.mean(self.scores):.3f}")

    def kept(self) -> str:
        """What of the texts is kept, where they end early."""
        where = "were printed" if self.file is None else f"are in {self.file.name}"
        return f"{len(self.scores):,} of {self.total:,} texts {where}"

    def _print(self, text: Text) -> None:
        score = f"   ({text.score:.3f})" if self.scored else ""
        say(self.console, f"{one_line(text.prompt, text.completion, letters=None)}{score}")

    def _as_json(self, text: Text) -> str:
        line: dict[str, str | float | None] = {"prompt": text.prompt, "completion": text.completion}
        if self.scored:
            line["score"] = None if np.isnan(text.score) else text.score
        return json.dumps(line, ensure_ascii=False) + "\n"


@contextmanager
def writer(total: int, console: Console, out: Path | None, *, scored: bool) -> Iterator[Writer]:
    """Opens what texts are written into, shows how far they are, and says what a stop keeps.

    Args:
        total: How many texts there will be.
        console: Where to print.
        out: A file that is not there yet; ``None`` to print the texts.
        scored: Whether their scores mean something.

    Yields:
        What writes them down.

    Raises:
        CommandError: If memory runs out, the file cannot be written, or something does not fit.
        RewardError: If the reward fails.
        KeyboardInterrupt: If somebody stops it.
    """
    shown = Console(stderr=True, quiet=out is None and console.is_terminal)
    with _opened(out) as file, bar("Texts", shown) as progress:
        result = Writer(total=total, console=console, file=file, scored=scored, bar=progress)
        try:
            with explained_memory("--num-envs"):
                yield result
        except KeyboardInterrupt as stop:
            raise KeyboardInterrupt(result.kept()) from stop
        except RewardError as error:
            raise RewardError(f"{error}; {result.kept()}") from error
        except (ValueError, GuardError, OSError) as error:
            raise CommandError(f"{' '.join(str(error).split())}; {result.kept()}") from error


@contextmanager
def _opened(out: Path | None) -> Iterator[TextIO | None]:
    """Makes a file that is not there yet."""
    if out is None:
        yield None
        return
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        file = out.open("x", encoding="utf-8")
    except OSError as error:
        raise CommandError(f"--out {out} cannot be written: {error.strerror or error}") from error
    with file:
        yield file
