"""What each annotator's answers are worth, by the answers alone: no truth is needed.

Side and content are told apart here as nowhere else: whether somebody prefers what stands on the
left is asked of the sides, and whether two people agree of the texts.

Simplifications: an answer's time is taken from when the pair was served to when the answer came,
breaks included, so it is the median that is given; nothing is corrected for looking at many people.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from reward_models.measuring.agreement import (
    answer_table,
    krippendorff_alpha,
    krippendorff_interval,
    majority_credit,
    mean_pairwise_kappa,
    percent_agreement,
)
from textgym.statistics.bootstrap import Estimate, bootstrap_interval
from textgym.statistics.proportions import wilson_interval

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

    from reward_models.preferences.pairs import Answer

__all__ = ["AnnotatorReport", "QualityReport", "latest", "quality_report", "swapped_repeats"]

_DECIDED = ("a", "b")
_JUDGED = ("a", "b", "tie", "both_bad")
_REPETITIONS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotatorReport:
    """What is known of one annotator. A measure is None where nothing tells.

    Attributes:
        annotator: The pseudonym, or ``everybody``.
        answers: How many pairs were answered, the latest round of each.
        shares: Share of each kind of answer among them, ``tie`` and ``skip`` among them.
        left: Share of the decided answers of all rounds that took the text on the left. An
            interval without one half is a bias for a side, since sides are drawn.
        repeats: How many pairs were answered again with their sides changed.
        consistency: Share of these in which the same text was preferred, or neither both times.
        majority: How often the answer was that of most of the others, in [0, 1]; of k answers that
            are equally frequent each counts 1 / k.
        seconds: Median time of an answer, in seconds.
    """

    annotator: str
    answers: int
    shares: dict[str, float]
    left: Estimate | None
    repeats: int
    consistency: Estimate | None
    majority: Estimate | None
    seconds: Estimate | None


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityReport:
    """How far the answers of a store can be trusted.

    Attributes:
        pairs: How many pairs have an answer that is no skip.
        overlapping: How many of them have two or more.
        alpha: Krippendorff's, nominal, over ``a``, ``b``, ``tie`` and ``both_bad``; None where it
            does not exist.
        why: Why it does not; empty where it does.
        kappa: Mean of Cohen's over all pairs of annotators that have one.
        agreement: Share of equal answers among all pairs of answers to one pair.
        everybody: The same as of one annotator, over the answers of all.
        annotators: One report for each, by name.
    """

    pairs: int
    overlapping: int
    alpha: Estimate | None
    why: str
    kappa: float | None
    agreement: float | None
    everybody: AnnotatorReport
    annotators: list[AnnotatorReport]

    def as_json(self) -> dict[str, Any]:
        """Returns the report as JSON values."""
        return asdict(self)


def quality_report(
    answers: Sequence[Answer], rng: np.random.Generator, repetitions: int = _REPETITIONS
) -> QualityReport:
    """Measures agreement, and each annotator.

    Args:
        answers: Of all rounds, in any order.
        rng: What draws the intervals' resamples.
        repetitions: How many resamples.

    Raises:
        ValueError: If there is no answer.
    """
    if not answers:
        raise ValueError("there is no answer to measure: gather some first")
    current = latest(answers)
    judged = [a for a in current if a.answer in _JUDGED]
    table = answer_table([(a.annotator, a.pair_id, a.answer) for a in judged])[0] if judged else []
    alpha, why = _alpha(table, rng, repetitions)
    given: dict[str, Counter[Hashable]] = defaultdict(Counter)
    for answer in judged:
        given[answer.pair_id][answer.answer] += 1
    names = sorted({answer.annotator for answer in answers})

    def report(name: str, of: Sequence[Answer]) -> AnnotatorReport:
        return _report(name, of, given, rng, repetitions)

    return QualityReport(
        pairs=len(given),
        overlapping=sum(counts.total() > 1 for counts in given.values()),
        alpha=alpha,
        why=why,
        kappa=_or_none(lambda: mean_pairwise_kappa(table)),
        agreement=_or_none(lambda: percent_agreement(table)),
        everybody=report("everybody", answers),
        annotators=[report(n, [a for a in answers if a.annotator == n]) for n in names],
    )


def latest(answers: Iterable[Answer]) -> list[Answer]:
    """Returns each annotator's answer of the latest round to each pair, in the order given."""
    kept: dict[tuple[str, str], Answer] = {}
    for answer in answers:
        place = (answer.pair_id, answer.annotator)
        if place not in kept or kept[place].round < answer.round:
            kept[place] = answer
    return list(kept.values())


def swapped_repeats(answers: Iterable[Answer]) -> list[tuple[Answer, Answer]]:
    """Returns two answers of the same annotator to the same pair, its sides changed between them.

    A later answer that saw the same sides is a correction and no repeat. Of three rounds each is
    held against the one before it; skips are left out.
    """
    rounds: dict[tuple[str, str], list[Answer]] = defaultdict(list)
    for answer in answers:
        if answer.answer in _JUDGED:
            rounds[answer.pair_id, answer.annotator].append(answer)
    found = []
    for several in rounds.values():
        several.sort(key=lambda answer: answer.round)
        found += [
            (one, other)
            for one, other in itertools.pairwise(several)
            if one.shown_left != other.shown_left
        ]
    return found


def _report(
    name: str,
    answers: Sequence[Answer],
    given: Mapping[str, Counter[Hashable]],
    rng: np.random.Generator,
    repetitions: int,
) -> AnnotatorReport:
    current = latest(answers)
    kinds = Counter[str](answer.answer for answer in current)
    decided = [answer for answer in answers if answer.answer in _DECIDED]
    repeats = swapped_repeats(answers)
    agreed: list[float] = []
    for answer in current:
        own: Counter[Hashable] = Counter([answer.answer])
        others = given.get(answer.pair_id, own) - own
        if answer.answer in _JUDGED and others:
            agreed.append(majority_credit({answer.answer: 1.0}, others))
    seconds = [
        answer.voted_at - answer.served_at
        for answer in answers
        if answer.voted_at is not None and answer.served_at is not None
    ]
    return AnnotatorReport(
        annotator=name,
        answers=len(current),
        shares={kind: kinds[kind] / len(current) for kind in (*_JUDGED, "skip")},
        left=_share([float(answer.answer == answer.shown_left) for answer in decided]),
        repeats=len(repeats),
        consistency=_share([float(one.answer == other.answer) for one, other in repeats]),
        majority=_share(agreed),
        seconds=_median(seconds, rng, repetitions),
    )


def _share(values: Sequence[float]) -> Estimate | None:
    if not values:
        return None
    low, high = wilson_interval(sum(values), len(values))
    return Estimate(value=sum(values) / len(values), low=low, high=high)


def _median(values: Sequence[float], rng: np.random.Generator, repetitions: int) -> Estimate | None:
    if not values:
        return None
    middle = float(np.median(values))
    low, high = middle, middle
    if len(values) > 1:
        low, high = bootstrap_interval(values, rng, np.median, repetitions)
    return Estimate(value=middle, low=low, high=high)


def _alpha(
    table: list[list[Hashable | None]], rng: np.random.Generator, repetitions: int
) -> tuple[Estimate | None, str]:
    try:
        value = krippendorff_alpha(table)
        low, high = krippendorff_interval(table, rng, repetitions)
    except ValueError as reason:
        return None, str(reason)
    return Estimate(value=value, low=low, high=high), ""


def _or_none(measure: Callable[[], float]) -> float | None:
    try:
        return measure()
    except ValueError:
        return None
