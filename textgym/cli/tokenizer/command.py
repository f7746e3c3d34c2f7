"""``textgym tokenizer train`` and ``evaluate``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - the command line is made of the annotations
from typing import TYPE_CHECKING

from rich.console import Console

from textgym.cli.console import bar, say
from textgym.cli.parsing import CommandError
from textgym.messages import listed
from textgym.tokenizers.sentencepiece import Kind  # noqa: TC001 - as above

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textgym.corpus.records import Record
    from textgym.types import Tokenizer

__all__ = ["EvaluateConfig", "TrainConfig", "evaluate_tokenizers", "train_a_tokenizer"]

_RECORD = "training.json"
_FEWEST_MEASURED = 20  # held-out texts; of fewer, figures would say little


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """Train a tokenizer on texts of your own, and say what it makes of others.

    The folder is an ordinary tokenizer of transformers (AutoTokenizer), and what --tokenizer takes
    everywhere here. No text is lost: what the vocabulary does not spell is written in bytes.
    Padding, beginning and end of text are ids of their own.
    """

    corpus: tuple[str, ...]
    """What textgym data collect or clean has written, or what collect reads: files, folders,
    datasets:NAME, package:reviews."""
    out: Path
    """The folder to write; training.json in it says what it was made from, and the figures."""
    kind: Kind = "unigram"
    """How the vocabulary is found. unigram keeps the likeliest pieces; bpe merges pairs, and takes
    a tenth of the time."""
    vocabulary: int = 4096
    """Ids, the 256 bytes and 4 special ones included. More make texts shorter, and a model's
    embedding larger: 4096 suit a model of a few million weights, 16384 one of fifty."""
    column: str = "text"
    """The column of a table that holds the text."""
    held_out: float = 0.05
    """The share of the texts that only measure."""
    most_texts: int = 20_000
    """Learn from a random choice of so many, where there are more. A vocabulary gains little by
    more, and unigram takes minutes for each ten thousand long texts."""
    seed: int = 0
    """Of that random choice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateConfig:
    """Measure tokenizers on the same texts: tokens a word, unknown ones, and what is lost.

    A word is what stands between white space. For languages that are written without it, compare
    characters a token.
    """

    tokenizers: tuple[str, ...]
    """Folders of textgym tokenizer train, of a policy, or of any tokenizer of Hugging Face;
    reviews-4096, smollm2, hub:NAME."""
    corpus: tuple[str, ...]
    """The texts: as of textgym tokenizer train."""
    by: str | None = None
    """A column, such as language, whose values are also measured apart."""
    column: str = "text"
    """The column of a table that holds the text."""
    most_texts: int = 10_000
    """Measure on a random choice of so many, where there are more."""
    seed: int = 0
    """Of that random choice."""


def train_a_tokenizer(config: TrainConfig, console: Console | None = None) -> None:
    """Trains, saves and measures.

    Args:
        config: What to learn from.
        console: Where to print; ``None`` for the terminal.

    Raises:
        CommandError: If the texts do not give the vocabulary, or the folder holds something.
        FileNotFoundError: If a source is not there.
        FolderInUseError: If another run writes into the folder.
    """
    from textgym.files import LOCK_FILE, exclusive_folder

    with exclusive_folder(config.out):
        if any(path.name != LOCK_FILE for path in config.out.iterdir()):
            raise CommandError(f"{config.out} holds something already; name another folder")
        _train(config, console or Console())


def _train(config: TrainConfig, console: Console) -> None:
    from textgym.cli.tokenizer.texts import drawn_texts, show_figures
    from textgym.files import atomic_folder, write_json
    from textgym.provenance import code_version, json_hash, named_contents
    from textgym.tokenizers import load_tokenizer, train_tokenizer
    from textgym.tokenizers.conversion import save_as_fast
    from textgym.tokenizers.figures import measure_tokenizer

    records = drawn_texts(config.corpus, config.column, config.most_texts, config.seed, console)
    learned, measured = _divided(records, config.held_out)
    try:
        with bar("Train", console) as shown:
            shown.update(0, 1, f"{len(learned):,} texts; it says nothing on the way")
            trained = train_tokenizer(learned, config.vocabulary, kind=config.kind)
    except ValueError as error:
        raise CommandError(f"--vocabulary {config.vocabulary}: {error}") from None
    with atomic_folder(config.out / "made") as folder:
        save_as_fast(trained, config.kind, folder)
        figures = measure_tokenizer(load_tokenizer(folder), [(text, "") for text in measured])
        record = {
            "kind": config.kind,
            "vocabulary": config.vocabulary,
            "texts": len(learned),
            "made from": {
                "contents": named_contents(list(config.corpus)),
                "texts": json_hash(learned),
                "code": code_version(),
            },
            "figures": figures[""].as_json(),
        }
        write_json(folder / _RECORD, record)
    for path in (config.out / "made").iterdir():
        path.replace(config.out / path.name)
    (config.out / "made").rmdir()
    show_figures(console, [str(config.out)], [figures])
    what = "that it has not learned from" if measured is not learned else "that it was learned from"
    say(console, f"learned from {len(learned):,} texts; measured on {len(measured):,} {what}")


def _divided(records: Sequence[Record], share: float) -> tuple[list[str], list[str]]:
    """What is learned from and what measures; of too few texts, all do both."""
    from textgym.data.split import position

    texts = [record.text.encode("utf-8", "replace").decode("utf-8") for record in records]
    held_out = [text for text in texts if position(text) < share]
    if len(held_out) < _FEWEST_MEASURED:
        return texts, texts
    return [text for text in texts if position(text) >= share], held_out


def evaluate_tokenizers(config: EvaluateConfig, console: Console | None = None) -> None:
    """Measures each tokenizer, and prints a table.

    Args:
        config: Which, and on what.
        console: Where to print; ``None`` for the terminal.

    Raises:
        CommandError: If there is no such tokenizer, no text, or no such column.
        FileNotFoundError: If a source is not there.
    """
    from textgym.cli.console import use_quiet_transformers
    from textgym.cli.tokenizer.texts import drawn_texts, show_figures
    from textgym.tokenizers.figures import measure_tokenizer

    use_quiet_transformers()
    console = console or Console()
    opened = [_opened(name) for name in config.tokenizers]
    records = drawn_texts(config.corpus, config.column, config.most_texts, config.seed, console)
    groups = [""] * len(records)
    if config.by is not None:
        if not any(config.by in record.columns for record in records):
            known = sorted({name for record in records for name in record.columns})
            others = listed(known)
            raise CommandError(f"--by {config.by}: the texts have no such column; known: {others}")
        groups = [str(record.columns.get(config.by, "unknown")) for record in records]
    texts = [(record.text, group) for record, group in zip(records, groups, strict=True)]
    measured = []
    with bar("Measure", console) as shown:
        for number, tokenizer in enumerate(opened):
            measured.append(measure_tokenizer(tokenizer, texts))
            shown.update(number + 1, len(opened))
    show_figures(console, config.tokenizers, measured)


def _opened(name: str) -> Tokenizer:
    from textgym.tokenizers import load_tokenizer

    try:
        return load_tokenizer(name)
    except (ValueError, OSError) as error:
        raise CommandError(" ".join(str(error).split())) from error
