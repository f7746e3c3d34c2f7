"""What people say about more than two texts, or about one: rankings and ratings.

Simplification: no two texts of a ranking are equally good; such data is a set of pairs, or ratings.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reward_models.preferences.pairs import Preference

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Item",
    "Ranking",
    "Rating",
    "completions_of",
    "decided_pairs",
    "pairs_of_labels",
    "pairs_of_rankings",
    "pairs_of_ratings",
]

_TIE = 0.5


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


def completions_of(item: Item) -> tuple[str, ...]:
    """Returns the texts that an item is about, the better ones first."""
    if isinstance(item, Preference):
        return item.chosen, item.rejected
    return item.completions if isinstance(item, Ranking) else (item.completion,)


def decided_pairs(items: Sequence[Item]) -> list[Preference]:
    """Returns every pair of texts of which one is said to be better; a tie has no order."""
    pairs = [item for item in items if isinstance(item, Preference) and item.probability > _TIE]
    pairs += pairs_of_rankings([item for item in items if isinstance(item, Ranking)])
    return pairs + pairs_of_ratings([item for item in items if isinstance(item, Rating)])


def pairs_of_labels(
    texts: Sequence[str], labels: Sequence[int], seed: int, passes: int = 1
) -> list[Preference]:
    """Sets each text of label 1 against one of label 0, at random; the prompts are empty.

    Args:
        texts: The texts, ``(N,)``.
        labels: 1 for good and 0 for bad, ``(N,)``.
        seed: Decides who meets whom.
        passes: How often the texts are paired, each time anew.

    Returns:
        The pairs of one pass after those of another: in each as many as the rarer label has texts,
        and each text in one of them at most.
    """
    sides: dict[int, list[str]] = {0: [], 1: []}
    for text, label in zip(texts, labels, strict=True):
        sides[label].append(text)
    rng = random.Random(seed)  # noqa: S311  not a secret
    pairs = []
    for _ in range(passes):
        for side in sides.values():
            rng.shuffle(side)
        met = zip(sides[1], sides[0], strict=False)
        pairs += [_preference("", good, bad, "labels") for good, bad in met]
    return pairs


def pairs_of_rankings(rankings: Sequence[Ranking]) -> list[Preference]:
    """Returns every order that the rankings state, as pairs: K(K - 1)/2 for a whole one of K."""
    return [
        _preference(ranking.prompt, better, worse, ranking.annotator)
        for ranking in rankings
        for place, better in enumerate(ranking.completions[: ranking.places])
        for worse in ranking.completions[place + 1 :]
    ]


def pairs_of_ratings(ratings: Sequence[Rating]) -> list[Preference]:
    """Returns the pairs of completions of one prompt that were rated differently by one person.

    Without a prompt all texts could meet, which would be N (N - 1) / 2 pairs that say little more
    than N / 2: there each text is in one pair at most, drawn at random, the same in every call.
    """
    groups: dict[tuple[str, str], list[Rating]] = {}
    for rating in ratings:
        groups.setdefault((rating.prompt, rating.annotator), []).append(rating)
    pairs = []
    for group in groups.values():
        met = itertools.combinations(group, 2) if group[0].prompt else _met(group)
        for one, other in met:
            if one.rating != other.rating:
                better, worse = (one, other) if one.rating > other.rating else (other, one)
                pairs.append(
                    _preference(one.prompt, better.completion, worse.completion, one.annotator)
                )
    return pairs


def _met(ratings: Sequence[Rating]) -> list[tuple[Rating, Rating]]:
    """Puts different texts together, each once."""
    once = list({rating.completion: rating for rating in ratings}.values())
    random.Random(0).shuffle(once)  # noqa: S311  not a secret
    return list(zip(once[::2], once[1::2], strict=False))


def _preference(prompt: str, chosen: str, rejected: str, annotator: str) -> Preference:
    return Preference(
        pair_id="", prompt=prompt, chosen=chosen, rejected=rejected, annotator=annotator
    )
