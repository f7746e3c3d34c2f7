"""Train, validation and test, none of which knows the others; and whether that holds of any data.

What hangs together is never divided: texts that are near duplicates of each other, texts that share
a passage of 25 words, texts of one document, texts that share a column's value. A group goes where
a hash of its first text says, so that it stays there when others come or go.

Texts are read one at a time, and what they are compared by is kept: it grows with their number, and
by some bytes a word.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from textgym.corpus.duplicates import clusters, run_hashes, signature
from textgym.data.prose import key_of
from textgym.data.split import assign
from textgym.statistics.linked import connected

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Mapping

    import numpy.typing as npt

    from textgym.corpus.records import Record

__all__ = ["Leak", "divide", "leaks"]

_RUN = 25  # words
_EQUAL, _NEAR, _DOCUMENT = "equal texts", "near duplicates", "one document"
_PASSAGE = f"runs of {_RUN} words"
_KINDS = (_EQUAL, _NEAR, _DOCUMENT, _PASSAGE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """What one split has of another.

    Attributes:
        kind: In which way.
        splits: The two.
        count: How many texts of the second are in the first in that way.
        example: Where one of them is, and where it is again.
    """

    kind: str
    splits: tuple[str, str]
    count: int
    example: tuple[str, str]


def divide(
    records: Iterable[Record],
    shares: Mapping[str, float],
    *,
    by: str | None = None,
    threshold: float = 0.8,
) -> list[str]:
    """The split of each record.

    Args:
        records: All of them, since what hangs together must be seen together; each is read once.
        shares: Of each split; they add up to 1.
        by: A column whose equal values stay together, or ``source`` for what stands in one file.
        threshold: From which Jaccard index on two texts are near duplicates.

    Raises:
        ValueError: If the shares do not add up to 1, or a record lacks the column.
    """
    links: list[list[Hashable]] = []
    homes: list[str] = []
    runs: list[npt.NDArray[np.int64]] = []

    def signatures() -> Iterator[npt.NDArray[np.uint32] | None]:
        for record in records:
            key = key_of(record.text)
            # Words too few for a signature are equal or not.
            link: list[Hashable] = [("words", hash(key))]
            if by is not None:
                link.append(("by", _value(record, by)))
            links.append(link)
            homes.append(assign(key, shares))
            runs.append(_runs(key))
            yield signature(record.text)

    for link, group in zip(links, clusters(signatures(), threshold), strict=True):
        link.append(("near", group))
    for one, other in _sharing(runs):
        links[one].append(("passage", one))
        links[other].append(("passage", one))
    first: dict[int, str] = {}
    groups = connected(links)
    return [first.setdefault(group, home) for group, home in zip(groups, homes, strict=True)]


def _sharing(runs: list[npt.NDArray[np.int64]]) -> list[list[int]]:
    """Texts that have a run of words in common: enough pairs that they hang together."""
    values = np.concatenate([*runs, np.empty(0, np.int64)])
    order = np.argsort(values, kind="stable")
    owners = np.repeat(np.arange(len(runs), dtype=np.int32), [len(each) for each in runs])[order]
    equal = values[order][1:] == values[order][:-1]
    pairs = np.stack([owners[:-1][equal], owners[1:][equal]], axis=-1)
    return np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0).tolist()  # type: ignore[no-any-return] # numpy's


def _value(record: Record, column: str) -> str:
    if column == "source":
        return record.source
    if column not in record.columns:
        raise ValueError(f"{record.where} has no column {column!r} to divide by")
    return repr(record.columns[column])


def leaks(texts: Iterable[tuple[str, Record]], *, threshold: float = 0.8) -> list[Leak]:
    """What each split has of each earlier one; empty where nothing is shared.

    Args:
        texts: Each text's split, and the text; each is read once. Splits are compared in the order
            in which they first come.
        threshold: From which Jaccard index on two texts are near duplicates.
    """
    names: list[str] = []
    places: list[str] = []
    keys: dict[str, list[npt.NDArray[np.int64]]] = {kind: [] for kind in _KINDS}

    def signatures() -> Iterator[npt.NDArray[np.uint32] | None]:
        for name, record in texts:
            names.append(name)
            places.append(record.where)
            key = key_of(record.text)
            keys[_EQUAL].append(np.array([hash(key)]))
            keys[_DOCUMENT].append(np.array([hash(record.source)]))
            keys[_PASSAGE].append(_runs(key))
            yield signature(record.text)

    keys[_NEAR] = [np.array([group]) for group in clusters(signatures(), threshold)]
    if len({int(key[0]) for key in keys[_DOCUMENT]}) == 1:
        del keys[_DOCUMENT]  # one file that was divided is no leak by itself
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    splits = np.array([numbers[name] for name in names])
    return [
        leak for kind in keys for leak in _shared(kind, keys[kind], splits, list(numbers), places)
    ]


def _runs(key: str) -> npt.NDArray[np.int64]:
    """A hash of each run of so many words."""
    return run_hashes(key.split(), _RUN).view(np.int64)


def _shared(
    kind: str,
    keys: list[npt.NDArray[np.int64]],
    splits: npt.NDArray[np.int64],
    names: list[str],
    places: list[str],
) -> Iterator[Leak]:
    """What of one kind two splits share.

    Args:
        kind: The kind.
        keys: Of each text, any number.
        splits: The number of each text's split.
        names: The splits' names.
        places: Where each text is.
    """
    owners = np.repeat(np.arange(len(keys)), [len(each) for each in keys])
    values = np.concatenate(keys)
    of_split = [np.flatnonzero(splits[owners] == number) for number in range(len(names))]
    for first, second in itertools.combinations(range(len(names)), 2):
        known, at = np.unique(values[of_split[first]], return_index=True)
        if not len(known):
            continue
        asked = values[of_split[second]]
        found = np.minimum(np.searchsorted(known, asked), len(known) - 1)
        hits = np.flatnonzero(known[found] == asked)
        if len(hits):
            sharing = owners[of_split[second][hits]]
            there = owners[of_split[first][at[found[hits[0]]]]]
            yield Leak(
                kind=kind,
                splits=(names[first], names[second]),
                count=len(np.unique(sharing)),
                example=(places[sharing[0]], places[there]),
            )
