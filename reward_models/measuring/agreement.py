"""How far people agree with each other, which bounds what any reward can reach with them.

A table of answers has a row for each annotator and a column for each item; ``None`` where an
annotator gave no answer. Answers to a pair are coded as the item that was preferred, never as the
side that it stood on.

Simplifications: intervals draw items, not annotators; every annotator counts alike.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np

from textgym.statistics.bootstrap import weighted_interval

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

__all__ = [
    "Level",
    "Outsider",
    "answer_table",
    "cohen_kappa",
    "fleiss_kappa",
    "kappa_interval",
    "krippendorff_alpha",
    "krippendorff_interval",
    "majority_credit",
    "majority_credits",
    "mean_pairwise_kappa",
    "pair_agreements",
    "percent_agreement",
    "with_majority",
]

Level = Literal["nominal", "ordinal", "interval"]

Outsider = Mapping[Hashable, float]

_PAIR = 2
_ROUNDING = 1e-12


def answer_table(
    answers: Sequence[tuple[str, str, Hashable]],
) -> tuple[list[list[Hashable | None]], list[str], list[str]]:
    """Lays answers out, one row for each annotator and one column for each item.

    Args:
        answers: ``(annotator, item, answer)``; a later answer to the same takes its place.

    Returns:
        The table, the annotators' names and the items' names, both sorted.
    """
    by_place: Mapping[tuple[str, str], Hashable] = {(who, item): a for who, item, a in answers}
    annotators = sorted({who for who, _, _ in answers})
    items = sorted({item for _, item, _ in answers})
    table = [[by_place.get((who, item)) for item in items] for who in annotators]
    return table, annotators, items


def percent_agreement(table: Sequence[Sequence[Hashable | None]]) -> float:
    """Share of pairs of answers to one item that are equal, over all items, in [0, 1].

    Raises:
        ValueError: If no item has two answers.
    """
    return float(np.mean(pair_agreements(table)[0]))


def pair_agreements(
    table: Sequence[Sequence[Hashable | None]], outsider: Sequence[Outsider] | None = None
) -> tuple[list[float], list[int]]:
    """Holds every two answers to one item against each other; k answers make ``k (k - 1) / 2``.

    Args:
        table: ``(annotators, items)``.
        outsider: What somebody else says of each item, such as a reward; each answer is held
            against that instead. An answer with its weight, or two where it is undecided.

    Returns:
        1 where the two are equal and 0 where not, and the item of each, a number; both ``(M,)``.

    Raises:
        ValueError: If no item has two answers.
    """
    values, items = [], []
    for item, given in _pairable(table):
        if outsider is None:
            equal = [float(a == b) for a, b in itertools.combinations(given, _PAIR)]
        else:
            equal = [outsider[item].get(answer, 0.0) for answer in given]
        values += equal
        items += [item] * len(equal)
    return values, items


def cohen_kappa(first: Sequence[Hashable | None], second: Sequence[Hashable | None]) -> float:
    """Agreement of two annotators beyond chance, ``(p_o - p_e) / (1 - p_e)`` (Cohen 1960).

    Args:
        first: One annotator's answers, ``(N,)``.
        second: The other's to the same items, ``(N,)``. Items that one of them left out are left
            out.

    Returns:
        1 for full agreement, 0 for that of chance, below 0 for less.

    Raises:
        ValueError: If no item was answered by both, or both gave one and the same answer to all.
    """
    both = [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    if not both:
        raise ValueError("no item was answered by both annotators: kappa needs such items")
    observed = sum(a == b for a, b in both) / len(both)
    ones, others = Counter(a for a, _ in both), Counter(b for _, b in both)
    expected = sum(ones[answer] * others[answer] for answer in ones) / len(both) ** 2
    if expected == 1:
        raise ValueError(
            f"both annotators gave the same one answer to all {len(both)} items, and agreement "
            "beyond chance cannot be told from chance then"
        )
    return (observed - expected) / (1 - expected)


def mean_pairwise_kappa(table: Sequence[Sequence[Hashable | None]]) -> float:
    """Mean of Cohen's kappa over all pairs of annotators that have one (Light 1971).

    Raises:
        ValueError: If no pair of annotators has a kappa.
    """
    found = []
    for first, second in itertools.combinations(table, _PAIR):
        try:
            found.append(cohen_kappa(first, second))
        except ValueError:  # such as two people who saw different items
            continue
    if not found:
        raise ValueError(
            f"none of the pairs among {len(table)} annotators has a kappa: two people must have "
            "answered the same items, and not all alike"
        )
    return float(np.mean(found))


def krippendorff_alpha(
    table: Sequence[Sequence[Hashable | None]], level: Level = "nominal"
) -> float:
    """Agreement beyond chance of any number of annotators with gaps, ``1 - D_o / D_e``.

    Krippendorff 2011, "Computing Krippendorff's alpha-reliability". At least .8 counts as good,
    at least .667 as tentative.

    Args:
        table: ``(annotators, items)``; numbers where ``level`` is not nominal.
        level: How far two answers are apart: equal or not, by rank, or by squared difference.

    Returns:
        1 for full agreement, 0 for that of chance, below 0 for less.

    Raises:
        ValueError: If no item has two answers, or all answers are the same.
    """
    coincidences, values = _coincidences(table)
    total = coincidences.sum(axis=0)
    return float(_alpha(total, _distances(values, total.sum(axis=0), level)))


def krippendorff_interval(
    table: Sequence[Sequence[Hashable | None]],
    rng: np.random.Generator,
    repetitions: int = 2000,
    level: Level = "nominal",
) -> tuple[float, float]:
    """The 95 % interval of alpha, by drawing items with replacement.

    Args:
        table: ``(annotators, items)``.
        rng: What draws.
        repetitions: How many resamples.
        level: As in ``krippendorff_alpha``.

    Raises:
        ValueError: As ``krippendorff_alpha``; or if there is one item only.
    """
    coincidences, values = _coincidences(table)
    _distances(values, np.ones(len(values)), level)  # refuses what has no numbers
    flat = coincidences.reshape(len(coincidences), -1)

    def alphas(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        drawn = (counts @ flat).reshape(-1, len(values), len(values))
        # A resample in which all answers are the same has no alpha.
        varied = (drawn.sum(axis=1) > 0).sum(axis=1) > 1
        drawn = drawn[varied]
        return _alpha(drawn, _distances(values, drawn.sum(axis=1), level))

    return _interval(alphas, len(coincidences), rng, repetitions)


def fleiss_kappa(table: Sequence[Sequence[Hashable | None]]) -> float:
    """Agreement beyond chance of k answers to each item, whoever gave them (Fleiss 1971).

    Args:
        table: ``(annotators, items)``; each item has the same number of answers, at least two,
            which need not be of the same people.

    Returns:
        1 for full agreement, 0 for that of chance, below 0 for less.

    Raises:
        ValueError: If the items have different numbers of answers, or all answers are the same.
    """
    counts = _rectangular(table)
    value = float(_fleiss(np.ones((1, len(counts))), counts)[0])
    if not np.isfinite(value):
        raise ValueError(
            "all answers are the same, and agreement beyond chance cannot be told from chance then"
        )
    return value


def kappa_interval(
    table: Sequence[Sequence[Hashable | None]], rng: np.random.Generator, repetitions: int = 2000
) -> tuple[float, float]:
    """The 95 % interval of Fleiss' kappa, or of Cohen's of two annotators, by drawing items.

    Two annotators have Cohen's, which knows how often each of them gives each answer; more have
    Fleiss'.

    Args:
        table: ``(annotators, items)``. Of two annotators, items that one of them left out are
            left out.
        rng: What draws.
        repetitions: How many resamples.

    Raises:
        ValueError: As ``cohen_kappa`` or ``fleiss_kappa``; or if there is one item only.
    """
    if len(table) != _PAIR:
        fleiss_kappa(table)  # raises where there is none
        counts = _rectangular(table)
        return _interval(
            lambda drawn: _finite(_fleiss(drawn, counts)), len(counts), rng, repetitions
        )
    cohen_kappa(*table)
    both = [pair for pair in zip(*table, strict=True) if None not in pair]
    place = {
        value: number
        for number, value in enumerate(sorted(set(itertools.chain(*both)), key=_order))
    }
    meetings = np.zeros((len(both), len(place), len(place)))
    for row, (one, other) in enumerate(both):
        meetings[row, place[one], place[other]] = 1

    def kappas(drawn: NDArray[np.float64]) -> NDArray[np.float64]:
        shares = np.tensordot(drawn, meetings, axes=1) / len(both)
        observed = np.trace(shares, axis1=1, axis2=2)
        expected = (shares.sum(axis=1) * shares.sum(axis=2)).sum(axis=1)
        return _finite(_beyond_chance(observed, expected))

    return _interval(kappas, len(both), rng, repetitions)


def with_majority(table: Sequence[Sequence[Hashable | None]]) -> float:
    """How often an annotator agrees with the majority of the others, in [0, 1].

    Each answer is held against the most frequent among the others' answers to its item; where k
    of them are equally frequent, it gets 1 / k if it is among them.

    Raises:
        ValueError: If no item has two answers.
    """
    return float(np.mean(majority_credits(table)[0]))


def majority_credits(
    table: Sequence[Sequence[Hashable | None]], outsider: Sequence[Outsider] | None = None
) -> tuple[list[float], list[int]]:
    """Holds each answer against the others' answers to its item; see ``with_majority``.

    Args:
        table: ``(annotators, items)``.
        outsider: As in ``pair_agreements``: takes the place of each answer in turn, so that it is
            held against the very majorities that people are.

    Returns:
        What each answer gets, in [0, 1], and its item, a number; both ``(M,)``.

    Raises:
        ValueError: If no item has two answers.
    """
    credit, items = [], []
    for item, given in _pairable(table):
        counts = Counter(given)
        for answer in given:
            said = {answer: 1.0} if outsider is None else outsider[item]
            credit.append(majority_credit(said, counts - Counter([answer])))
            items.append(item)
    return credit, items


def majority_credit(said: Outsider, others: Counter[Hashable]) -> float:
    """How far somebody agrees with the most frequent of the others' answers, in [0, 1].

    Args:
        said: The answers of the one, each with its weight.
        others: How often the others gave each answer, at least one of them.
    """
    top = max(others.values())
    best = [other for other, count in others.items() if count == top]
    return sum(said.get(other, 0.0) for other in best) / len(best)


def _pairable(table: Sequence[Sequence[Hashable | None]]) -> list[tuple[int, list[Hashable]]]:
    """Returns the number and the answers of each item that has two answers or more."""
    columns = enumerate(zip(*table, strict=True))
    units = [(item, [answer for answer in given if answer is not None]) for item, given in columns]
    units = [(item, given) for item, given in units if len(given) >= _PAIR]
    if not units:
        raise ValueError("no item has two answers: agreement needs items that two people answered")
    return units


def _coincidences(
    table: Sequence[Sequence[Hashable | None]],
) -> tuple[NDArray[np.float64], list[Hashable]]:
    """How often each two values meet in an item, ``(items, K, K)``, and the K values in order."""
    units = [given for _, given in _pairable(table)]
    values = sorted({answer for given in units for answer in given}, key=_order)
    if len(values) == 1:
        raise ValueError(
            f"all answers are {values[0]!r}, and agreement beyond chance cannot be told from "
            "chance then"
        )
    place = {value: number for number, value in enumerate(values)}
    counts = np.zeros((len(units), len(values)))
    for row, given in enumerate(units):
        for answer in given:
            counts[row, place[answer]] += 1
    meetings = counts[:, :, None] * counts[:, None, :] - np.eye(len(values)) * counts[:, :, None]
    return meetings / (counts.sum(axis=1) - 1)[:, None, None], values


def _alpha(total: NDArray[np.float64], distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Alphas of summed coincidences, ``(..., K, K)`` to ``(...)``."""
    margins = total.sum(axis=-1)
    observed = (total * distance).sum(axis=(-2, -1))
    chance = (margins[..., :, None] * margins[..., None, :] * distance).sum(axis=(-2, -1))
    return np.asarray(1 - observed * (margins.sum(axis=-1) - 1) / chance, dtype=np.float64)


