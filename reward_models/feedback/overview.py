"""What the owner of a study sees: how far it is, who did what, and where people disagree.

No writer of a text is named here either, since an owner may answer as well.

Simplification: everything is read and counted anew for each look at the page.
"""

from __future__ import annotations

import hashlib
import itertools
import statistics
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from reward_models.feedback.judged import contradiction, units_of
from reward_models.measuring.agreement import (
    answer_table,
    krippendorff_alpha,
    krippendorff_interval,
    percent_agreement,
)
from reward_models.measuring.annotators import quality_report
from reward_models.preferences.pairs import Pair
from reward_models.preferences.sheets import RATINGS, SHEET_QUESTIONS, latest_judgements
from textgym.statistics.bootstrap import Estimate
from textgym.statistics.proportions import wilson_interval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reward_models.measuring.agreement import Level
    from reward_models.measuring.annotators import QualityReport
    from reward_models.preferences.handout import Handout
    from reward_models.preferences.leases import Lease
    from reward_models.preferences.pairs import Answer
    from reward_models.preferences.sheets import Judgement, Sheet, SheetQuestion
    from reward_models.preferences.store import PreferenceStore

__all__ = ["public_name", "summarise"]

_SHOWN = 50  # disagreements on the page
_EXCERPT = 600  # characters of a text among them
_SPLIT: dict[str, str] = {
    "compare": "pairs of which people prefer different texts",
    "rank": "sets of texts that people put in different orders",
    "rate": "texts whose ratings are two or more apart",
    "spans": "texts of which one marks as bad what another marks as good",
}
_SAID = {"a": "first", "b": "second", "both_bad": "both bad"}
_REPETITIONS = 200  # of intervals that are drawn anew for each look


def summarise(store: PreferenceStore, handout: Handout) -> dict[str, Any]:
    """Counts what a store holds.

    Args:
        store: The pairs and answers.
        handout: What was handed out.

    Returns:
        ``progress``, ``counts`` of each kind of answer, ``chosen`` by which rule, ``agreement``,
        ``annotators`` and ``disagreements``, as the template shows them.
    """
    if handout.question in SHEET_QUESTIONS:
        return _summarise_sheets(store, handout, handout.question)
    answers, leases = store.answers(), handout.leases()
    latest = {(answer.pair_id, answer.annotator): answer for answer in answers}
    items = handout.items()
    answered = {pair_id for pair_id, _ in latest}
    counts = store.answer_counts()
    report = None
    if answers:
        report = quality_report(answers, np.random.default_rng(0), _REPETITIONS)
    return {
        "noun": "pairs",
        "progress": {
            "pairs": len(items),
            "answered": sum(item.subject in answered for item in items),
            "in_hand": sum(lease.state == "open" for lease in leases),
        },
        "counts": counts,
        "left_out": {kind: counts[kind] for kind in ("tie", "both_bad", "skip")},
        "chosen": dict(Counter(item.chosen_by for item in items)),
        "agreement": _agreement_of(report),
        "annotators": _annotators(answers, leases, report),
        "disagreements": _disagreements(store, latest, _settled(leases)),
    }


def public_name(subject: str) -> str:
    """Names a pair or a sheet on a page, where its id could say who wrote its texts."""
    return hashlib.blake2b(subject.encode(), digest_size=16).hexdigest()


def _summarise_sheets(
    store: PreferenceStore, handout: Handout, question: SheetQuestion
) -> dict[str, Any]:
    """As ``summarise``, of texts that are ranked, rated or marked."""
    judgements, items, leases = store.judgements(question), handout.items(), handout.leases()
    latest = latest_judgements(judgements)
    said = [each for each in latest if each.said is not None]
    answered = {each.sheet_id for each in latest}
    sheets = {sheet.sheet_id: sheet for sheet in store.sheets(question)}
    units = [unit for each in said for unit in units_of(sheets[each.sheet_id], each)]
    skips = len(latest) - len(said)
    counts = {"rank": {"order": len(said)}, "spans": {"marked": len(said)}}.get(
        question, {str(grade): sum(each.said == grade for each in said) for grade in RATINGS}
    )
    return {
        "noun": {"rank": "sets of texts"}.get(question, "texts"),
        "progress": {
            "pairs": len(items),
            "answered": sum(item.subject in answered for item in items),
            "in_hand": sum(lease.state == "open" for lease in leases),
        },
        "counts": {**counts, "skip": skips},
        "left_out": {"skip": skips},
        "chosen": dict(Counter(item.chosen_by for item in items)),
        "agreement": _agreement(units, "interval" if question == "rate" else "nominal"),
        "annotators": [
            {
                "name": name,
                "answers": len(own),
                "skips": sum(each.said is None for each in own),
                "ties": None,
                "seconds": _seconds(own),
                "left": None,
                "others": None,
                "repeats": _same_again(own),
                "known": (0, 0),
            }
            for name in sorted({each.annotator for each in judgements})
            for own in [[each for each in judgements if each.annotator == name]]
        ],
        "disagreements": _contradictions(sheets, said, _settled(leases), question),
    }


