"""Preference files of other people: read and checked; and the store's answers for them.

Simplification: a whole file is in memory.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from reward_models.preferences.pairs import Preference
from reward_models.preferences.rankings import Item, Rating
from reward_models.preferences.row_formats import KNOWN_COLUMNS, parser_of
from reward_models.preferences.splitting import divide
from textgym.data.tables import read_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from reward_models.preferences.store import PreferenceStore

__all__ = [
    "PreferenceData",
    "data_hash",
    "export_preferences",
    "preference_lines",
    "read_preferences",
    "write_preferences",
]

_TIE = 0.5
_TRAINING = "train"
_SPLIT = "split"


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferenceData:
    """What a file or store says, ready to learn from.

    Attributes:
        items: To learn from: preferences, rankings or ratings, all of one kind.
        held_out: What the column ``split`` keeps apart, if there is one; shares no prompt with
            ``items``, see ``divide``.
        left_out: How many rows were left out, by reason; reasons without a row are not there.
        notes: What is odd but no error, a sentence each.
    """

    items: tuple[Item, ...]
    held_out: tuple[Item, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_preferences(name: str, *, skip_bad: bool = False) -> PreferenceData:
    """Reads a file of preferences; its columns say what it is.

    =========================================================  ===================================
    columns                                                    known from
    =========================================================  ===================================
    ``prompt, chosen, rejected`` (and ``margin``)              TRL; texts or lists of messages
    ``chosen, rejected``                                       TRL's implicit prompts, transcripts
    ``chosen, rejected, probability``                          soft labels; 0.5 is a tie
    ``conversation_a, conversation_b, winner``                 chat arenas; also ``response_a`` ...
    ``instruction, output_1, output_2, preference``            AlpacaEval
    ``prompt, completions, ranks`` (or ``best``)               rankings of K, best of K
    ``query, sample0, sample1, ..., best``                     Ziegler et al.
    ``prompt, completion, rating`` (or ``score``, ``label``)   ratings, thumbs up and down
    =========================================================  ===================================

    Lists in a CSV are JSON. A column ``split`` keeps the rows apart that are not ``train``.

    Args:
        name: The path of a ``.jsonl``, ``.csv`` or ``.parquet`` file, or ``datasets:NAME``.
        skip_bad: Leave rows out that cannot be read, and count them, instead of raising.

    Raises:
        ValueError: If the columns are unknown, a row cannot be read, or nothing is left to learn
            from; the message says where and why.
        FileNotFoundError: If there is no such file.
        ModuleNotFoundError: If a library is missing; the message says how to get it.
    """
    rows = read_rows(name)
    parse = parser_of(rows[0].values)
    if parse is None:
        raise ValueError(
            f"{name} has the columns {', '.join(rows[0].values)}, which are no preferences; known: "
            f"{KNOWN_COLUMNS}"
        )
    left_out: Counter[str] = Counter()
    notes: list[str] = []
    learned: list[Item] = []
    kept_apart: list[Item] = []
    for row in rows:
        try:
            item = parse(row)
        except ValueError as error:
            if not skip_bad:
                raise
            if not left_out["cannot be read"]:
                notes.append(f"the first row that cannot be read: {error}")
            left_out["cannot be read"] += 1
            continue
        if item is None:
            left_out["both bad"] += 1
        elif isinstance(item, Preference) and item.chosen == item.rejected:
            left_out["two equal texts"] += 1
        elif row.values.get(_SPLIT) in (None, "", _TRAINING):
            learned.append(item)
        else:
            kept_apart.append(item)
    _require_something(name, learned or kept_apart, left_out)
    if not learned:
        raise ValueError(f"{name} has no row whose split is {_TRAINING!r}; name one so")
    division = divide(learned, kept_apart)
    left_out.update(division.dropped)
    notes += _contradictions(learned)
    return PreferenceData(
        items=tuple(learned),
        held_out=tuple(division.held_out),
        left_out={reason: number for reason, number in left_out.items() if number},
        notes=tuple(notes),
    )


def data_hash(items: Sequence[Item]) -> str:
    """Returns 32 hexadecimal digits that any change of the data changes, its order included."""
    digest = hashlib.blake2b(digest_size=16)
    for item in items:
        said = asdict(item)
        said.pop("implicit", None)  # where a prompt is from changes nothing that is learned
        digest.update(json.dumps([type(item).__name__, said]).encode())
    return digest.hexdigest()


def export_preferences(
    store: PreferenceStore, path: Path, split: str | None = None, *, ties: bool = False
) -> dict[str, int]:
    """Writes the store's latest answers as JSON Lines, in TRL's columns and a few more.

    Args:
        store: The answers.
        path: The file to write; it is replaced.
        split: Of one split, or all.
        ties: Write ties too, with probability 0.5. TRL does not know that column, so leave them
            out for TRL.

    Returns:
        ``written``, and how many of ``tie``, ``both_bad`` and ``skip`` were left out.
    """
    preferences = store.preferences(split, ties=ties)
    write_preferences(preferences, path, probability=ties)
    counts = store.answer_counts(split)
    undecided = ("both_bad", "skip") if ties else ("tie", "both_bad", "skip")
    return {"written": len(preferences), **{answer: counts[answer] for answer in undecided}}


def write_preferences(
    preferences: Sequence[Preference], path: Path, *, probability: bool = False
) -> None:
    """Writes pairs as JSON Lines that ``read_preferences`` and TRL read.

    Args:
        preferences: The pairs.
        path: The file to write; it is replaced.
        probability: Write that column as well.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(preference_lines(preferences, probability=probability), encoding="utf-8")


def preference_lines(preferences: Sequence[Preference], *, probability: bool = False) -> str:
    """Gives what ``write_preferences`` writes."""
    columns = ["pair_id", "prompt", "chosen", "rejected", "annotator", "strength"]
    columns += ["probability"] * probability
    return "".join(
        json.dumps({column: getattr(one, column) for column in columns}, ensure_ascii=False) + "\n"
        for one in preferences
    )


def _require_something(name: str, items: Sequence[Item], left_out: Mapping[str, int]) -> None:
    if not items:
        reasons = ", ".join(f"{number} {reason}" for reason, number in left_out.items() if number)
        raise ValueError(
            f"{name} has nothing to learn from ({reasons}); if two texts are equal everywhere, one "
            "column is a copy of the other"
        )
    if all(isinstance(item, Preference) and item.probability == _TIE for item in items):
        raise ValueError(
            f"{name}: all {len(items)} comparisons are ties, so nothing says which text is better"
        )
    if all(isinstance(item, Rating) for item in items):
        numbers = {item.rating for item in items if isinstance(item, Rating)}
        if len(numbers) == 1:
            raise ValueError(f"{name}: all {len(items)} ratings are {numbers.pop()}")


def _contradictions(items: Sequence[Item]) -> list[str]:
    """Says how often one annotator's answer to the same two texts is there in both directions."""
    decided = [i for i in items if isinstance(i, Preference) and i.probability > _TIE]
    seen = {(i.prompt, i.chosen, i.rejected, i.annotator) for i in decided}
    turned = sum((p, worse, better, who) in seen for p, better, worse, who in seen) // 2
    if not turned:
        return []
    return [f"{turned} pairs are there in both directions, by the same annotator"]
