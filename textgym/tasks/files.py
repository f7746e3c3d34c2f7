"""A user's own task in one line: a file of prompts, and of what good completions are."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from textgym.data.prose import file_state, key_of
from textgym.data.split import assign
from textgym.data.tables import DATASETS_PREFIX, Row, read_rows
from textgym.messages import listed
from textgym.tasks.splits import SHARES, SPLITS, check_split
from textgym.types import Example

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["SPLIT_COLUMN", "FileTask", "columns_of", "task_from_path", "unjudged"]

SPLIT_COLUMN = "split"
"""The column that says which split a row is in, if a file has it."""

_NAMED = ("prompt", "reference")
_RESERVED = frozenset({"prompts", "completions"})


@dataclass(frozen=True, slots=True)
class FileTask:
    """The rows of a file that ``textgym.data.read_rows`` reads, or of ``datasets:NAME``.

    A row is an example. Its columns, all but the prompt's and ``split``, go to the reward by their
    names; the column ``reference`` is there always, empty where there is none. Texts are taken as
    they stand: a reference that follows its prompt after a space begins with that space.

    If there is a column ``split``, its values are the splits. Else a hash of the prompt, without
    its case and punctuation, decides between train (8 of 10), validation and test (1 of 10 each):
    a prompt is in one of them only, and stays there when rows come or go. The file is read once,
    until it changes.

    Attributes:
        path: The file's path, or ``datasets:NAME`` (``datasets:NAME:CONFIGURATION``).
        prompt: The column with the prompts.
        reference: The column with what good completions are; ``None`` if there is none.
        prompt_tokens: Room for the prompt; of longer ones the end is kept.
        completion_tokens: The allowance.
        tokenizer: The tokenizer.
        reward: The reward.
    """

    path: str
    prompt: str = "prompt"
    reference: str | None = "reference"
    prompt_tokens: int = 128
    completion_tokens: int = 64
    tokenizer: str = "reviews-4096"
    reward: str = "textgym.tasks.scoring:unigram_f1"

    @property
    def name(self) -> str:
        """The file's name, or the dataset's."""
        if self.path.startswith(DATASETS_PREFIX):
            return self.path.removeprefix(DATASETS_PREFIX)
        return Path(self.path).name

    @property
    def splits(self) -> tuple[str, ...]:
        """The values of the column ``split``, or train, validation and test.

        Raises:
            ValueError: See ``examples``.
        """
        return tuple(self._read())

    def examples(self, split: str) -> Sequence[Example]:
        """Returns the rows of one split, in their order.

        Raises:
            ValueError: If ``split`` is unknown or empty, a column is missing, a text is none, an
                example is in two splits, or the file cannot be read; the message says where.
            FileNotFoundError: If there is no such file.
            ModuleNotFoundError: If a library is missing; the message says how to get it.
        """
        check_split(self, split)
        splits = self._read()
        if not splits[split]:
            sizes = ", ".join(f"{name} {len(examples)}" for name, examples in splits.items())
            raise ValueError(
                f"split {split!r} of {self.path} is empty ({sizes}); add rows, or a column "
                f"{SPLIT_COLUMN!r}"
            )
        return splits[split]

    def _read(self) -> Mapping[str, tuple[Example, ...]]:
        return _splits(self.path, file_state(self.path), self.prompt, self.reference)


def columns_of(name: str) -> tuple[str, dict[str, str | None]]:
    """Parts ``data.jsonl?prompt=question&reference=answer`` into a path and what is behind it.

    Returns:
        The path, and the fields of ``FileTask``; ``reference=`` stands for none.

    Raises:
        ValueError: If something else than those two is named, or one of them twice.
    """
    path, mark, query = name.partition("?")
    found: dict[str, str | None] = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key not in _NAMED or key in found or (key == "prompt" and not value):
            raise ValueError(
                f"{name}: behind the path stand the names of columns, each once: "
                "?prompt=question&reference=answer"
            )
        found[key] = value or None
    if mark and not found:
        raise ValueError(f"{name} names no column behind its question mark; leave that out")
    return path, found


def task_from_path(path: str | Path, **settings: Any) -> FileTask:
    """Makes the task of a file that has the column ``prompt`` and maybe ``reference``.

    Args:
        path: The file's path, or ``datasets:NAME``; its columns may be named behind it, see
            ``columns_of``.
        **settings: Other fields of ``FileTask``.

    Returns:
        The task. If the file has no column ``reference``, and ``settings`` name no other, its
        reward is ``unjudged``: whoever makes an environment of it names another.

    Raises:
        ValueError: If the file cannot be read; the message says where.
        FileNotFoundError: If there is no such file.
        ModuleNotFoundError: If a library is missing; the message says how to get it.
    """
    name, named = columns_of(str(path))
    settings = named | settings
    if "reference" not in settings and "reference" not in _rows(name, file_state(name))[0].values:
        settings = {"reward": f"{__name__}:{unjudged.__name__}", **settings, "reference": None}
    return FileTask(name, **settings)


def unjudged(
    prompts: Sequence[str], completions: Sequence[str], **_: Sequence[Any]
) -> Sequence[float]:
    """Refuses to score: the default of a file that does not say what a good completion is.

    Raises:
        ValueError: Always; the message says what to do.
    """
    raise ValueError(
        f"the file has no column 'reference' that {len(completions)} completions of "
        f"{len(prompts)} prompts could be compared with; give the environment a reward"
    )


@functools.lru_cache(maxsize=2)
def _rows(path: str, _state: tuple[int, ...]) -> tuple[Row, ...]:
    return read_rows(path)


@functools.lru_cache(maxsize=4)
def _splits(
    path: str, state: tuple[int, ...], prompt: str, reference: str | None
) -> Mapping[str, tuple[Example, ...]]:
    rows = _rows(path, state)
    _check_columns(path, list(rows[0].values), prompt, reference)
    has_splits = SPLIT_COLUMN in rows[0].values
    splits: dict[str, list[Example]] = {} if has_splits else {split: [] for split in SPLITS}
    homes: dict[tuple[str, str], tuple[str, str]] = {}
    for row in rows:
        text = _text(row, prompt)
        wanted = "" if reference is None else _text(row, reference, missing="")
        # Rows without a prompt go by what they want instead, or all would be in one split.
        split = _split(row) if has_splits else assign(key_of(text) or key_of(wanted), SHARES)
        home, place = homes.setdefault((text, wanted), (split, row.place))
        if home != split:
            raise ValueError(
                f"{row.place}, in split {split!r}, repeats {place}, in split {home!r}; "
                "an example is in one split only"
            )
        columns = {
            key: value for key, value in row.values.items() if key not in (prompt, SPLIT_COLUMN)
        }
        columns["reference"] = wanted
        splits.setdefault(split, []).append(Example(prompt=text, columns=columns))
    return {split: tuple(examples) for split, examples in splits.items()}


def _check_columns(path: str, columns: list[str], prompt: str, reference: str | None) -> None:
    for wanted in (prompt, reference):
        if wanted is not None and wanted not in columns:
            raise ValueError(
                f"{path} has no column {wanted!r}; it has: {listed(columns)}; name the columns "
                f"behind the path, as in {path}?prompt=question&reference=answer"
            )
    taken = sorted(_RESERVED.intersection(columns) - {prompt})
    if taken:
        raise ValueError(
            f"{path} has a column {taken[0]!r}, which is what a reward calls the texts themselves; "
            "rename it"
        )


def _split(row: Row) -> str:
    split = _text(row, SPLIT_COLUMN)
    if not split:
        raise ValueError(f"{row.place}: the column {SPLIT_COLUMN!r} is empty")
    return split


def _text(row: Row, column: str, missing: str | None = None) -> str:
    value = row.values[column]
    if value is None and missing is not None:
        return missing
    if not isinstance(value, str):
        raise ValueError(  # noqa: TRY004 - the file is wrong, not the type of an argument
            f"{row.place}: the column {column!r} must hold a string, got {type(value).__name__} "
            f"{value!r:.40}"
        )
    return value
