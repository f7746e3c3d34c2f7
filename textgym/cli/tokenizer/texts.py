"""The texts that a tokenizer is trained or measured on, and its figures as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from textgym.cli.console import bar, listing, say
from textgym.cli.parsing import CommandError
from textgym.corpus.sources import Collection, Faults, collect

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console

    from textgym.corpus.records import Record
    from textgym.tokenizers.figures import TokenizerFigures

__all__ = ["drawn_texts", "show_figures"]

_EVERY = 256  # texts between two moves of the bar


def drawn_texts(
    sources: Sequence[str], column: str, most: int, seed: int, console: Console
) -> list[Record]:
    """Reads texts, and keeps all of them or a random choice, in the order in which they stand.

    Memory is bounded by the texts that are kept (Vitter 1985, algorithm R).

    Args:
        sources: As of ``textgym data collect``.
        column: Of a table, that with the text.
        most: How many are kept.
        seed: Of the choice.
        console: Where the bar is drawn, and what could not be read is said.

    Raises:
        CommandError: If there is no text, or a source or a column is wrong.
        FileNotFoundError: If a source is not there.
    """
    faults, rng = Faults(), np.random.default_rng(seed)
    kept: list[tuple[int, Record]] = []
    number = 0
    try:
        with bar("Read", console) as shown:
            for record in collect(Collection(sources=sources, column=column), faults):
                if not record.text.strip():
                    continue
                place = number if number < most else int(rng.integers(number + 1))
                if place < most:
                    kept[place : place + 1] = [(number, record)]
                number += 1
                if number % _EVERY == 0:
                    shown.update(number, number, "texts")
    except ValueError as error:
        raise CommandError(str(error)) from None
    if faults.counts:
        say(console, f"passed over: {faults.counts.total()}, such as {faults.places[0]}")
    if not kept:
        raise CommandError(f"no text was found in {' '.join(sources)}")
    return [record for _, record in sorted(kept, key=lambda one: one[0])]


def show_figures(
    console: Console, names: Sequence[str], measured: Iterable[dict[str, TokenizerFigures]]
) -> None:
    """Prints a row for each tokenizer, and one for each of its groups."""
    titles = ("tokenizer", "texts", "tokens a word", "characters a token", "unknown", "round trip")
    rows = [
        (
            f"{name}, {group}" if group else name,
            f"{found.texts:,}",
            f"{found.tokens_a_word:.3f}",
            f"{found.characters_a_token:.3f}",
            f"{found.unknown_share:.2%}",
            f"{found.round_trip_share:.2%}",
        )
        for name, groups in zip(names, measured, strict=True)
        for group, found in groups.items()
    ]
    listing(console, titles, rows)