def _same_again(judgements: Sequence[Judgement]) -> tuple[int, int]:
    """How many sheets that came again got the same answer, and how many came again."""
    rounds: dict[str, list[Any]] = defaultdict(list)
    for each in judgements:
        if each.said is not None:
            rounds[each.sheet_id].append(each.said)
    again = [several for several in rounds.values() if len(several) > 1]
    return sum(several[0] == several[-1] for several in again), len(again)


def _agreement_of(report: QualityReport | None) -> dict[str, Any]:
    """How far people agree about the same pairs, or why nothing can be said."""
    if report is None:
        return {"why": "nobody has compared a pair yet"}
    if report.agreement is None:
        return {"why": "no pair has two answers yet"}
    found: dict[str, Any] = {"percent": report.agreement}
    if report.kappa is not None:
        found["kappa"] = report.kappa
    if report.alpha is None:
        return found | {"why": report.why}
    interval = (report.alpha.low, report.alpha.high)
    return found | {"alpha": report.alpha.value, "interval": interval}


def _agreement(said: Sequence[tuple[str, str, Any]], level: Level = "nominal") -> dict[str, Any]:
    """How far people agree about the same things, or why nothing can be said.

    Args:
        said: Who, of what, and what: an answer each.
        level: How far two answers are apart.
    """
    if not said:
        return {"why": "nobody has answered yet"}
    table, _, _ = answer_table(said)
    try:
        found: dict[str, Any] = {"percent": percent_agreement(table)}
    except ValueError:
        return {"why": "nothing has two answers yet"}
    try:
        found["alpha"] = krippendorff_alpha(table, level)
        found["interval"] = krippendorff_interval(table, np.random.default_rng(0), level=level)
    except ValueError as error:
        found["why"] = str(error)
    return found


def _annotators(
    answers: Sequence[Answer], leases: Sequence[Lease], report: QualityReport | None
) -> list[dict[str, Any]]:
    """A line for each annotator, by name."""
    of_others = {each.annotator: each.majority for each in report.annotators} if report else {}
    of_key = {lease.answer_key: lease for lease in leases if lease.answer_key is not None}
    given: dict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        given[answer.annotator].append(answer)
    return [
        {
            "name": name,
            "answers": len(own),
            "skips": sum(answer.answer == "skip" for answer in own),
            "ties": sum(answer.answer == "tie" for answer in own),
            "seconds": _seconds(own),
            "left": _left(own),
            "others": of_others[name],
            "repeats": _repeats(own, of_key),
            "known": _known(own, of_key),
        }
        for name, own in sorted(given.items())
    ]


def _seconds(answers: Sequence[Answer | Judgement]) -> float | None:
    """The median time from the first look at a pair to its answer; None for programs."""
    times = [a.voted_at - a.served_at for a in answers if a.voted_at and a.served_at]
    return statistics.median(times) if times else None


def _left(answers: Sequence[Answer]) -> Estimate | None:
    """How often the better text stood on the left, with an interval; None without such an answer.

    An answer whose side nobody saw, a program's, says nothing of sides.
    """
    decided = [a for a in answers if a.answer in ("a", "b") and a.served_at is not None]
    if not decided:
        return None
    left = sum(answer.answer == answer.shown_left for answer in decided)
    low, high = wilson_interval(left, len(decided))
    return Estimate(value=left / len(decided), low=low, high=high)