def _rectangular(table: Sequence[Sequence[Hashable | None]]) -> NDArray[np.float64]:
    """How often each item was given each answer, ``(items, K)``, as many answers to each."""
    units = [given for _, given in _pairable(table)]
    if {len(given) for given in units} != {len(units[0])} or len(units) != len(table[0]):
        raise ValueError(
            "Fleiss' kappa needs equally many answers to each item, two or more: take "
            "Krippendorff's alpha where there are gaps"
        )
    values = sorted({answer for given in units for answer in given}, key=_order)
    return np.array([[given.count(value) for value in values] for given in units], np.float64)


def _fleiss(drawn: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Kappas of resamples ``(R, items)`` of ``(items, K)`` counts; not finite of unanimous ones."""
    answers = counts[0].sum()
    alike = ((counts**2).sum(axis=1) - answers) / (answers * (answers - 1))
    items = drawn.sum(axis=1)
    shares = (drawn @ counts) / (items * answers)[:, None]
    return _beyond_chance((drawn @ alike) / items, (shares**2).sum(axis=1))


def _beyond_chance(
    observed: NDArray[np.float64], expected: NDArray[np.float64]
) -> NDArray[np.float64]:
    """``(p_o - p_e) / (1 - p_e)``, NaN where chance alone agrees always."""
    room = 1 - expected
    possible = room > _ROUNDING
    return np.where(possible, (observed - expected) / np.where(possible, room, 1), np.nan)


def _finite(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values[np.isfinite(values)]


def _interval(
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    items: int,
    rng: np.random.Generator,
    repetitions: int,
) -> tuple[float, float]:
    if items == 1:
        raise ValueError("an interval needs two items or more that two people answered")
    low, high = weighted_interval(statistic, items, rng, repetitions)
    return float(low), float(high)


def _order(value: Hashable) -> tuple[float, str]:
    number = float(value) if isinstance(value, int | float) else 0.0
    return number, str(value)


def _distances(
    values: Sequence[Hashable], margins: NDArray[np.float64], level: Level
) -> NDArray[np.float64]:
    """Squared distances of all pairs of values, ``(K, K)``, or ``(..., K, K)`` by their margins."""
    if level == "nominal":
        return 1 - np.eye(len(values))
    if not all(isinstance(value, int | float) for value in values):
        raise ValueError(f"level {level!r} needs numbers, and {values[0]!r} is among the answers")
    if level == "interval":
        numbers = np.array(values, dtype=np.float64)
    else:
        # Between two ranks lie all the answers between them and half of those at either end.
        numbers = np.cumsum(margins, axis=-1) - margins / 2
    return np.asarray((numbers[..., :, None] - numbers[..., None, :]) ** 2, dtype=np.float64)
