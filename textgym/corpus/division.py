"""Train, validation and test, none of which knows the others; and whether that holds of any data.

What hangs together is never divided: texts that are near duplicates of each other, texts of one
document, texts that share a column's value. A group goes where a hash of its first text says, so
that it stays there when others come or go.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textgym.corpus.duplicates import clusters, signature
from textgym.corpus.records import fingerprint
from textgym.data.prose import key_of
from textgym.data.split import assign
from textgym.statistics.linked import connected

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from textgym.corpus.records import Record

__all__ = ["Leak", "divide", "leaks"]

_RUN = 25  # words
_KINDS = ("equal texts", "near duplicates", "one document", f"runs of {_RUN} words")


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
    records: Sequence[Record],
    shares: Mapping[str, float],
    *,
    by: str | None = None,
    threshold: float = 0.8,
) -> list[str]:
    """The split of each record.

    Args:
        records: All of them: what hangs together must be seen together.
        shares: Of each split; they add up to 1.
        by: A column whose equal values stay together, or ``source`` for what stands in one file.
        threshold: From which Jaccard index on two texts are near duplicates.

    Raises:
        ValueError: If the shares do not add up to 1, or a record lacks the column.
    """
    near = clusters((signature(record.text) for record in records), threshold)
    # Words too few for a signature are equal or not.
    links: list[list[Hashable]] = [
        [("near", group), ("words", fingerprint(key_of(record.text)))]
        for group, record in zip(near, records, strict=True)
    ]
    if by is not None:
        for link, record in zip(links, records, strict=True):
            link.append(("by", _value(record, by)))
    first: dict[int, Record] = {}
    return [
        assign(key_of(first.setdefault(group, record).text), shares)
        for group, record in zip(connected(links), records, strict=True)
    ]


def _value(record: Record, column: str) -> str:
    if column == "source":
        return record.source
    if column not in record.columns:
        raise ValueError(f"{record.where} has no column {column!r} to divide by")
    return repr(record.columns[column])


def leaks(splits: Mapping[str, Sequence[Record]], *, threshold: float = 0.8) -> list[Leak]:
    """What each split has of each earlier one; empty where nothing is shared.

    Args:
        splits: The records of each, in the order in which they are compared.
        threshold: From which Jaccard index on two texts are near duplicates.
    """
    everything = [(name, record) for name, records in splits.items() for record in records]
    keys: dict[str, list[set[str]]] = {
        "equal texts": [{fingerprint(key_of(record.text))} for _, record in everything],
        "one document": [{record.source} for _, record in everything],
        f"runs of {_RUN} words": [_runs(record.text) for _, record in everything],
        "near duplicates": [
            {str(group)}
            for group in clusters((signature(record.text) for _, record in everything), threshold)
        ],
    }
    found = []
    for kind in _KINDS:
        if kind == "one document" and len({record.source for _, record in everything}) == 1:
            continue  # one file that was divided is no leak by itself
        found += _shared(kind, everything, keys[kind])
    return found


def _runs(text: str) -> set[str]:
    said = key_of(text).split()
    return {
        fingerprint(" ".join(said[start : start + _RUN])) for start in range(len(said) - _RUN + 1)
    }


def _shared(kind: str, everything: list[tuple[str, Record]], keys: list[set[str]]) -> list[Leak]:
    holders: dict[str, dict[str, str]] = defaultdict(dict)
    counts: Counter[tuple[str, str]] = Counter()
    examples: dict[tuple[str, str], tuple[str, str]] = {}
    for (name, record), own in zip(everything, keys, strict=True):
        earlier = {split: where for key in sorted(own) for split, where in holders[key].items()}
        for split, where in earlier.items():
            if split != name:
                counts[split, name] += 1
                examples.setdefault((split, name), (record.where, where))
        for key in own:
            holders[key].setdefault(name, record.where)
    return [
        Leak(kind=kind, splits=pair, count=count, example=examples[pair])
        for pair, count in counts.items()
    ]
