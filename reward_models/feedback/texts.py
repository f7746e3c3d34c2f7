"""A file of texts or of pairs, straight onto the page: what its columns say becomes pairs.

Simplification: answers that a file holds already are not taken over; ``textgym reward import``
does that.
"""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reward_models.preferences.pairs import Pair
from textgym.data.tables import read_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reward_models.preferences.leases import Side
    from textgym.data.tables import Row

__all__ = ["Material", "read_material"]

_EXPECTED = "known"
_PAIRS = (("a", "b"), ("chosen", "rejected"), ("response_a", "response_b"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What a file gives to compare.

    Attributes:
        pairs: The pairs.
        expected: The answer of pairs whose answer is known.
    """

    pairs: tuple[Pair, ...]
    expected: Mapping[str, Side]


def read_material(name: str, *, seed: int = 0) -> Material:
    """Reads a file of pairs, or of texts of which those of one prompt are paired at random.

    ===============================================  =============================================
    columns, beside ``prompt``, which may be absent  what they are
    ===============================================  =============================================
    ``a, b`` (and ``policy_a, policy_b, known``)     a pair; ``known`` is its answer, ``a`` or ``b``
    ``chosen, rejected``                             a pair, whose order is not looked at
    ``completion`` (and ``policy``)                  a text; as ``textgym generate --out`` writes
    ``completions``                                  a list of texts
    ===============================================  =============================================

    Args:
        name: What ``read_rows`` takes.
        seed: Decides which texts meet, and which is called ``a``.

    Raises:
        ValueError: If the columns are others, a row has no text, or no prompt has two texts.
        FileNotFoundError: If there is no such file.
    """
    rows = read_rows(name)
    columns = rows[0].values
    for first, second in _PAIRS:
        if first in columns and second in columns:
            return _of_pairs(rows, first, second, seed)
    if "completion" in columns or "completions" in columns:
        return _of_texts(name, rows, seed)
    raise ValueError(
        f"{name} has the columns {', '.join(columns)}; to compare texts, name them a and b, "
        "completion, or completions, and what they follow prompt"
    )


def _of_pairs(rows: Sequence[Row], first: str, second: str, seed: int) -> Material:
    pairs, expected = {}, {}
    for row in rows:
        texts = [(_text(row, side), _optional(row, f"policy_{side}")) for side in (first, second)]
        if texts[0][0] == texts[1][0]:
            continue
        pair, swapped = _pair(_optional(row, "prompt"), texts, seed)
        known = row.values.get(_EXPECTED)
        if known not in (None, "", "a", "b"):
            raise ValueError(f"{row.place}: known is {known!r}; it is a, b, or nothing")
        pairs[pair.pair_id] = pair
        if known:
            expected[pair.pair_id] = _side(is_a=(known == "a") != swapped)
    if not pairs:
        raise ValueError(f"all {len(rows)} rows have two equal texts, and nothing to compare")
    return Material(pairs=tuple(pairs.values()), expected=expected)


def _of_texts(name: str, rows: Sequence[Row], seed: int) -> Material:
    texts: dict[str, dict[str, str]] = {}
    for row in rows:
        column = "completion" if row.values.get("completions") is None else "completions"
        given = row.values[column] if column == "completions" else [_text(row, column)]
        if isinstance(given, str):
            given = json.loads(given)
        prompt, policy = _optional(row, "prompt"), _optional(row, "policy")
        for text in given:
            texts.setdefault(prompt, {}).setdefault(str(text), policy)
    pairs = []
    for prompt, known in texts.items():
        order = sorted(known.items())
        random.Random(f"{seed}/{prompt}").shuffle(order)  # noqa: S311 - not a secret
        pairs += [_pair(prompt, two, seed)[0] for two in zip(order[::2], order[1::2], strict=False)]
    if not pairs:
        raise ValueError(
            f"{name} has no prompt with two different texts to compare; write several of each, as "
            "textgym generate --count 4 --out does"
        )
    return Material(pairs=tuple(pairs), expected={})


def _pair(prompt: str, texts: Sequence[tuple[str, str]], seed: int) -> tuple[Pair, bool]:
    """Makes a pair whose ``a`` is drawn; says besides whether that is the second text."""
    name = json.dumps([prompt, sorted(texts), seed])
    digest = hashlib.blake2b(name.encode(), digest_size=16)
    (text, _), (other, _) = texts
    swapped = (digest.digest()[0] % 2 == 0) == (text < other)
    (a, policy_a), (b, policy_b) = texts[::-1] if swapped else texts
    pair = Pair(
        pair_id=digest.hexdigest(),
        prompt=prompt,
        a=a,
        b=b,
        policy_a=policy_a,
        policy_b=policy_b,
        seed=seed,
    )
    return pair, swapped


def _text(row: Row, column: str) -> str:
    value: Any = row.values.get(column)
    if isinstance(value, str):
        return value
    raise ValueError(f"{row.place}: {column} is no text, but {type(value).__name__}")


def _optional(row: Row, column: str) -> str:
    value = row.values.get(column)
    return "" if value is None else str(value)


def _side(*, is_a: bool) -> Side:
    return "a" if is_a else "b"