def _repeats(answers: Sequence[Answer], of_key: Mapping[str, Lease]) -> tuple[int, int]:
    """How many repeats, sides swapped, got the same answer, and how many there were."""
    first: dict[str, str] = {}
    same, number = 0, 0
    for answer in answers:
        lease = of_key.get(answer.key)
        if lease is not None and lease.purpose == "repeat" and answer.pair_id in first:
            number += 1
            same += first[answer.pair_id] == answer.answer
        first.setdefault(answer.pair_id, answer.answer)
    return same, number


def _known(answers: Sequence[Answer], of_key: Mapping[str, Lease]) -> tuple[int, int]:
    """How many pairs with a known answer were answered so, and how many there were."""
    leases = [(answer, of_key.get(answer.key)) for answer in answers]
    known = [(a, lease) for a, lease in leases if lease is not None and lease.expected]
    return sum(a.answer == lease.expected for a, lease in known), len(known)


def _disagreements(
    store: PreferenceStore, latest: Mapping[tuple[str, str], Answer], settled: set[str]
) -> dict[str, Any]:
    """The pairs of which one person prefers the one text, and another the other."""
    given: dict[str, dict[str, Answer]] = defaultdict(dict)
    for (pair_id, annotator), answer in latest.items():
        given[pair_id][annotator] = answer
    split = [
        pair
        for pair in store.pairs()
        if pair.pair_id not in settled
        and {"a", "b"} <= {answer.answer for answer in given[pair.pair_id].values()}
    ]
    return {
        "number": len(split),
        "what": _SPLIT["compare"],
        "shown": [
            {
                "subject": public_name(pair.pair_id),
                "prompt": _excerpt(pair.prompt),
                "texts": [("First text", _excerpt(pair.a)), ("Second text", _excerpt(pair.b))],
                "answers": [
                    (name, _SAID.get(answer.answer, answer.answer), answer.note)
                    for name, answer in sorted(given[pair.pair_id].items())
                ],
            }
            for pair in split[:_SHOWN]
        ],
    }


def _contradictions(
    sheets: Mapping[str, Sheet],
    said: Sequence[Judgement],
    settled: set[str],
    question: SheetQuestion,
) -> dict[str, Any]:
    """The sheets of which two people say what cannot both be right, the farthest apart first."""
    given: dict[str, list[Judgement]] = defaultdict(list)
    for each in sorted(said, key=lambda each: each.annotator):
        given[each.sheet_id].append(each)
    apart = {
        name: max(contradiction(question, one.said, other.said) for one, other in two)
        for name, of_sheet in given.items()
        if name not in settled and (two := list(itertools.combinations(of_sheet, 2)))
    }
    split = sorted((name for name, far in apart.items() if far), key=lambda name: -apart[name])
    return {
        "number": len(split),
        "what": _SPLIT[question],
        "shown": [
            {
                "subject": public_name(name),
                "prompt": _excerpt(sheets[name].prompt),
                "texts": [
                    (f"Text {number}" if question == "rank" else "Text", _excerpt(text))
                    for number, text in enumerate(sheets[name].texts, 1)
                ],
                "answers": [
                    (each.annotator, _in_words(sheets[name], each), each.note)
                    for each in given[name]
                ],
            }
            for name in split[:_SHOWN]
        ],
    }


def _in_words(sheet: Sheet, judgement: Judgement) -> str:
    """What somebody said of a sheet, for whoever settles it."""
    said = judgement.said
    if sheet.question == "rate":
        return str(said)
    if sheet.question == "rank":
        return "text " + ", then ".join(str(number + 1) for number in said)
    marks = [f"{mark} “{sheet.texts[0][start:end]}”" for start, end, mark in said]
    return _excerpt(", ".join(marks)) or "nothing marked"


def _settled(leases: Sequence[Lease]) -> set[str]:
    """What somebody was handed to settle, and answered."""
    return {
        lease.pair.pair_id if isinstance(lease.subject, Pair) else lease.sheet.sheet_id
        for lease in leases
        if lease.purpose == "adjudication" and lease.state == "answered"
    }


def _excerpt(text: str) -> str:
    return text if len(text) <= _EXCERPT else f"{text[:_EXCERPT]} ..."
