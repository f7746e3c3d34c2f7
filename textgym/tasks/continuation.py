"""Go on as a text goes on: any text file will do, or the parts of a corpus."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from textgym.data.prose import UNITS, file_state, key_of, load_topics, passages, read_text
from textgym.data.split import position
from textgym.data.tables import read_rows
from textgym.tasks.splits import SPLITS, check_split, spread
from textgym.types import Example

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

__all__ = ["SHORTEST_REFERENCE", "Continuation"]

SHORTEST_REFERENCE = 5
"""How many words a passage has after its prompt, at least."""

_NOT_BESIDE = frozenset({"text", "split", "prompts", "completions"})


@dataclass(frozen=True, slots=True)
class Continuation:
    """The first words of a passage; what is scored is how the text goes on.

    Each paragraph is cut into passages of ``prompt_words + reference_words`` words that do not
    overlap; what remains at its end is a passage if it is long enough. The column is ``reference``
    (the words that follow in the text, with their leading space). Of passages with the same prompt
    the first is kept.

    Attributes:
        path: A text file in UTF-8; or a folder with ``train.jsonl``, ``validation.jsonl`` and
            ``test.jsonl``, whose rows have a ``text``, as ``textgym data split`` writes it: its
            parts are the splits, and its other columns, such as keywords, are the examples'.
            ``None`` for the manual of the running Python, which is always there.
        unit: ``"paragraph"`` (blank lines separate them) or ``"line"`` (each stands alone).
        prompt_words: How many words of a passage are its prompt.
        reference_words: How many of the words after them are the reference, at most.
        prompt_tokens: Room for the prompt.
        completion_tokens: The allowance.
        tokenizer: The tokenizer.
        reward: The reward.
        splits: The names of the splits.
    """

    path: str | None = None
    unit: str = "paragraph"
    prompt_words: int = 12
    reference_words: int = 24
    prompt_tokens: int = 40
    completion_tokens: int = 64
    tokenizer: str = "reviews-4096"
    reward: str = "textgym.tasks.scoring:unigram_f1"
    splits: tuple[str, ...] = SPLITS

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            ValueError: If the unit is unknown or the words are too few.
        """
        if self.unit not in UNITS:
            raise ValueError(f"unknown unit {self.unit!r} of passages; known: {', '.join(UNITS)}")
        if self.prompt_words < 1 or self.reference_words < SHORTEST_REFERENCE:
            raise ValueError(
                f"a passage has at least 1 word of prompt and {SHORTEST_REFERENCE} of reference; "
                f"got prompt_words={self.prompt_words}, reference_words={self.reference_words}"
            )

    @property
    def name(self) -> str:
        """``Continuation``, and of what, if it is of a file."""
        return "Continuation" if self.path is None else f"Continuation of {Path(self.path).name}"

    def examples(self, split: str) -> Sequence[Example]:
        """Returns the passages of one split.

        Raises:
            ValueError: If ``split`` is unknown (the message lists the known ones) or empty, or if
                the file is no UTF-8 or has no passage that is long enough.
            FileNotFoundError: If the file does not exist.
        """
        check_split(self, split)
        if self.path is None:
            return _of_topics(self.prompt_words, self.reference_words)[split]
        words = self.prompt_words, self.reference_words
        # A file that was written anew is read anew.
        if Path(self.path).is_dir():
            states = tuple(map(file_state, _parts(self.path)))
            examples = _of_parts(self.path, states, self.unit, words)
        else:
            examples = _of_file(self.path, file_state(self.path), self.unit, words)
        if not examples[split]:
            counts = ", ".join(f"{name} {len(examples[name])}" for name in self.splits)
            raise ValueError(
                f"split {split!r} of {self.path} is empty ({counts}); use a longer text"
            )
        return examples[split]


@functools.lru_cache(maxsize=4)
def _of_topics(prompt_words: int, reference_words: int) -> Mapping[str, tuple[Example, ...]]:
    paragraphs = (paragraph.split() for paragraph in load_topics())
    return spread(_cut(paragraphs, prompt_words, reference_words))


@functools.lru_cache(maxsize=4)
def _of_file(
    path: str,
    _state: tuple[int, ...],
    unit: str,
    words: tuple[int, int],
) -> Mapping[str, tuple[Example, ...]]:
    splits = spread(_cut(passages(read_text(path), unit), *words))
    if not any(splits.values()):
        raise ValueError(
            f"{path} has no {unit} of at least {words[0] + SHORTEST_REFERENCE} words; "
            "use a longer text, or fewer prompt_words"
        )
    return splits


def _parts(folder: str) -> list[Path]:
    return [Path(folder) / f"{split}.jsonl" for split in SPLITS]


@functools.lru_cache(maxsize=4)
def _of_parts(
    folder: str, _states: tuple[tuple[int, ...], ...], unit: str, words: tuple[int, int]
) -> Mapping[str, tuple[Example, ...]]:
    """The passages of each part; one that opens as another does is in the first part alone.

    Raises:
        ValueError: If a part is missing, or a row has no text.
    """
    missing = [path.name for path in _parts(folder) if not path.is_file()]
    if missing:
        raise ValueError(
            f"{folder} is a folder, and has no {', '.join(missing)}: textgym data split writes them"
        )
    seen: set[str] = set()
    splits: dict[str, tuple[Example, ...]] = {}
    for split, path in zip(SPLITS, _parts(folder), strict=True):
        kept: dict[str, Example] = {}
        for example in _of_part(path, unit, words):
            key = key_of(example.prompt)
            if key not in seen:
                kept[key] = example
                seen.add(key)
        splits[split] = tuple(kept[key] for key in sorted(kept, key=position))
    return splits


def _of_part(path: Path, unit: str, words: tuple[int, int]) -> Iterator[Example]:
    """The passages of a part's texts, with the other columns of each; none where it is empty.

    Raises:
        ValueError: If a row has no text.
    """
    if not path.stat().st_size:
        return
    for row in read_rows(str(path)):
        text = row.values.get("text")
        if not isinstance(text, str):
            raise ValueError(  # noqa: TRY004 - the file is wrong, not the type of an argument
                f"{row.place} has no text in the column 'text'"
            )
        beside = {name: value for name, value in row.values.items() if name not in _NOT_BESIDE}
        for example in _cut(passages(text, unit), *words):
            yield Example(prompt=example.prompt, columns={**beside, **example.columns})


def _cut(texts: Iterable[list[str]], prompt_words: int, reference_words: int) -> Iterator[Example]:
    length = prompt_words + reference_words
    for words in texts:
        # A passage that is too short for a prompt and a reference is at the end, if anywhere.
        for start in range(0, len(words) - prompt_words - SHORTEST_REFERENCE + 1, length):
            yield Example(
                prompt=" ".join(words[start : start + prompt_words]),
                columns={"reference": f" {' '.join(words[start + prompt_words : start + length])}"},
            )
