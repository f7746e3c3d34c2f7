"""``textgym data split`` and ``check``: parts of a corpus that know nothing of each other."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path  # noqa: TC003 - the command line is made of the annotations
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console

from textgym.cli.console import say
from textgym.cli.parsing import CommandError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from textgym.corpus.division import Leak
    from textgym.corpus.records import Record

__all__ = ["CheckConfig", "SplitConfig", "check_data", "split_data"]

_FEWEST_JUDGED, _FAR = 100, 0.2  # of fewer texts, chance makes any parts
_WHICH_PARTS = "name two files or more, or one whose column split says in which part each text is"


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitConfig:
    """Divide a corpus into train, validation and test, none of which knows the others.

    What hangs together stays together: near duplicates, texts that share a passage of 25 words, and
    what is equal in --by. A text goes where a hash of its group says, and stays there when others
    come or go.
    """

    corpus: Path
    """What textgym data collect or clean has written."""
    out: Path
    """The folder to write into: train.jsonl, validation.jsonl, test.jsonl."""
    validation: float = 0.05
    """The share of the groups that validate."""
    test: float = 0.05
    """The share of the groups that test."""
    by: str | None = None
    """A column whose equal values stay together, such as author; source keeps files whole."""
    threshold: float = 0.8
    """The share of common runs of words from which on two texts are near duplicates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckConfig:
    """Look for what one part of the data has of another: equal, near, or shared text.

    Ends with status 1 where anything is found.
    """

    files: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Two or more corpora or .jsonl files with a column text; or one whose column split says which
    part a text is in."""
    threshold: float = 0.8
    """The share of common runs of words from which on two texts are near duplicates."""


def split_data(config: SplitConfig, console: Console | None = None) -> None:
    """Divides, and says how many went where.

    Args:
        config: What and how.
        console: Where to print; ``None`` for the terminal.

    Raises:
        CommandError: If shares or column are wrong.
        FileNotFoundError: If there is no corpus.
    """
    from textgym.corpus.division import divide
    from textgym.corpus.records import read_corpus, written_corpus
    from textgym.files import exclusive_folder

    console = console or Console()
    train = 1 - config.validation - config.test
    shares = {"train": train, "validation": config.validation, "test": config.test}
    if not (min(shares.values()) >= 0 and train > 0):
        raise CommandError(
            f"--validation {config.validation} and --test {config.test} must be shares that leave "
            "some for train"
        )
    try:
        with ExitStack() as stack:
            stack.enter_context(exclusive_folder(config.out))
            homes = divide(
                read_corpus(config.corpus), shares, by=config.by, threshold=config.threshold
            )
            writers = {
                name: stack.enter_context(written_corpus(config.out / f"{name}.jsonl"))
                for name in shares
            }
            for record, home in zip(read_corpus(config.corpus), homes, strict=True):
                writers[home](record)
    except ValueError as error:
        raise CommandError(str(error)) from None
    sizes = ", ".join(f"{name} {homes.count(name):,}" for name in shares)
    say(console, f"{sizes} in {config.out}", *_lopsided(homes, shares))


def _lopsided(homes: Sequence[str], shares: Mapping[str, float]) -> list[str]:
    """Says it where parts are far from what was asked for, as chance does not make them."""
    found = {name: homes.count(name) / max(1, len(homes)) for name in shares}
    name = max(shares, key=lambda name: abs(found[name] - shares[name]))
    if len(homes) < _FEWEST_JUDGED or abs(found[name] - shares[name]) < _FAR:
        return []
    return [
        f"{name} has {found[name]:.0%} of the texts where {shares[name]:.0%} were asked for: many "
        "hang together, as by --by or by a passage that stands in all of them; textgym data clean "
        "takes out page furniture (boilerplate) and repeated texts (near)"
    ]


def check_data(config: CheckConfig, console: Console | None = None) -> None:
    """Looks for leaks, and prints them.

    Args:
        config: What to look at.
        console: Where to print; ``None`` for the terminal.

    Raises:
        CommandError: If there is nothing to compare, or a leak.
        FileNotFoundError: If a file is not there.
    """
    from textgym.corpus.division import leaks

    console, sizes = console or Console(), Counter[str]()

    def counted() -> Iterator[tuple[str, Record]]:
        for name, record in _texts(config.files):
            sizes[name] += 1
            yield name, record

    try:
        found = leaks(counted(), threshold=config.threshold)
    except ValueError as error:
        raise CommandError(str(error)) from None
    if len(sizes) < 2:  # noqa: PLR2004 - one part has nothing to leak into
        raise CommandError(_WHICH_PARTS)
    said = ", ".join(f"{name} {size:,}" for name, size in sizes.items())
    say(console, *map(_line, found))
    if found:
        raise CommandError(
            f"{said}: the parts share what is above; textgym data split divides them"
        )
    say(console, f"{said}: nothing is shared")


def _texts(files: Sequence[Path]) -> Iterator[tuple[str, Record]]:
    """Each text, and which part it is in.

    Raises:
        CommandError: If a file cannot be read whole, or does not say which part a text is in.
    """
    from textgym.corpus.sources import Collection, Faults, collect

    for path in files:
        faults = Faults()
        for read in collect(Collection(sources=[str(path)]), faults):
            # What was collected says itself where it is from.
            known = read.columns
            record = replace(
                read,
                source=str(known.get("source", read.source)),
                place=str(known.get("place", read.place)),
            )
            name = str(path) if len(files) > 1 else str(known.get("split", ""))
            if not name:
                raise CommandError(_WHICH_PARTS)
            yield name, record
        if faults.counts:
            raise CommandError(f"{path} cannot be read whole: {faults.places[0]}")


def _line(leak: Leak) -> str:
    first, second = leak.splits
    here, there = leak.example
    return f"{leak.kind}: {leak.count:,} texts of {second} are in {first}, such as {here} ({there})"
