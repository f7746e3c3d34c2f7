"""What several people's answers say together, each weighed by how good the answers have proved.

Dawid and Skene (1979): each annotator has a table of how often each answer is given where each is
true, each pair has a true answer that nobody sees, and expectation-maximisation finds both. A
careless annotator's votes then count little, one who always answers the opposite is turned round,
and one who leans to a side is heard where the answer is against it. For that last the tables are of
sides, left and right as they were shown, while what is true is true of the texts.

A table is pulled towards that of all annotators together, by as much as ``_PULL`` answers of each
kind weigh, and that one towards being right, so that a newcomer counts as an average annotator.

Simplifications: the errors of two people are taken as independent, and every pair as equally hard;
which of two texts is called ``a`` says nothing; no interval is given of an ability.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from reward_models.preferences.pairs import Preference

__all__ = [
    "Abilities",
    "Ability",
    "Votes",
    "ability_shares",
    "find_abilities",
    "fit_abilities",
    "truth_probabilities",
]

_PULL = 4.0  # answers of each kind that the common table weighs in each annotator's
_TRUST = 8.0  # answers of each kind that being right with .75 weighs in the common table
_RIGHT = 0.75
_TIES_BELIEVED = 1.0, 9.0  # pairs that are ties, and pairs that are none, believed before any vote
_MOST_ROUNDS = 500
_CONVERGED = 1e-7
_LEFT, _RIGHT_SIDE, _TIE = range(3)
_DECIDED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Votes:
    """M answers of J annotators to N pairs.

    Attributes:
        item: Which pair, ``(M,)``, from 0 to N - 1.
        annotator: Who, ``(M,)``, from 0 to J - 1.
        said: 0 for the left text, 1 for the right one, 2 for a tie, ``(M,)``.
        swapped: Whether the pair's second text stood on the left, ``(M,)``, bool.
    """

    item: NDArray[np.intp]
    annotator: NDArray[np.intp]
    said: NDArray[np.intp]
    swapped: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """What was found.

    Attributes:
        truth: Probability that the first text is better, the second, or neither, ``(N, K)``; K is 2
            where nobody said tie, else 3.
        tables: How often annotator j says k where s is true, by sides, ``(J, K, K)``.
    """

    truth: NDArray[np.float64]
    tables: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ability:
    """One annotator, as the answers of all tell.

    Attributes:
        annotator: The pseudonym.
        answers: How many answers this rests on.
        accuracy: How often the better text is named where one is better; .5 is a coin's.
        left: How often the left text is named, among named ones, where both sides are equally often
            the better one; .5 is no bias.
    """

    annotator: str
    answers: int
    accuracy: float
    left: float


def fit_abilities(votes: Votes) -> Abilities:
    """Finds what is true and what each annotator is worth, by expectation-maximisation.

    Raises:
        ValueError: If there is no vote.
    """
    if not len(votes.item):
        raise ValueError("there is no answer to weigh: gather some first")
    kinds = _TIE + 1 if (votes.said == _TIE).any() else _DECIDED
    items, people = int(votes.item.max()) + 1, int(votes.annotator.max()) + 1
    counts = np.full((items, kinds), 1 / kinds)
    np.add.at(counts, (votes.item, _by_text(votes)), 1.0)
    truth = counts / counts.sum(axis=1, keepdims=True)
    for _round in range(_MOST_ROUNDS):
        tables = _tables(votes, truth, people)
        moved = truth_probabilities(votes, tables, _shares(truth))
        change = float(np.abs(moved - truth).max())
        truth = moved
        if change < _CONVERGED:
            break
    return Abilities(truth=truth, tables=_tables(votes, truth, people))


def truth_probabilities(
    votes: Votes, tables: NDArray[np.float64], shares: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Bayes' rule: how likely each answer is the true one, given what was said.

    Args:
        votes: The answers.
        tables: How often annotator j says k where s is true, by sides, ``(J, K, K)``.
        shares: How often each answer is true before anybody is asked, ``(K,)``.

    Returns:
        ``(N, K)``, by texts: the first one, the second one, neither.
    """
    likelihood = np.log(tables)[votes.annotator, :, votes.said]  # (M, K), by sides
    total = np.tile(np.log(shares), (int(votes.item.max()) + 1, 1))
    np.add.at(total, votes.item, _turned(likelihood, votes.swapped))
    total = np.exp(total - total.max(axis=1, keepdims=True))
    return np.asarray(total / total.sum(axis=1, keepdims=True), dtype=np.float64)


