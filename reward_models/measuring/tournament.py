"""Policies judged by people who do not know them: ratings, win rates, and when it is enough.

Whoever is asked compares two texts of one prompt, each by another policy. From the answers follow
ratings of all policies on one scale with the ranks that each may have, and for every two of them
how often one wins, how often it would at equal length, and whether that is settled. It may be
looked at after every answer: what is called settled is so with 95 % for all of them together,
however often one looks.

Simplifications: both bad counts as a tie, a skip as nothing; several answers to one pair are one
observation, their mean, where the settling is concerned; annotators count alike.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from reward_models.measuring.annotators import latest
from textgym.statistics.bradley_terry import Ratings, fit_ratings
from textgym.statistics.equal_length import EqualLength, equal_length_win_rate
from textgym.statistics.sample_sizes import answers_for_difference, detectable_win_rate
from textgym.statistics.sequential import Verdict, decide

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reward_models.preferences.pairs import Answer, Pair

__all__ = ["Matchup", "Tournament", "hold_tournament"]

_REPETITIONS = 1000
_OUTCOMES = {"a": 1.0, "b": 0.0, "tie": 0.5, "both_bad": 0.5}
_EVEN = 0.5
_FEWEST = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Matchup:
    """Two policies against each other.

    Attributes:
        first: The one whose wins are counted; the better rated of the two.
        second: The other.
        answers: How many answers.
        ties: The share of ties among them, both bad included.
        rates: How often the first wins, as it is and at equal length, lengths in characters; None
            of a single prompt.
        verdict: What may be said now, and could have been at any time.
        needed: How many answers tell a true rate that is the one observed from one half, with a
            power of .8; None where it is one half.
        detectable: The least rate above one half that as many answers as there are would tell.
    """

    first: str
    second: str
    answers: int
    ties: float
    rates: EqualLength | None
    verdict: Verdict
    needed: int | None
    detectable: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tournament:
    """What people think of some policies.

    Attributes:
        ratings: Of all policies; None where they cannot be on one scale.
        why: Why they cannot be; empty where they are.
        matchups: Every two that met.
        left_out: How many answers were left out, by the reason.
    """

    ratings: Ratings | None
    why: str
    matchups: list[Matchup]
    left_out: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        """Returns it as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Game:
    """One answer, seen from the policy whose name comes first in the alphabet."""

    first: str
    second: str
    outcome: float
    longer: int
    prompt: str
    pair_id: str


def hold_tournament(
    pairs: Sequence[Pair],
    answers: Sequence[Answer],
    rng: np.random.Generator,
    *,
    confidence: float = 0.95,
    repetitions: int = _REPETITIONS,
) -> Tournament:
    """Rates the policies that wrote the texts.

    Args:
        pairs: With the names of who wrote them; those of one writer, or of unknown ones, are left
            out.
        answers: In the order in which they came; of several rounds the latest counts.
        rng: What draws the intervals' resamples.
        confidence: How often all that is called settled shall be right, together.
        repetitions: How many resamples.

    Raises:
        ValueError: If no answer compares two policies.
    """
    games, left_out = _games(pairs, answers)
    if not games:
        said = ", ".join(f"{number} {reason}" for reason, number in left_out.items())
        raise ValueError(f"no answer compares two policies{f' ({said})' if said else ''}")
    clusters = _clusters(games)
    ratings, why = None, ""
    try:
        ratings = fit_ratings(
            [game.first for game in games],
            [game.second for game in games],
            [game.outcome for game in games],
            clusters,
            rng,
            repetitions,
        )
    except ValueError as reason:
        why = str(reason)
    names = sorted({name for game in games for name in (game.first, game.second)})
    order = ratings.players if ratings is not None else names
    met = [
        (one, other)
        for one, other in combinations(order, 2)
        if any({game.first, game.second} == {one, other} for game in games)
    ]
    matchups = [
        _matchup(one, other, games, 1 - (1 - confidence) / len(met), rng, repetitions)
        for one, other in met
    ]
    return Tournament(ratings=ratings, why=why, matchups=matchups, left_out=left_out)


def _games(pairs: Sequence[Pair], answers: Sequence[Answer]) -> tuple[list[_Game], dict[str, int]]:
    known = {pair.pair_id: pair for pair in pairs}
    games: list[_Game] = []
    left_out: Counter[str] = Counter()
    for answer in latest(answers):
        pair = known.get(answer.pair_id)
        if pair is None or not pair.policy_a or not pair.policy_b:
            left_out["to texts of unknown writers"] += 1
        elif pair.policy_a == pair.policy_b:
            left_out["to texts of one writer"] += 1
        elif answer.answer not in _OUTCOMES:
            left_out["skips"] += 1
        else:
            outcome, longer = _OUTCOMES[answer.answer], len(pair.a) - len(pair.b)
            turned = pair.policy_a > pair.policy_b
            games.append(
                _Game(
                    first=min(pair.policy_a, pair.policy_b),
                    second=max(pair.policy_a, pair.policy_b),
                    outcome=1 - outcome if turned else outcome,
                    longer=-longer if turned else longer,
                    prompt=pair.prompt,
                    pair_id=pair.pair_id,
                )
            )
    return games, dict(left_out)


def _clusters(games: Sequence[_Game]) -> list[str]:
    """What intervals draw: prompts, or pairs where all have the same prompt."""
    prompts = [game.prompt for game in games]
    return prompts if len(set(prompts)) > 1 else [game.pair_id for game in games]


def _matchup(
    one: str,
    other: str,
    games: Sequence[_Game],
    confidence: float,
    rng: np.random.Generator,
    repetitions: int,
) -> Matchup:
    between = [game for game in games if {game.first, game.second} == {one, other}]
    turned = between[0].first != one
    outcomes = np.array([game.outcome for game in between])
    longer = np.array([game.longer for game in between], np.float64)
    if turned:
        outcomes, longer = 1 - outcomes, -longer
    ties = float((outcomes == _EVEN).mean())
    by_pair: dict[str, list[float]] = {}
    for game, outcome in zip(between, outcomes.tolist(), strict=True):
        by_pair.setdefault(game.pair_id, []).append(outcome)
    clusters = _clusters(between)
    rates = None
    if len(set(clusters)) >= _FEWEST:
        rates = equal_length_win_rate(outcomes, longer, clusters, rng, repetitions)
    rate = float(outcomes.mean())
    return Matchup(
        first=one,
        second=other,
        answers=len(between),
        ties=ties,
        rates=rates,
        verdict=decide([float(np.mean(v)) for v in by_pair.values()], confidence=confidence),
        needed=None if rate == _EVEN else answers_for_difference(rate, ties=ties),
        detectable=None if ties == 1 else detectable_win_rate(len(between), ties=ties),
    )
