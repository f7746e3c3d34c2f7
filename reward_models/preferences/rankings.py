"""What people say about more than two texts, or about one: rankings and ratings.

Simplification: no two texts of a ranking are equally good; such data is a set of pairs, or ratings.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reward_models.preferences.pairs import Preference

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Item", "Ranking", "Rating", "pairs_of_rankings", "pairs_of_ratings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """Completions of one prompt in the order in which somebody put them.

    Attributes:
        prompt: The text that all completions follow.
        completions: At least two different texts, the best first.
        places: How many of the first places are known; what comes behind them has no order. 1 where
            only the best was chosen.
        annotator: Who decided.
    """

    prompt: str
    completions: tuple[str, ...]
    places: int
    annotator: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rating:
    """A number that somebody gave to one completion.

    Attributes:
        prompt: The text that the completion follows.
        completion: The text that was rated.
        rating: More is better; all ratings that are learned from together share one scale.
        annotator: Who decided.
    """

    prompt: str
    completion: str
    rating: float
    annotator: str = ""


Item = Preference | Ranking | Rating
"""What a reward model can learn from; one kind at a time."""


def pairs_of_rankings(rankings: Sequence[Ranking]) -> list[Preference]:
    """Returns every order that the rankings state, as pairs: K(K - 1)/2 for a whole one of K."""
    return [
        _preference(ranking.prompt, better, worse, ranking.annotator)
        for ranking in rankings
        for place, better in enumerate(ranking.completions[: ranking.places])
        for worse in ranking.completions[place + 1 :]
    ]


def pairs_of_ratings(ratings: Sequence[Rating]) -> list[Preference]:
    """Returns the pairs of completions of one prompt that were rated differently by one person."""
    groups: dict[tuple[str, str], list[Rating]] = {}
    for rating in ratings:
        groups.setdefault((rating.prompt, rating.annotator), []).append(rating)
    pairs = []
    for group in groups.values():
        for one, other in itertools.combinations(group, 2):
            if one.rating != other.rating:
                better, worse = (one, other) if one.rating > other.rating else (other, one)
                pairs.append(
                    _preference(one.prompt, better.completion, worse.completion, one.annotator)
                )
    return pairs


def _preference(prompt: str, chosen: str, rejected: str, annotator: str) -> Preference:
    return Preference(
        pair_id="", prompt=prompt, chosen=chosen, rejected=rejected, annotator=annotator
    )
