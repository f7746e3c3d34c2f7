"""``textgym data collect``: texts of any kind and place as one corpus, with their provenance."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - the command line is made of the annotations
from typing import TYPE_CHECKING, Literal

from rich.console import Console

from textgym.cli.console import bar, say
from textgym.cli.parsing import CommandError

if TYPE_CHECKING:
    from textgym.corpus.sources import Faults

__all__ = ["CollectConfig", "collect_data"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectConfig:
    """Read texts from files, folders, tables, packages or data sets into one corpus.

    A corpus is JSON Lines, a text a line, with where it came from. Known are .txt, .md, .jsonl,
    .csv, .tsv, .parquet and .html, each also packed as .gz or .zst. What cannot be read is counted,
    named, and passed over.
    """

    sources: tuple[str, ...]
    """Files, folders, datasets:NAME, package:NAME for files of known kinds in an installed package,
    package:reviews, or - for lines of standard input."""
    out: Path
    """The corpus to write: .jsonl, .jsonl.gz or .jsonl.zst; it is replaced."""
    unit: Literal["file", "line", "paragraph"] = "file"
    """What one text of a .txt is. Standard input has lines or paragraphs."""
    column: str = "text"
    """The column of a table that holds the text."""
    licence: str | None = None
    """Under what terms the texts come; it stays with each."""
    most_characters: int = 1 << 20
    """A longer line or text is data, not text: it is passed over and counted."""


def collect_data(config: CollectConfig, console: Console | None = None) -> None:
    """Collects, and says what came and what did not.

    Args:
        config: What to read.
        console: Where to print; ``None`` for the terminal.

    Raises:
        CommandError: If a source or a column is missing, or nothing could be read.
        FileNotFoundError: If a source is not there.
        ModuleNotFoundError: If a library is missing; the message says how to get it.
    """
    from textgym.corpus.records import written_corpus
    from textgym.corpus.sources import STDIN, Collection, Faults, collect

    console = console or Console()
    if not config.sources:
        raise CommandError("name at least one source, such as a folder, or - for standard input")
    if STDIN in config.sources and sys.stdin.isatty():
        say(console, "reading standard input; end it with Ctrl-D")
    faults, texts, letters = Faults(), 0, 0
    what = Collection(
        sources=config.sources,
        unit=config.unit,
        column=config.column,
        licence=config.licence,
        most_characters=config.most_characters,
    )
    try:
        with written_corpus(config.out) as write, bar("Collect", console) as shown:
            for record in collect(what, faults):
                write(record)
                texts += 1
                letters += len(record.text)
                if texts % 256 == 0:
                    shown.update(texts, texts, f"{letters / 1e6:,.1f} million characters")
            if not texts:
                raise CommandError(f"no text was found in {' '.join(config.sources)}{_why(faults)}")
    except ValueError as error:
        raise CommandError(str(error)) from None
    say(console, f"{texts:,} texts, {letters:,} characters in {config.out}{_said(faults)}")


def _said(faults: Faults) -> str:
    if not faults.counts:
        return ""
    return "\n".join([f"\npassed over: {_counts(faults)}", *(f"  {at}" for at in faults.places)])


def _why(faults: Faults) -> str:
    """What was passed over, in the line of an error."""
    if not faults.counts:
        return ""
    return f"; passed over: {_counts(faults)}, the first of them {faults.places[0]}"


def _counts(faults: Faults) -> str:
    return ", ".join(f"{kind}: {number}" for kind, number in faults.counts.most_common())
