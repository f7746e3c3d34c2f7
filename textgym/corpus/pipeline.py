"""Steps in a row over a corpus of any size, by any number of workers, with the same result.

Records pass in chunks. The steps of a chunk that look at one record alone run in a worker, and so
do the signatures that comparisons need; what is the first of two equal texts is decided here, in
the order of the corpus.
"""

from __future__ import annotations

import itertools
import multiprocessing
import signal
from collections import Counter, deque
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from textgym.corpus.duplicates import make_comparison
from textgym.corpus.steps import COMPARING, make_step, read_step, require_steps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from textgym.corpus.duplicates import Comparison
    from textgym.corpus.records import Record
    from textgym.corpus.steps import Step

__all__ = ["StepCount", "clean"]

_CHUNK = 64
_AHEAD = 4  # chunks a worker may be ahead
_SHOWN, _LETTERS = 5, 120


@dataclass(slots=True)
class StepCount:
    """What a step did.

    Attributes:
        step: Its word.
        seen: Records that came to it.
        changed: How many it changed, by reason.
        dropped: How many it dropped, by reason.
        examples: The first ones of each: reason, where, and how the text begins.
    """

    step: str
    seen: int = 0
    changed: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    examples: list[tuple[str, str, str]] = field(default_factory=list)

    def note(self, record: Record, reason: str, *, dropped: bool) -> None:
        """Counts what became of a record."""
        counts = self.dropped if dropped else self.changed
        kind = reason.partition(": ")[0]
        counts[kind] += 1
        if counts[kind] <= _SHOWN:
            self.examples.append((reason, record.where, record.text[:_LETTERS]))


@dataclass(frozen=True, slots=True)
class _Passed:
    """A record behind the steps of a worker: what each step said, and keys for a comparison."""

    first: Record
    last: Record | None
    said: tuple[str, ...]
    key: Any


def clean(
    records: Iterable[Record], steps: Sequence[str], *, workers: int = 1
) -> tuple[Iterator[Record], list[StepCount]]:
    """Passes records through steps.

    Args:
        records: They are read as they are needed.
        steps: Words, see ``textgym.corpus.steps``.
        workers: Processes; 1 runs in this one.

    Returns:
        The records that are left, in order, and what each step did so far.

    Raises:
        ValueError: If a word is no step.
        ModuleNotFoundError: If a step's library is missing; the message says how to get it.
        BrokenExecutor: While they are read, if a worker has been ended from outside.
    """
    require_steps(tuple(steps))
    counts = [StepCount(word) for word in steps]
    stages: list[tuple[list[int], int | None]] = []
    alone: list[int] = []
    for number, word in enumerate(steps):
        if read_step(word)[0] in COMPARING:
            stages.append((alone, number))
            alone = []
        else:
            alone.append(number)
    if alone:
        stages.append((alone, None))

    def passed() -> Iterator[Record]:
        with ExitStack() as stack:
            flow: Iterator[Record] = iter(records)
            for numbers, comparing in stages:
                flow = _stage(flow, steps, numbers, comparing, counts, workers, stack)
            yield from flow

    return passed(), counts


def _stage(
    records: Iterator[Record],
    steps: Sequence[str],
    numbers: list[int],
    comparing: int | None,
    counts: list[StepCount],
    workers: int,
    stack: ExitStack,
) -> Iterator[Record]:
    """The steps up to a comparison, and the comparison."""
    words = [steps[number] for number in numbers]
    word = None if comparing is None else steps[comparing]
    comparison = None if word is None else make_comparison(*read_step(word))
    chunks = iter(lambda: list(itertools.islice(records, _CHUNK)), [])
    for chunk in _worked(chunks, words, word, workers, stack):
        for each in chunk:
            _count(each, numbers, counts)
            if each.last is None:
                continue
            if comparison is not None and comparing is not None:
                counts[comparing].seen += 1
                earlier = comparison.earlier(each.key, each.last.where)
                if earlier:
                    counts[comparing].note(each.last, f"repeats: {earlier}", dropped=True)
                    continue
            yield each.last


def _count(each: _Passed, numbers: list[int], counts: list[StepCount]) -> None:
    for place, number in enumerate(numbers[: len(each.said)]):
        counts[number].seen += 1
        if each.said[place]:
            is_last = place == len(each.said) - 1
            counts[number].note(each.first, each.said[place], dropped=is_last and each.last is None)


def _worked(
    chunks: Iterator[list[Record]],
    words: list[str],
    comparison: str | None,
    workers: int,
    stack: ExitStack,
) -> Iterator[list[_Passed]]:
    """Chunks behind their steps, in order, with no more of them in memory than are worked on."""
    if workers == 1:
        work = _Work(words, comparison)
        yield from map(work, chunks)
        return
    pool = stack.enter_context(
        ProcessPoolExecutor(
            workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin,
            initargs=(words, comparison),
        )
    )
    waiting: deque[Any] = deque()
    for chunk in chunks:
        waiting.append(pool.submit(_work, chunk))
        if len(waiting) >= _AHEAD * workers:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


class _Work:
    """The steps of a stage, made once."""

    def __init__(self, words: list[str], comparison: str | None) -> None:
        self._steps: list[Step] = [make_step(word) for word in words]
        self._comparison: Comparison | None = None
        if comparison is not None:
            self._comparison = make_comparison(*read_step(comparison))

    def __call__(self, records: list[Record]) -> list[_Passed]:
        return [self._one(record) for record in records]

    def _one(self, first: Record) -> _Passed:
        record: Record | None = first
        said = []
        for step in self._steps:
            if record is None:
                break
            record, reason = step(record)
            said.append(reason)
        key = None
        if record is not None and self._comparison is not None:
            key = self._comparison.key(record.text)
        return _Passed(first, record, tuple(said), key)


_here: list[Callable[[list[Record]], list[_Passed]]] = []  # what a worker process works by


def _begin(words: list[str], comparison: str | None) -> None:
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # of Ctrl-C the process that started this one tells
    _here[:] = [_Work(words, comparison)]


def _work(records: list[Record]) -> list[_Passed]:
    return _here[0](records)
