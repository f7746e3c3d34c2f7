"""What a model learned from, as hashes beside its weights: so that it is not measured on that.

A card is told which pairs there are, and no more who learned from which. A hash says of a text in
hand whether it was among them, and gives none of them away to who has no such text.

Simplification: a prompt of a column that is a part of a longer conversation that was learned from
is taken for another one.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from reward_models.preferences.pairs import Preference
from reward_models.preferences.rankings import completions_of
from reward_models.preferences.splitting import divided_by

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from reward_models.preferences.rankings import Item

__all__ = ["Traces", "read_traces", "traces_of"]

_DIGITS = 12  # of a million texts, one in three hundred million others has the hash of one


@dataclass(frozen=True, slots=True, kw_only=True)
class Traces:
    """Hashes of prompts and texts.

    Attributes:
        prompts: Of prompts that a column names.
        beginnings: Of what texts begin with where the prompt is that, by its number of characters.
        texts: Of completions.
    """

    prompts: frozenset[str] = frozenset()
    beginnings: Mapping[int, frozenset[str]] = field(default_factory=dict)
    texts: frozenset[str] = frozenset()

    def __or__(self, other: Traces) -> Traces:
        """What was learned from by either."""
        lengths = self.beginnings.keys() | other.beginnings.keys()
        none: frozenset[str] = frozenset()
        return Traces(
            prompts=self.prompts | other.prompts,
            beginnings={
                n: self.beginnings.get(n, none) | other.beginnings.get(n, none) for n in lengths
            },
            texts=self.texts | other.texts,
        )

    def hold(self, item: Item) -> bool:
        """Whether an item's prompt, or without one a text of it, was learned from."""
        if isinstance(item, Preference) and item.implicit:
            whole = [item.prompt + text for text in completions_of(item)]
            return any(
                len(text) >= length and _hash(text[:length]) in hashes
                for text in whole
                for length, hashes in self.beginnings.items()
            )
        return _hash(item.prompt) in self.prompts if item.prompt else self.share_text(item)

    def share_text(self, item: Item) -> bool:
        """Whether a completion of an item was learned from, whatever the prompts."""
        return any(_hash(text) in self.texts for text in completions_of(item))

    def as_json(self) -> dict[str, Any]:
        """Returns what ``read_traces`` reads: each set as one text."""
        return {
            "digits": _DIGITS,
            "prompts": "".join(sorted(self.prompts)),
            "beginnings": {str(n): "".join(sorted(h)) for n, h in sorted(self.beginnings.items())},
            "texts": "".join(sorted(self.texts)),
        }


def traces_of(items: Iterable[Item]) -> Traces:
    """Hashes what a model learns from."""
    items = list(items)
    prompts: set[str] = set()
    beginnings: dict[int, set[str]] = {}
    texts = {_hash(text) for item in items for text in completions_of(item)}
    for item, keys in zip(items, divided_by(items), strict=True):
        for text in keys:
            if isinstance(item, Preference) and item.implicit:
                beginnings.setdefault(len(text), set()).add(_hash(text))
            else:
                prompts.add(_hash(text))
    return Traces(
        prompts=frozenset(prompts),
        beginnings={length: frozenset(hashes) for length, hashes in beginnings.items()},
        texts=frozenset(texts),
    )


def read_traces(path: Path) -> Traces:
    """Reads what ``as_json`` gave.

    Raises:
        OSError: If there is no such file.
        ValueError: If it is damaged.
    """
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        digits = int(stored["digits"])
        return Traces(
            prompts=_cut(stored["prompts"], digits),
            beginnings={int(n): _cut(text, digits) for n, text in stored["beginnings"].items()},
            texts=_cut(stored["texts"], digits),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is damaged ({error!r}), so nobody knows what was learned from: train the "
            "model again, or remove the file"
        ) from error


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()


def _cut(text: str, digits: int) -> frozenset[str]:
    return frozenset(text[start : start + digits] for start in range(0, len(text), digits))
