"""``textgym data clean``: a corpus through named steps, and a report of what each did."""

from __future__ import annotations

from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - the command line is made of the annotations
from typing import TYPE_CHECKING

from rich.console import Console

from textgym.cli.console import bar, say
from textgym.cli.parsing import CommandError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from textgym.corpus.pipeline import StepCount
    from textgym.corpus.records import Record

__all__ = ["CleanConfig", "clean_data"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanConfig:
    """Clean a corpus by named steps, in the order in which they stand.

    Each step counts what it changed and dropped, and why; the report beside the corpus shows it
    with examples. ``textgym data clean --list`` explains the steps.
    """

    corpus: Path | None = None
    """What textgym data collect has written."""
    out: Path | None = None
    """The corpus to write: .jsonl, .jsonl.gz or .jsonl.zst. The report is in a folder of the same
    name that ends in .report."""
    steps: tuple[str, ...] = ()
    """The steps, with settings behind a question mark, such as length?least=5. None of them takes
    those that suit text for a language model; stop words then stay, since what is written needs
    them."""
    workers: int = 1
    """Processes; the result is the same with any number. More pay from some ten thousand texts."""
    list: bool = False
    """Explain the steps, and do nothing."""


def clean_data(config: CleanConfig, console: Console | None = None) -> None:
    """Cleans, and prints what each step did.

    Args:
        config: What and how.
        console: Where to print; ``None`` for the terminal.

    Raises:
        CommandError: If a step is unknown, a line of the corpus is broken, or a worker has gone.
        FileNotFoundError: If there is no corpus.
        ModuleNotFoundError: If a step's library is missing; the message says how to get it.
    """
    from textgym.corpus.pipeline import clean
    from textgym.corpus.records import read_corpus, written_corpus
    from textgym.corpus.report import write_report
    from textgym.corpus.steps import DEFAULT_STEPS

    console = console or Console()
    if config.list:
        _explain(console)
        return
    if config.corpus is None or config.out is None:
        raise CommandError("--corpus and --out are needed: what to clean, and where to write it")
    before = after = 0

    def counted() -> Iterator[Record]:
        nonlocal before
        for record in read_corpus(config.corpus):  # type: ignore[arg-type] # is not None
            before += 1
            yield record

    try:
        kept, counts = clean(counted(), config.steps or DEFAULT_STEPS, workers=config.workers)
        with written_corpus(config.out) as write, bar("Clean", console) as shown:
            for record in kept:
                write(record)
                after += 1
                if after % 256 == 0:
                    shown.update(before, before, f"{after:,} kept")
    except ValueError as error:
        raise CommandError(str(error)) from None
    except BrokenExecutor:
        raise CommandError(
            "a worker was ended from outside, most likely for want of memory: take fewer --workers"
        ) from None
    folder = config.out.with_name(f"{config.out.name.partition('.jsonl')[0]}.report")
    page = write_report(folder, f"Cleaning of {config.corpus.name}", counts, before, after)
    _tell(console, counts)
    say(console, f"{after:,} of {before:,} texts in {config.out}; report: {page}")


def _explain(console: Console) -> None:
    from textgym.corpus.steps import COMPARING, DEFAULT_STEPS, STEPS

    summaries = {name: kind.summary for name, kind in STEPS.items()} | dict(COMPARING)
    width = max(map(len, summaries))
    for name, summary in summaries.items():
        mark = "*" if name in DEFAULT_STEPS else " "
        say(console, f"{mark} {name:{width}}  {summary}")
    say(console, "* taken where --steps names none, in this order: " + " ".join(DEFAULT_STEPS))


def _tell(console: Console, counts: Sequence[StepCount]) -> None:
    width = max(len(count.step) for count in counts)
    for count in counts:
        reasons = ", ".join(
            f"{reason}: {number:,}"
            for reason, number in (count.changed + count.dropped).most_common()
        )
        say(
            console,
            f"{count.step:{width}}  changed {count.changed.total():>7,}  "
            f"dropped {count.dropped.total():>7,}  {reasons}",
        )
