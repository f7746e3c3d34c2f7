"""Preferences for the ``textgym reward`` commands: a file, a store, or reviews with labels."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from reward_models.measuring.ability import ability_shares, find_abilities
from reward_models.measuring.annotators import latest
from reward_models.preferences import (
    Item,
    Preference,
    PreferenceStore,
    divide,
    learned_from,
    majority,
    pair_identity,
    pairs_of_labels,
    read_preferences,
    remarks,
    vote_shares,
)
from reward_models.preferences.databases import is_database_url
from textgym.cli.parsing import CommandError
from textgym.data.tables import is_table, parse_columns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reward_models.preferences import Division, Sheet

__all__ = [
    "DIVISION",
    "HELD_OUT_FILE",
    "REVIEWS",
    "LoadedData",
    "StoreQuestion",
    "Votes",
    "is_store",
    "load_data",
    "open_store",
    "shown_left",
]

Votes = Literal["majority", "shares", "ability", "each"]
StoreQuestion = Literal["compare", "rank", "rate", "spans"]

HELD_OUT_FILE = "held_out.jsonl"
"""Beside a model: what it was measured on."""

DIVISION = 0
"""The seed of every division: no training's, so that models of all seeds are measured on the same.
"""

REVIEWS = "reviews"
"""The name of the pairs made of people's labels of films' reviews."""

_STORES = (".sqlite", ".db")
_PEOPLE_SHOWN = 12
_TIE = 0.5
_TRAINING = "train"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedData:
    """Preferences, divided, and what is to be said about them.

    Attributes:
        train: What to learn from.
        held_out: What to measure on.
        notes: What was left out or is odd, a line each.
    """

    train: Sequence[Item]
    held_out: Sequence[Item]
    notes: Sequence[str] = ()


def load_data(
    name: str,
    *,
    held_out: float,
    seed: int,
    votes: Votes = "majority",
    skip_bad: bool = False,
    columns: str | None = None,
    passes: int = 1,
    question: StoreQuestion | None = None,
) -> LoadedData:
    """Reads preferences and keeps some apart, by their prompts or texts.

    Args:
        name: ``reviews``, a store (``.sqlite``, ``.db``, or a database's URL), or what
            ``read_preferences`` takes.
        held_out: The share that is held out of the prompts, or of the texts without one, where the
            data do not say which.
        seed: Decides the division.
        votes: What becomes of several answers to one pair.
        skip_bad: Leave rows out that cannot be read.
        columns: Which of a file's columns are which, see ``parse_columns``.
        passes: How often each review is in a pair to learn from.
        question: Which answers of a store; None the first of its questions that has some.

    Raises:
        CommandError: If there is nothing to learn from, the data are no preferences, or they are
            no reviews and shall be paired more than once.
        FileNotFoundError: If there is no such file.
        StoreError: If the store cannot be read.
    """
    try:
        if name == REVIEWS:
            return _reviews(seed, passes)
        if passes > 1:
            raise CommandError(
                f"passes is {passes}, but the pairs of {name} are as people compared them: only "
                f"{REVIEWS} can be paired anew"
            )
        if is_store(name):
            with open_store(name) as store:
                return _store(store, name, held_out, seed, votes, question)
        if not is_table(name):
            raise CommandError(
                f"{name} is no preference data; give a file such as .jsonl, .json, .csv, .tsv or "
                f".parquet, a store ({' or '.join(_STORES)}), datasets:NAME, or {REVIEWS}"
            )
        data = read_preferences(name, columns=parse_columns(columns), skip_bad=skip_bad)
        left_out = [f"left out: {number} {reason}" for reason, number in data.left_out.items()]
        division = divide(data.items, data.held_out, held_out, seed)
    except ValueError as error:
        raise CommandError(str(error)) from error
    return _loaded(division, [*left_out, *data.notes], votes)


def _loaded(
    division: Division[Any],
    notes: Sequence[str],
    votes: Votes | None = None,
    left: Mapping[tuple[str, str], str] | None = None,
) -> LoadedData:
    """Makes one answer a pair of those of several people, on either side of a division.

    Args:
        division: What is learned from and held out.
        notes: What is known so far.
        votes: How; None for items that are no answers of people.
        left: Which text stood on the left, of a store; None for a file, whose pairs are known by
            their texts alone.
    """
    train, held_out = division.learned, division.held_out
    if votes not in (None, "each") and _is_voted([*train, *held_out]):
        if left is None:
            train, held_out = (
                [replace(answer, pair_id=pair_identity(answer)) for answer in side]
                for side in (train, held_out)
            )
        if votes == "ability":
            notes = [*notes, *_abilities(train, left or {})]
        pairs = len({answer.pair_id for answer in [*train, *held_out]})
        train, held_out = (_combined(side, votes, left or {}) for side in (train, held_out))
        undecided = pairs - len(train) - len(held_out)
        said = f"left out: {undecided} pairs on which no answer has most votes"
        notes = [*notes, *[said] * bool(undecided)]
    said_of = remarks(train, held_out, division.dropped)
    return LoadedData(train=train, held_out=held_out, notes=[*notes, *said_of])


def _is_voted(items: Sequence[Item]) -> bool:
    """Whether somebody signed answers, and a pair has several."""
    answers = [item for item in items if isinstance(item, Preference)]
    signed = [pair_identity(answer) for answer in answers if answer.annotator]
    return len(answers) == len(items) and len(set(signed)) < len(signed)


def _combined(
    answers: Sequence[Preference], votes: Votes | None, left: Mapping[tuple[str, str], str]
) -> list[Preference]:
    if votes == "ability":
        return ability_shares(answers, left=left)
    return majority(answers) if votes == "majority" else vote_shares(answers)


def _abilities(answers: Sequence[Preference], left: Mapping[tuple[str, str], str]) -> Sequence[str]:
    """What the answers of each person have proved to be worth, a line each."""
    found = find_abilities(answers, left)
    more = len(found) - _PEOPLE_SHOWN
    return [
        *(
            f"{who.annotator}: right in {who.accuracy:.2f}, as the others' answers tell; says left "
            f"in {who.left:.2f}; {who.answers} answers"
            for who in found[:_PEOPLE_SHOWN]
        ),
        *[f"and {more} more people"] * (more > 0),
    ]


def _reviews(seed: int, passes: int) -> LoadedData:
    """Pairs of a liked and a disliked film's review; measured on reviews of another pool."""
    from textgym.data.reviews import load_reviews

    def pairs(pool: str, passes: int) -> list[Preference]:
        reviews = load_reviews(pool)
        return pairs_of_labels([r.text for r in reviews], [r.label for r in reviews], seed, passes)

    division = divide(pairs("language_model", passes), pairs("judge", 1))
    return _loaded(division, ())


def is_store(name: str) -> bool:
    """Says whether a name is a store's: a file of answers, or a database's URL."""
    if Path(name).suffix.lower() in _STORES:
        return True
    return is_database_url(name) and not is_table(name)


def open_store(name: str) -> PreferenceStore:
    """Opens a store that is there.

    Raises:
        FileNotFoundError: If there is no such file, or nothing in it.
        StoreError: If it cannot be read.
    """
    if not is_database_url(name) and not Path(name).is_file():  # opening it would make an empty one
        raise FileNotFoundError(
            f"there is no store {name}; make one by textgym reward import FILE {name}"
        )
    if not is_database_url(name) and not Path(name).stat().st_size:  # SQLite would fill it
        raise FileNotFoundError(f"there is no store in {name}: the file is empty")
    return PreferenceStore(name)


def _store(
    store: PreferenceStore,
    name: str,
    held_out: float,
    seed: int,
    votes: Votes,
    question: StoreQuestion | None,
) -> LoadedData:
    counts = Counter(sheet.question for sheet, _ in _judged(store))
    asked: StoreQuestion = "compare"
    if question is not None:
        asked = question
    elif counts and not store.answers():
        asked = next(iter(counts))
    others = [f"{n} of {which}" for which, n in sorted(counts.items()) if which != asked]
    notes = [f"not learned from: answers to other questions, {', '.join(others)}"] * bool(others)
    loaded = (
        _compared(store, name, held_out, seed, votes)
        if asked == "compare"
        else _of_sheets(store, name, held_out, seed, asked)
    )
    return replace(loaded, notes=[*loaded.notes, *notes])


def _judged(store: PreferenceStore) -> list[tuple[Sheet, Any]]:
    return learned_from(store.sheets(), store.judgements())


def _of_sheets(
    store: PreferenceStore, name: str, held_out: float, seed: int, question: StoreQuestion
) -> LoadedData:
    """Rankings or ratings, divided as the splits of their sheets say, if there are several."""
    found = [(sheet.split, item) for sheet, item in _judged(store) if sheet.question == question]
    splits = {split for split, _ in found}
    apart = splits - {_TRAINING} if _TRAINING in splits else set()
    items = [item for split, item in found if split not in apart]
    if not items:
        raise ValueError(f"{name} has no answers to the question {question}; gather some first")
    kept = [item for split, item in found if split in apart]
    return _loaded(divide(items, kept, held_out, seed), ())


def _compared(
    store: PreferenceStore, name: str, held_out: float, seed: int, votes: Votes
) -> LoadedData:
    splits = {pair.split for pair in store.pairs()}
    others = sorted(splits - {_TRAINING}) if _TRAINING in splits else []
    answers = store.preferences(_TRAINING if others else None, ties=True)
    kept = [p for split in others for p in store.preferences(split, ties=True)]
    counts = store.answer_counts()
    left = shown_left(store) if votes == "ability" else {}
    if not any(answer.probability > _TIE for answer in answers):
        where = f"the split train of {name}" if kept else name
        raise ValueError(f"{where} has no answers that prefer a text; gather some first")
    division = divide(answers, kept, held_out, seed)
    undecided = ("both_bad", "skip")
    notes = [f"left out: {counts[a]} {a.replace('_', ' ')}" for a in undecided if counts[a]]
    return _loaded(division, notes, votes, left)


def shown_left(store: PreferenceStore) -> dict[tuple[str, str], str]:
    """The text that stood on the left of each pair in each annotator's latest round."""
    texts = {pair.pair_id: {"a": pair.a, "b": pair.b} for pair in store.pairs()}
    return {
        (answer.pair_id, answer.annotator): texts[answer.pair_id][answer.shown_left]
        for answer in latest(store.answers())
    }
