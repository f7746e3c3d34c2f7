"""What a reward card is measured on: labelled pairs, and the answers that the labels are made of.

A pair that several people answered is labelled with what most of them preferred; a tie is half an
answer for either. The temperature is fitted on pairs of its own, which share no prompt with the
pairs that everything is measured on.

Simplifications: everything is in memory; every annotator counts alike.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from reward_models.preferences.formats import read_preferences
from reward_models.preferences.pairs import Preference, pair_identity, vote_shares
from reward_models.preferences.rankings import (
    Ranking,
    Rating,
    pairs_of_rankings,
    pairs_of_ratings,
)
from reward_models.preferences.splitting import Division, divide, remarks
from reward_models.preferences.store import PreferenceStore
from textgym.data.tables import is_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reward_models.measuring.agreement import Outsider
    from reward_models.preferences.rankings import Item
    from reward_models.preferences.traces import Traces

__all__ = [
    "LEARNED_FROM",
    "CardData",
    "card_data",
    "coded_answers",
    "coded_scores",
    "read_card_data",
]

LEARNED_FROM = "answers about a prompt or text that the reward or a member learned from"
"""Why such answers are left out."""

_SQLITE_HEADER = b"SQLite format 3\0"
_TIE = 0.5
_TRAINING = "train"


@dataclass(frozen=True, slots=True, kw_only=True)
class CardData:
    """Labelled pairs to measure on.

    Attributes:
        source: Where they are from, for the reader.
        test: What everything is measured on, one label a pair.
        validation: What the temperature is fitted on; shares no prompt with ``test``.
        groups: By the name of a division, the part that each test pair is in; empty for none.
        answers: All that was answered about test pairs, by whom; ties with probability .5.
        left_out: How many answers or pairs do not count, by the reason.
        notes: What else is to be said about the division, a line each.
    """

    source: str
    test: Sequence[Preference]
    validation: Sequence[Preference] = ()
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    answers: Sequence[Preference] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    notes: Sequence[str] = ()


def read_card_data(
    source: str,
    *,
    split: str | None = None,
    validation: str | None = None,
    share: float = 0.25,
    seed: int = 0,
    columns: Mapping[str, str] | None = None,
    skip_bad: bool = False,
    learned: Traces | None = None,
) -> CardData:
    """Reads a preference store or a file of preferences.

    Args:
        source: A store, or a file that ``read_preferences`` reads. Of a file with a column
            ``split`` only what is held out is measured on.
        split: Of a store, the split to measure on; None for all but ``train``, if there are others.
        validation: What the temperature is fitted on: the name of the store's split, or a file.
            None takes a share of the prompts away.
        share: That share, in [0, 1).
        seed: Decides which prompts.
        columns: See ``read_preferences``; of a file.
        skip_bad: Leave rows of a file out that cannot be read, and count them.
        learned: What the measured models learned from; such pairs are left out and counted.

    Raises:
        ValueError: If the file cannot be read, holds no decided pair, or has no such split.
        FileNotFoundError: If there is no such file.
        StoreError: If the store is damaged.
    """
    if not is_table(source) and not Path(source).is_file():
        raise FileNotFoundError(
            f"there is no {source}: name a preference store, or a file of preferences"
        )
    trained_on: Sequence[Item]
    if _is_store(Path(source)):
        answers, trained_on, left_out = _read_store(Path(source), split)
        other = None if validation is None else _read_store(Path(source), validation)[0]
    elif split is not None:
        raise ValueError(f"{source} is a file, and --split names a split of a store: leave it out")
    else:
        answers, trained_on, left_out = _read_file(source, columns, skip_bad=skip_bad)
        other = None
        if validation is not None:
            other = _read_file(validation, columns, skip_bad=skip_bad)[0]
    if learned is not None:
        answers, left_out = _unlearned(source, answers, left_out, learned)
        other = None if other is None else [a for a in other if not learned.hold(a)]
    if other is not None:
        return card_data(answers, other, trained_on, source=source, left_out=left_out)
    division = _divided(answers, share, seed)
    left_out |= division.dropped
    return card_data(
        division.learned, division.held_out, trained_on, source=source, left_out=left_out
    )


def card_data(
    answers: Sequence[Preference],
    validation: Sequence[Preference],
    trained_on: Sequence[Item] = (),
    *,
    source: str,
    left_out: Mapping[str, int] | None = None,
) -> CardData:
    """Makes labels of answers.

    Args:
        answers: What was answered about the pairs to measure on; ties have the probability .5.
        validation: The same for the pairs that the temperature is fitted on. Those that share a
            prompt with the others, or without one a text, are left out.
        trained_on: What the data say that models are trained on.
        source: Where they are from.
        left_out: What was left out before, by the reason.

    Raises:
        ValueError: If no pair is decided.
    """
    named = [replace(answer, pair_id=pair_identity(answer)) for answer in answers]
    voted = vote_shares(named)
    test = [label for label in voted if label.probability > _TIE]
    if not test:
        raise ValueError(
            f"{source} holds no decided pair to measure on: {len(answers)} answers, "
            f"{len(voted)} pairs, all of them tied"
        )
    other = vote_shares([replace(answer, pair_id=pair_identity(answer)) for answer in validation])
    division = divide(test, other)
    counts = Counter(answer.pair_id for answer in named)
    reasons = {
        **(left_out or {}),
        "pairs that are tied or evenly split": len(voted) - len(test),
        "validation pairs whose prompt or text is measured on": sum(division.dropped.values()),
    }
    kept = {label.pair_id for label in test}
    return CardData(
        source=source,
        test=test,
        validation=[label for label in division.held_out if label.probability > _TIE],
        groups={
            name: parts
            for name, parts in {
                "subset": [label.subset for label in test],
                "people": [_unanimity(label, counts[label.pair_id]) for label in test],
            }.items()
            if any(parts)
        },
        answers=[answer for answer in named if answer.pair_id in kept and answer.annotator],
        left_out={reason: number for reason, number in reasons.items() if number},
        notes=remarks([*division.held_out, *trained_on], test, {}),
    )


def coded_answers(answers: Sequence[Preference]) -> list[tuple[str, str, str]]:
    """Codes answers for measuring agreement: ``(annotator, pair, first, second or tie)``.

    First is the text that comes first in the alphabet: a name for the text, whatever its side.
    """
    return [
        (answer.annotator, answer.pair_id, "tie" if answer.probability == _TIE else _code(answer))
        for answer in answers
    ]


def coded_scores(pairs: Sequence[Preference], right: Sequence[float]) -> dict[str, Outsider]:
    """Codes what a reward prefers of each pair in the same way; half of each where it ties.

    Args:
        pairs: The labelled pairs, ``(N,)``.
        right: 1 where the reward prefers the chosen text, 0 where the other, .5 where neither.
    """
    coded: dict[str, Outsider] = {}
    for pair, share in zip(pairs, right, strict=True):
        chosen = _code(pair)
        other = "second" if chosen == "first" else "first"
        coded[pair.pair_id] = {chosen: share, other: 1 - share}
    return coded


def _code(preference: Preference) -> str:
    return "first" if preference.chosen <= preference.rejected else "second"


def _is_store(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_SQLITE_HEADER)) == _SQLITE_HEADER


def _read_store(
    path: Path, split: str | None
) -> tuple[list[Preference], list[Preference], dict[str, int]]:
    """Reads a split, or all but what models are trained on if there is anything else; and that."""
    with PreferenceStore(path) as store:
        splits = sorted({pair.split for pair in store.pairs()})
        others = [name for name in splits if name != _TRAINING] or splits
        wanted = others if split is None else [split]
        answers = [a for name in wanted for a in store.preferences(name, ties=True)]
        counts = [store.answer_counts(name) for name in wanted]
        trained_on = [] if _TRAINING in wanted else store.preferences(_TRAINING, ties=True)
    if not answers:
        raise ValueError(
            f"{path}: {', '.join(wanted) or 'the store'} has no answers to measure on; its splits: "
            f"{', '.join(splits)}"
        )
    left_out = {f"answers: {kind}": sum(c[kind] for c in counts) for kind in ("both_bad", "skip")}
    if split is None:
        left_out[f"answers of the split {_TRAINING}"] = len(trained_on)
    return answers, trained_on, left_out


def _read_file(
    name: str, columns: Mapping[str, str] | None, *, skip_bad: bool
) -> tuple[list[Preference], Sequence[Item], dict[str, int]]:
    data = read_preferences(name, columns=columns, skip_bad=skip_bad)
    left_out = dict(data.left_out)
    items = data.held_out or data.items
    if data.held_out:
        left_out[f"rows of the split {_TRAINING}"] = len(data.items)
    return _as_pairs(items), data.items if data.held_out else (), left_out


def _as_pairs(items: Sequence[Item]) -> list[Preference]:
    pairs = [item for item in items if isinstance(item, Preference)]
    pairs += pairs_of_rankings([item for item in items if isinstance(item, Ranking)])
    return pairs + pairs_of_ratings([item for item in items if isinstance(item, Rating)])


def _unlearned(
    source: str, answers: Sequence[Preference], left_out: Mapping[str, int], learned: Traces
) -> tuple[list[Preference], dict[str, int]]:
    """Leaves out what was learned from."""
    others = [answer for answer in answers if not learned.hold(answer)]
    if not others:
        raise ValueError(
            f"all {len(answers)} answers of {source} are about prompts or texts that the reward, "
            "or a member of it, learned from: give others"
        )
    number = len(answers) - len(others)
    return others, {**left_out, **({LEARNED_FROM: number} if number else {})}


def _divided(answers: Sequence[Preference], share: float, seed: int) -> Division[Preference]:
    """Takes a share of the prompts, or of the texts without one, away; of too few, none."""
    try:
        return divide(answers, share=share, seed=seed, purpose="card ")
    except ValueError:
        if 0 <= share < 1:  # all of the few prompts fell to the validation
            return Division(learned=answers, held_out=())
        raise


def _unanimity(label: Preference, answers: int) -> str:
    if answers == 1:
        return ""
    return "all agree" if label.probability == 1 else "they differ"
