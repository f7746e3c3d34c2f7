"""Comparisons as rows of ids and numbers: what the training of a reward model reads.

A comparison is N texts of one prompt, in the order that its loss wants, and a few numbers: a pair
has its probability and margin, a ranking how many places are known, ratings have one number a text.

Simplification: a prompt's ratings are compared with at most seven others.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch

from reward_models.preferences.pairs import Preference
from reward_models.preferences.rankings import Ranking, Rating
from reward_models.reading.scoring import encode_rows, pad_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reward_models.preferences.rankings import Item
    from reward_models.reading.scoring import Reader

__all__ = [
    "Collator",
    "Comparison",
    "Kind",
    "encode_comparisons",
    "kind_of",
    "rating_loss_for",
]

Kind = Literal["pairs", "rankings", "ratings"]
Comparison = dict[Literal["rows", "numbers"], list[Any]]
"""Rows of ids, and numbers; JSON, so that it can be hashed."""

_TWO = 2
_GROUP = 8  # texts of one prompt whose ratings are compared at a time


@dataclass(frozen=True, slots=True)
class _Texts:
    prompt: str
    completions: tuple[str, ...]
    numbers: tuple[float, ...]


def kind_of(items: Sequence[Item]) -> Kind:
    """Says what the items are.

    Raises:
        ValueError: If there are none, or several kinds among them.
    """
    kinds = {type(item) for item in items}
    if not kinds:
        raise ValueError("nothing is left to learn from: give at least one comparison")
    if len(kinds) > 1:
        raise ValueError(
            f"{' and '.join(sorted(kind.__name__ for kind in kinds))} are mixed: a reward model "
            "learns from one kind at a time"
        )
    names: dict[type, Kind] = {Preference: "pairs", Ranking: "rankings", Rating: "ratings"}
    return names[kinds.pop()]


def rating_loss_for(items: Sequence[Item]) -> Literal["differences", "squared", "cross_entropy"]:
    """Chooses the loss of ratings that learns from every one of them.

    Args:
        items: Ratings.

    Returns:
        ``differences`` where each has another of its prompt and annotator that is rated otherwise;
        else ``cross_entropy`` of two values, such as thumbs, and ``squared`` of more.
    """
    groups: dict[tuple[str, str], set[float]] = {}
    for item in items:
        if isinstance(item, Rating):
            groups.setdefault((item.prompt, item.annotator), set()).add(item.rating)
    if all(len(values) > 1 for values in groups.values()):
        return "differences"
    return "cross_entropy" if len(set().union(*groups.values())) == _TWO else "squared"


def encode_comparisons(
    items: Sequence[Item], tokenizer: Reader, max_length: int, *, grouped: bool = False
) -> list[Comparison]:
    """Encodes comparisons; those with two rows that read the same are left out.

    Equal rows have equal scores: they add no gradient to a pair, and a wrong one to a ranking.

    Args:
        items: What to learn from, all of one kind.
        tokenizer: The tokenizer.
        max_length: The most ids of a row.
        grouped: Put ratings of one prompt, by one annotator, together; else each is by itself.

    Returns:
        The comparisons in the order of the items.

    Raises:
        ValueError: If none is left.
    """
    kind = kind_of(items)
    texts = [_texts_of(item) for item in items]
    if grouped:
        texts = _grouped(items, texts)
    rows = iter(
        encode_rows(
            tokenizer, [text.prompt + c for text in texts for c in text.completions], max_length
        )
    )
    comparisons: list[Comparison] = [
        {"rows": [next(rows) for _ in text.completions], "numbers": list(text.numbers)}
        for text in texts
    ]
    if kind != "ratings":
        comparisons = [one for one in comparisons if _are_different(one["rows"])]
    if not comparisons:
        raise ValueError(
            f"none of {len(items)} {kind} is left to learn from: two texts of each are equal "
            f"within max_length = {max_length} tokens. Raise it, or give other texts"
        )
    return comparisons


class Collator:
    """Makes a batch: all first rows, then all second rows and so on, padded to the longest."""

    def __init__(self, pad_id: int) -> None:
        self._pad_id = pad_id

    def __call__(self, comparisons: Sequence[Comparison]) -> dict[str, torch.Tensor]:
        """Pads and stacks N comparisons of at most K rows.

        Returns:
            ``input_ids`` and ``attention_mask``, ``(R, L)``; ``item`` and ``place``, ``(R,)``, say
            whose each row is; ``numbers``, ``(N, M)`` float32, padded with 0.
        """
        most = max(len(one["rows"]) for one in comparisons)
        whose = [
            (item, place)
            for place in range(most)
            for item, one in enumerate(comparisons)
            if place < len(one["rows"])
        ]
        rows = [comparisons[item]["rows"][place] for item, place in whose]
        ids, mask = pad_rows(rows, self._pad_id)
        item, place = torch.tensor(whose).T
        width = max(len(one["numbers"]) for one in comparisons)
        numbers = [[*one["numbers"], *[0.0] * (width - len(one["numbers"]))] for one in comparisons]
        return {
            "input_ids": ids,
            "attention_mask": mask,
            "item": item,
            "place": place,
            "numbers": torch.tensor(numbers, dtype=torch.float32),
        }


def _texts_of(item: Item) -> _Texts:
    if isinstance(item, Preference):
        numbers = (item.probability, item.margin)
        return _Texts(item.prompt, (item.chosen, item.rejected), numbers)
    if isinstance(item, Ranking):
        return _Texts(item.prompt, item.completions, (float(item.places),))
    return _Texts(item.prompt, (item.completion,), (item.rating,))


def _grouped(items: Sequence[Item], texts: Sequence[_Texts]) -> list[_Texts]:
    groups: dict[tuple[str, str], list[_Texts]] = {}
    for item, text in zip(items, texts, strict=True):
        groups.setdefault((item.prompt, item.annotator), []).append(text)
    parts = [part for group in groups.values() for part in _cut(group)]
    compared = [part for part in parts if len(part) > 1]
    if not compared:
        raise ValueError(
            f"no two of {len(items)} ratings have the same prompt and annotator, so there are no "
            "differences to learn; choose rating_loss 'squared' or 'cross_entropy'"
        )
    return [
        _Texts(
            part[0].prompt,
            tuple(completion for text in part for completion in text.completions),
            tuple(number for text in part for number in text.numbers),
        )
        for part in compared
    ]


def _cut(group: Sequence[_Texts]) -> list[Sequence[_Texts]]:
    """Cuts a group into parts of nearly equal size, so that none is left with a single text."""
    count = -(-len(group) // _GROUP)
    ends = [len(group) * number // count for number in range(count + 1)]
    return [group[start:end] for start, end in itertools.pairwise(ends)]


def _are_different(rows: Sequence[Sequence[int]]) -> bool:
    return len({tuple(row) for row in rows}) == len(rows)
