"""A file of texts or of pairs, straight onto the page: what its columns say becomes pairs.

Simplification: answers that a file holds already are not taken over; ``textgym reward import``
does that.
"""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import astuple, dataclass, replace
from typing import TYPE_CHECKING, Any

from reward_models.preferences.pairs import Origin, Pair, Provenance, origins_of_pairs
from reward_models.preferences.sheets import texts_of_pairs
from textgym.data.tables import checked_rows, read_rows
from textgym.messages import listed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from reward_models.preferences.leases import Question, Side
    from reward_models.preferences.sheets import Written
    from textgym.data.tables import Row

__all__ = ["Material", "read_material", "read_texts"]

_EXPECTED, _DRAFT = "known", "draft"
_PAIRS = (("a", "b"), ("chosen", "rejected"), ("response_a", "response_b"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What a file gives to compare.

    Attributes:
        pairs: The pairs.
        expected: The answer of pairs whose answer is known.
        provenance: Where texts came from, as far as the file says.
        question: ``edits`` if both texts of a pair are edits of its prompt, which is a draft.
    """

    pairs: tuple[Pair, ...]
    expected: Mapping[str, Side]
    provenance: tuple[Provenance, ...]
    question: Question


def read_material(
    name: str,
    *,
    seed: int = 0,
    columns: Mapping[str, str] | None = None,
    on_bad: Callable[[ValueError], None] | None = None,
) -> Material:
    """Reads a file of pairs, or of texts of which those of one prompt are paired at random.

    ===============================================  =============================================
    columns, beside ``prompt``, which may be absent  what they are
    ===============================================  =============================================
    ``a, b`` (and ``policy_a, policy_b, known``)     a pair; ``known`` is its answer, ``a`` or ``b``
    ``draft, a, b``                                  two edits of a draft, which is shown above them
    ``chosen, rejected``                             a pair, whose order is not looked at
    ``completion`` (and ``policy``)                  a text; as ``textgym generate --out`` writes
    ``completions``                                  a list of texts
    ===============================================  =============================================

    Beside ``policy`` there may be ``checkpoint``, the hash of its weights, and ``seed``; beside
    ``policy_a`` and ``policy_b`` the same with ``_a`` and ``_b``.

    Args:
        name: What ``read_rows`` takes.
        seed: Decides which texts meet, and which is called ``a``.
        columns: The file's name of a column by ours.
        on_bad: Is told why a row cannot be read, which is then left out; None raises it.

    Raises:
        ValueError: If the columns are others, a row has no text, or no prompt has two texts.
        FileNotFoundError: If there is no such file.
    """
    return _material_of(name, read_rows(name, columns=columns, on_bad=on_bad), seed, on_bad)


def _material_of(
    name: str, rows: Sequence[Row], seed: int, on_bad: Callable[[ValueError], None] | None
) -> Material:
    """As ``read_material``, of rows that were read."""
    known = rows[0].values
    sides = next((sides for sides in _PAIRS if set(sides) <= known.keys()), None)
    if sides is not None:
        sound = checked_rows(rows, lambda row: _sides_of(row, sides), on_bad)
        return _of_pairs(sound, sides, seed)
    if "completion" in known or "completions" in known:
        return _of_texts(name, checked_rows(rows, _texts_of, on_bad), seed)
    raise ValueError(
        f"{name} has the columns {listed(known)}; to compare texts, name them a and b, "
        "completion, or completions, and what they follow prompt"
    )


def _sides_of(row: Row, sides: tuple[str, str]) -> list[_Text]:
    """Both texts of a pair.

    Raises:
        ValueError: If one is none, or what is known is no side.
    """
    known = row.values.get(_EXPECTED)
    if known not in (None, "", "a", "b"):
        raise ValueError(f"{row.place}: known is {known!r}; it is a, b, or nothing")
    return [_written(row, side, f"_{side}") for side in sides]


def _texts_of(row: Row) -> list[_Text]:
    """The texts of a row with one or several.

    Raises:
        ValueError: If there is none.
    """
    listed = row.values.get("completions")
    if listed is None:
        return [_written(row, "completion", "")]
    try:
        listed = json.loads(listed) if isinstance(listed, str) else listed
    except ValueError as error:
        raise ValueError(f"{row.place}: completions are no list in JSON: {error}") from error
    if not isinstance(listed, list) or not all(isinstance(text, str) for text in listed):
        raise ValueError(f"{row.place}: completions must be a list of texts")
    one = _written(row, None, "")
    return [replace(one, text=text) for text in listed]


def read_texts(
    name: str,
    *,
    columns: Mapping[str, str] | None = None,
    on_bad: Callable[[ValueError], None] | None = None,
) -> tuple[list[Written], dict[tuple[str, str], Origin]]:
    """Reads the texts of a file, of pairs each of both, to be ranked, rated or marked.

    Args:
        name: A file as of ``read_material``; here a prompt may have a single text.
        columns: See ``read_material``.
        on_bad: See ``read_material``.

    Returns:
        The texts; and by prompt and text where they came from, as far as the file says.

    Raises:
        ValueError: As ``read_material``.
        FileNotFoundError: If there is no such file.
    """
    rows = read_rows(name, columns=columns, on_bad=on_bad)
    if not {"completion", "completions"} & rows[0].values.keys():
        found = _material_of(name, rows, 0, on_bad)
        return texts_of_pairs(found.pairs), origins_of_pairs(found.pairs, found.provenance)
    texts = [
        (prompt, text)
        for prompt, known in _by_prompt(checked_rows(rows, _texts_of, on_bad)).items()
        for text in known.values()
    ]
    return [(prompt, text.text, text.policy) for prompt, text in texts], {
        (prompt, text.text): Origin(text.policy, text.checkpoint, prompt, text.seed)
        for prompt, text in texts
        if text.policy or text.checkpoint
    }


def _of_pairs(rows: Sequence[Row], sides: tuple[str, str], seed: int) -> Material:
    found: dict[str, _Compared] = {}
    expected: dict[str, Side] = {}
    prompt = _DRAFT if _DRAFT in rows[0].values else "prompt"
    for row in rows:
        texts = _sides_of(row, sides)
        if texts[0].text == texts[1].text:
            continue
        one = _compared(_optional(row, prompt), texts, seed)
        known = row.values.get(_EXPECTED)
        found[one.pair.pair_id] = one
        if known:
            right = texts[0] if known == "a" else texts[1]
            expected[one.pair.pair_id] = "a" if right == one.texts[0] else "b"
    if not found:
        raise ValueError(f"all {len(rows)} rows have two equal texts, and nothing to compare")
    return _material(list(found.values()), expected, "compare" if prompt == "prompt" else "edits")


def _by_prompt(rows: Sequence[Row]) -> dict[str, dict[str, _Text]]:
    """The different texts of each prompt, as the file names them."""
    texts: dict[str, dict[str, _Text]] = {}
    for row in rows:
        of_prompt = texts.setdefault(_optional(row, "prompt"), {})
        for text in _texts_of(row):
            of_prompt.setdefault(text.text, text)
    return texts


def _of_texts(name: str, rows: Sequence[Row], seed: int) -> Material:
    found = []
    for prompt, known in _by_prompt(rows).items():
        order = [known[text] for text in sorted(known)]
        random.Random(f"{seed}/{prompt}").shuffle(order)  # noqa: S311 - not a secret
        pairs = zip(order[::2], order[1::2], strict=False)
        found += [_compared(prompt, two, seed) for two in pairs]
    if not found:
        raise ValueError(
            f"{name} has no prompt with two different texts to compare; write several of each, as "
            "textgym generate --count 4 --out does"
        )
    return _material(found, {}, "compare")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Text:
    """A text and where it came from, as far as the file says."""

    text: str
    policy: str
    checkpoint: str
    seed: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Compared:
    """A pair, and its texts ``a`` and ``b`` with where they came from."""

    pair: Pair
    texts: tuple[_Text, _Text]


def _compared(prompt: str, texts: Sequence[_Text], seed: int) -> _Compared:
    """Makes a pair whose ``a`` is drawn."""
    first, second = sorted(texts, key=lambda each: each.text)
    name = json.dumps([prompt, astuple(first), astuple(second), seed])
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16)
    a, b = (first, second) if digest.digest()[0] % 2 else (second, first)
    pair = Pair(
        pair_id=digest.hexdigest(),
        prompt=prompt,
        a=a.text,
        b=b.text,
        policy_a=a.policy,
        policy_b=b.policy,
        seed=seed,
    )
    return _Compared(pair=pair, texts=(a, b))


def _material(
    found: Sequence[_Compared], expected: Mapping[str, Side], question: Question
) -> Material:
    sides: tuple[Side, Side] = ("a", "b")
    return Material(
        pairs=tuple(one.pair for one in found),
        expected=expected,
        question=question,
        provenance=tuple(
            Provenance(
                pair_id=one.pair.pair_id,
                side=side,
                policy=text.policy,
                checkpoint=text.checkpoint,
                prompt=one.pair.prompt,
                seed=text.seed,
            )
            for one in found
            for side, text in zip(sides, one.texts, strict=True)
            if text.policy or text.checkpoint
        ),
    )


def _written(row: Row, column: str | None, suffix: str) -> _Text:
    """The text in a column, and what other columns with a suffix say of it."""
    value: Any = "" if column is None else row.values.get(column)
    if not isinstance(value, str):
        raise ValueError(  # noqa: TRY004 - the file is wrong, not the type of an argument
            f"{row.place}: {column} is no text, but {type(value).__name__}"
        )
    seed = row.values.get(f"seed{suffix}")
    return _Text(
        text=value,
        policy=_optional(row, f"policy{suffix}"),
        checkpoint=_optional(row, f"checkpoint{suffix}"),
        seed=seed if isinstance(seed, int) else None,
    )


def _optional(row: Row, column: str) -> str:
    value = row.values.get(column)
    return "" if value is None else str(value)
