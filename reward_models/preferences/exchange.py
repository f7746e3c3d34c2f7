"""Answers between a file and a store: a file of several people's answers in, and out again.

What is one answer of one person to one pair becomes an answer in the store: a win, a tie, or that
both texts are bad. What is no such answer stays out and is counted: a soft label, a rating, a pair
of two equal texts.

Simplifications: margins and subsets of a file are not kept in a store; rankings become all the
pairs that they state.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reward_models.preferences.formats import (
    Refusals,
    parsed_rows,
    preference_lines,
    write_preferences,
)
from reward_models.preferences.pairs import Answer, Pair, Preference
from reward_models.preferences.published.items import BothBad
from reward_models.preferences.rankings import Ranking, pairs_of_rankings
from reward_models.preferences.sheets import (
    Marked,
    latest_judgements,
    learned_from,
    mark_lines,
)
from textgym.files import atomic_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from reward_models.preferences.pairs import Choice
    from reward_models.preferences.rankings import Item
    from reward_models.preferences.sheets import SheetQuestion
    from reward_models.preferences.store import PreferenceStore

__all__ = [
    "UNNAMED",
    "FileAnswers",
    "export_judgements",
    "export_preferences",
    "import_preferences",
    "judgement_lines",
    "read_answers",
]

_TRAINING = "train"
UNNAMED = "unnamed"
"""Whom answers are of that nobody signed."""

_TIE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class FileAnswers:
    """A file's answers, as a store keeps them.

    Attributes:
        pairs: What was compared.
        answers: What was answered.
        left_out: How many rows or answers were left out, by reason.
        notes: What is odd but no error, a sentence each.
    """

    pairs: Sequence[Pair]
    answers: Sequence[Answer]
    left_out: Mapping[str, int]
    notes: Sequence[str] = ()


def read_answers(
    name: str,
    *,
    columns: Mapping[str, str] | None = None,
    skip_bad: bool = False,
    annotator: str = UNNAMED,
) -> FileAnswers:
    """Reads a file of several people's answers.

    A pair is known by its texts and its split, or by the file's ``pair_id``; which text is called
    ``a`` follows from the texts alone. Answers without an annotator are of as many people as
    there are to a pair, the second of them named with a 2 behind it. A second answer of one
    annotator to a pair is a new round.

    Args:
        name: What ``read_preferences`` reads.
        columns: See ``read_preferences``.
        skip_bad: Leave rows out that cannot be read, and count them, instead of raising.
        annotator: Who answered, where the file does not say.

    Raises:
        ValueError: As ``read_preferences``, or if no row is an answer, or one ``pair_id`` names two
            pairs.
    """
    left_out: Counter[str] = Counter()
    notes: list[str] = []
    rounds: Counter[tuple[str, str]] = Counter()
    pairs: dict[str, Pair] = {}
    answers: list[Answer] = []
    on_bad = Refusals(left_out, notes) if skip_bad else None
    for row, items in parsed_rows(name, columns, on_bad):
        split = str(row.values.get("split") or _TRAINING)
        named = str(row.values.get("pair_id") or "")
        for said, choice in _answers(items, left_out):
            pair = _pair_of(said, split, named)
            if pairs.setdefault(pair.pair_id, pair) != pair:
                raise ValueError(f"{row.place}: pair_id {named!r:.60} named two other texts before")
            answers.append(_answer_of(said, pair, choice, rounds, annotator))
    if not answers:
        reasons = ", ".join(f"{number} {reason}" for reason, number in left_out.items())
        raise ValueError(f"{name} has no answer of a person to a pair; left out: {reasons}")
    again = sum(times > 1 for (_, who), times in rounds.items() if who)
    if again:
        notes.append(f"pairs that one annotator answered again: {again}; the last answer counts")
    return FileAnswers(pairs=list(pairs.values()), answers=answers, left_out=left_out, notes=notes)


def import_preferences(found: FileAnswers, store: PreferenceStore) -> dict[str, int]:
    """Adds a file's answers to a store; once more changes nothing.

    Returns:
        How many ``pairs`` and ``answers`` are new, and how many answers were ``known``.

    Raises:
        StoreError: If the store refuses them, as where it has another answer of the same round.
    """
    pairs, answers = store.add_pairs(found.pairs), store.record_answers(found.answers)
    return {"pairs": pairs, "answers": answers, "known": len(found.answers) - answers}


def export_preferences(
    store: PreferenceStore, path: Path, split: str | None = None, *, ties: bool = False
) -> dict[str, int]:
    """Writes the store's latest answers as JSON Lines, in TRL's columns and a few more.

    Args:
        store: The answers.
        path: The file to write; it is replaced.
        split: Of one split, or all, with a column ``split`` if there are several.
        ties: Write ties too, with probability 0.5. TRL does not know that column, so leave them
            out for TRL.

    Returns:
        ``written``, and how many of ``tie``, ``both_bad`` and ``skip`` were left out.
    """
    preferences = store.preferences(split, ties=ties)
    split_of = {pair.pair_id: pair.split for pair in store.pairs(split)}
    several = len(set(split_of.values())) > 1
    splits = [split_of[preference.pair_id] for preference in preferences] if several else None
    write_preferences(preferences, path, splits)
    counts = store.answer_counts(split)
    undecided = ("both_bad", "skip") if ties else ("tie", "both_bad", "skip")
    return {"written": len(preferences), **{answer: counts[answer] for answer in undecided}}


def export_judgements(
    store: PreferenceStore, path: Path, question: SheetQuestion, split: str | None = None
) -> dict[str, int]:
    """Writes what people said of the sheets of one question, as ``judgement_lines``.

    Args:
        store: The judgements.
        path: The file to write; it is replaced.
        question: Whose.
        split: Of one split, or all.

    Returns:
        ``written``, and how many of ``skip`` were left out.
    """
    text = judgement_lines(store, question, split)
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
    said = [each.said for each in latest_judgements(store.judgements(question, split))]
    return {"written": len(said) - said.count(None), "skip": said.count(None)}


def judgement_lines(
    store: PreferenceStore, question: SheetQuestion, split: str | None = None
) -> str:
    """Gives the latest judgements as JSON Lines that ``textgym reward train`` reads.

    Rankings are ``prompt, completions, ranks``, ratings ``prompt, completion, rating``, and marked
    texts ``prompt, completion, spans``; each has its ``annotator``, and a column ``split`` if there
    are several.
    """
    found = learned_from(store.sheets(question, split), store.judgements(question, split))
    splits = [sheet.split for sheet, _ in found]
    named = splits if len(set(splits)) > 1 else None
    marks = [item for _, item in found if isinstance(item, Marked)]
    if marks:
        return mark_lines(marks, named)
    return preference_lines([item for _, item in found if not isinstance(item, Marked)], named)


def _answers(
    items: Sequence[Item | BothBad], counts: Counter[str]
) -> Iterator[tuple[Preference, Choice | None]]:
    """What of a row's items is an answer: a preference, and what else than its order it says."""
    for item in items:
        if isinstance(item, BothBad):
            yield item.pair, "both_bad"
        elif isinstance(item, Ranking):
            for said in pairs_of_rankings([item]):
                yield said, None
        elif not isinstance(item, Preference):
            counts["ratings"] += 1
        elif item.chosen == item.rejected:
            counts["two equal texts"] += 1
        elif item.probability not in (_TIE, 1.0):
            counts["soft labels"] += 1
        else:
            yield item, "tie" if item.probability == _TIE else None


def _pair_of(said: Preference, split: str, named: str) -> Pair:
    """The pair whose ``a`` is the text with the smaller hash, which says nothing about it."""
    a, b = sorted((said.chosen, said.rejected), key=lambda text: _digest(said.prompt, text))
    pair_id = named or _digest(said.prompt, a, b, split)
    return Pair(pair_id=pair_id, prompt=said.prompt, a=a, b=b, split=split)


def _answer_of(
    said: Preference,
    pair: Pair,
    choice: Choice | None,
    rounds: Counter[tuple[str, str]],
    unsigned: str,
) -> Answer:
    rounds[pair.pair_id, said.annotator] += 1
    number = rounds[pair.pair_id, said.annotator]
    if said.annotator:
        who, its_round = said.annotator, number
    else:
        who, its_round = unsigned if number == 1 else f"{unsigned} {number}", 1
    return Answer(
        pair_id=pair.pair_id,
        annotator=who,
        answer=choice or ("a" if said.chosen == pair.a else "b"),
        strength=said.strength,
        round=its_round,
    )


def _digest(*texts: str) -> str:
    return hashlib.blake2b(json.dumps(texts).encode(), digest_size=16).hexdigest()