def ability_shares(
    preferences: Sequence[Preference], left: Mapping[tuple[str, str], str]
) -> list[Preference]:
    """Turns several people's answers to the same pairs into one soft answer a pair, by ability.

    Args:
        preferences: At most one for each annotator and pair, ties among them.
        left: The text that stood on the left, by pair and annotator. Where it is not known, the
            one that the pair's first preference chose.

    Returns:
        One a pair, in the order of their first preference: ``chosen`` is what is likelier the
        better one, and ``probability`` how likely that is, a tie being half of it.
    """
    if not preferences:
        return []
    votes, _, firsts = _votes_of(preferences, left)
    truth = fit_abilities(votes).truth
    better = truth[:, 0] + (truth[:, _TIE] / 2 if truth.shape[1] > _DECIDED else 0)
    numbers = np.bincount(votes.item)
    decided = []
    for first, share, number in zip(firsts, better.tolist(), numbers, strict=True):
        winner = first
        if share < 1 / 2:
            winner = replace(first, chosen=first.rejected, rejected=first.chosen)
        decided.append(
            replace(
                winner,
                annotator=f"weighed votes of {number}",
                strength=None,
                probability=max(share, 1 - share),
            )
        )
    return decided


def find_abilities(
    preferences: Sequence[Preference], left: Mapping[tuple[str, str], str]
) -> list[Ability]:
    """Says what each annotator is worth, by name; see ``ability_shares`` for the arguments."""
    if not preferences:
        return []
    votes, names, _ = _votes_of(preferences, left)
    found = []
    for number, (name, table) in enumerate(zip(names, fit_abilities(votes).tables, strict=True)):
        named = table[:_DECIDED, :_DECIDED]  # what is said where one of the two is better
        found.append(
            Ability(
                annotator=name,
                answers=int((votes.annotator == number).sum()),
                accuracy=float(np.trace(named) / named.sum()),
                left=float(named[:, _LEFT].sum() / named.sum()),
            )
        )
    return found


def _votes_of(
    preferences: Sequence[Preference], left: Mapping[tuple[str, str], str]
) -> tuple[Votes, list[str], list[Preference]]:
    """Returns the votes, the annotators by number, and the first preference of each pair."""
    firsts: dict[str, Preference] = {}
    for preference in preferences:
        firsts.setdefault(preference.pair_id, preference)
    names = sorted({preference.annotator for preference in preferences})
    place = {pair_id: number for number, pair_id in enumerate(firsts)}
    person = {name: number for number, name in enumerate(names)}
    said, swapped = [], []
    for answer in preferences:
        first = firsts[answer.pair_id].chosen
        shown = left.get((answer.pair_id, answer.annotator), first)
        swapped.append(shown != first)
        tie = answer.probability == 1 / 2
        said.append(_TIE if tie else _LEFT if answer.chosen == shown else _RIGHT_SIDE)
    votes = Votes(
        item=np.array([place[answer.pair_id] for answer in preferences], np.intp),
        annotator=np.array([person[answer.annotator] for answer in preferences], np.intp),
        said=np.array(said, np.intp),
        swapped=np.array(swapped, np.bool_),
    )
    return votes, names, list(firsts.values())


def _by_text(votes: Votes) -> NDArray[np.intp]:
    """What was said of the texts: 0 for the pair's first, 1 for its second, 2 for a tie."""
    return np.where((votes.said != _TIE) & votes.swapped, 1 - votes.said, votes.said)


def _turned(rows: NDArray[np.float64], swapped: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Sides to texts or back: exchanges the first two columns, ``(M, K)``, where swapped."""
    turned = rows[:, [1, 0, *range(_DECIDED, rows.shape[1])]]
    return np.where(swapped[:, None], turned, rows)


def _tables(votes: Votes, truth: NDArray[np.float64], people: int) -> NDArray[np.float64]:
    """The tables' means, given how likely each answer is true, ``(J, K, K)``."""
    kinds = truth.shape[1]
    counts = np.zeros((people, kinds, kinds))
    by_side = _turned(truth[votes.item], votes.swapped)
    np.add.at(counts.transpose(0, 2, 1), (votes.annotator, votes.said), by_side)
    right = np.full((kinds, kinds), (1 - _RIGHT) / (kinds - 1))
    np.fill_diagonal(right, _RIGHT)
    common = counts.sum(axis=0) + _TRUST * right
    common /= common.sum(axis=1, keepdims=True)
    pulled = counts + _PULL * common
    return np.asarray(pulled / pulled.sum(axis=2, keepdims=True), dtype=np.float64)


def _shares(truth: NDArray[np.float64]) -> NDArray[np.float64]:
    """How often each answer is true: both texts equally often, since their names say nothing."""
    if truth.shape[1] == _DECIDED:
        return np.full(_DECIDED, 1 / _DECIDED)
    ties, others = _TIES_BELIEVED
    tied = (truth[:, _TIE].sum() + ties) / (len(truth) + ties + others)
    return np.array([(1 - tied) / 2, (1 - tied) / 2, tied])
