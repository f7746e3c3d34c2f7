"""One row of somebody's file becomes items to learn from: a comparison, a ranking, or ratings."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from reward_models.preferences.pairs import Preference
from reward_models.preferences.published.conversations import prompt_and_completions
from reward_models.preferences.published.values import (
    annotator_of,
    checked_number,
    checked_text,
    divided,
    has_prompt,
    is_texts,
    list_of,
    subset_of,
    text_of,
    turns_of,
    whole_number_of,
    wrong,
)
from reward_models.preferences.published.verdicts import Verdict
from reward_models.preferences.rankings import Ranking, Rating
from textgym.data.tables import Row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reward_models.preferences.published.verdicts import VerdictReader
    from reward_models.preferences.rankings import Item

__all__ = [
    "BothBad",
    "Columns",
    "Compared",
    "labelled_chat",
    "ranked",
    "ranked_each",
    "rated",
    "rated_each",
    "rated_list",
    "sampled",
]

_SAMPLE = re.compile(r"sample(\d+)")
_FEWEST = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Which columns of a file are read.

    Attributes:
        texts: Those that hold texts.
        says: Those that say what they are worth; empty where the names of ``texts`` do.
    """

    texts: tuple[str, ...]
    says: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BothBad:
    """A comparison in which neither text won, because both are bad: no order is in it.

    Attributes:
        pair: The two texts, and who says so.
    """

    pair: Preference


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Reads a comparison of two texts.

    Attributes:
        verdict: Reads who says what about it, once or several times.
        each: Whether two lists of texts are several texts, each of the first better than each of
            the second; else they are what was answered by and by, in turn with the prompt's list.
    """

    verdict: VerdictReader
    each: bool = False

    def __call__(self, row: Row, columns: Columns) -> Sequence[Item | BothBad]:
        """Returns one item a verdict, the likelier text as the chosen one."""
        if self.each and all(is_texts(row.values.get(column)) for column in columns.texts):
            return _compared_each(row, columns)
        turns = None if self.each else turns_of(row, columns.texts)
        if turns is None:
            both = [text_of(row, column) for column in columns.texts]
            prompt, texts = divided(row, both, implicit=True)
        else:
            prompt, texts = prompt_and_completions(None, turns)
        said = self.verdict(row, columns.says)
        return [_comparison(row, prompt, texts, one) for one in said]


def _compared_each(row: Row, columns: Columns) -> Sequence[Item]:
    """Every text of the first list is better than every text of the second."""
    sides = [[checked_text(row, c, text) for text in list_of(row, c)] for c in columns.texts]
    prompt, texts = divided(row, [text for side in sides for text in side])
    better, worse = texts[: len(sides[0])], texts[len(sides[0]) :]
    plain = Verdict(probability=1.0)
    return [_preference(row, prompt, (one, other), plain) for one in better for other in worse]


def ranked(row: Row, columns: Columns) -> Sequence[Item]:
    """A list of texts, and their ranks or the number of the best of them."""
    completions = list_of(row, columns.texts[0])
    if columns.says[0] == "ranks" and row.values.get("ranks") is not None:
        ranks = list_of(row, "ranks")
        return [_in_order(row, completions, ranks)]
    best = "best" if "best" in row.values else columns.says[0]
    return [_best_of(row, completions, best)]


def sampled(row: Row, columns: Columns) -> Sequence[Item]:
    """Columns ``sample0, sample1, ...``, and the number of the best of them: Ziegler et al."""
    names = [name for name in row.values if _SAMPLE.fullmatch(name)]
    names.sort(key=lambda name: int(name.removeprefix("sample")))
    texts = [row.values[name] for name in names if row.values[name] is not None]
    return [_best_of(row, texts, columns.says[0])]


def ranked_each(row: Row, columns: Columns) -> Sequence[Item]:
    """A list of objects, each with an answer and its rank: Nectar."""
    listed = _objects(row, columns.texts[0])
    answers = [_of_object(row, one, ("answer", "response", "text")) for one in listed]
    return [_in_order(row, answers, [one.get("rank") for one in listed])]


def rated(row: Row, columns: Columns) -> Sequence[Item]:
    """One text and its rating."""
    prompt, (completion,) = divided(row, [text_of(row, columns.texts[0])])
    return [_rating(row, prompt, completion, row.values.get(columns.says[0]), columns.says[0])]


def labelled_chat(row: Row, columns: Columns) -> Sequence[Item]:
    """A conversation, and the rating of its last message."""
    messages = list_of(row, columns.texts[0])
    if len(messages) < _FEWEST:
        raise wrong(row, f"{columns.texts[0]!r} has no message before the one that is rated")
    mine = Row(place=row.place, values={"prompt": messages[:-1]})
    prompt, (completion,) = divided(mine, [messages[-1:]])
    return [_rating(row, prompt, completion, row.values.get(columns.says[0]), columns.says[0])]


def rated_list(row: Row, columns: Columns) -> Sequence[Item]:
    """A list of texts, and a list of their ratings."""
    texts, ratings = list_of(row, columns.texts[0]), list_of(row, columns.says[0])
    if len(texts) != len(ratings):
        raise wrong(row, f"{len(ratings)} ratings for {len(texts)} texts; give one each")
    return _ratings(row, texts, ratings, columns.says[0])


def rated_each(row: Row, columns: Columns) -> Sequence[Item]:
    """A list of objects, each with a text and its rating: UltraFeedback."""
    listed = _objects(row, columns.texts[0])
    texts = [_of_object(row, one, ("response", "text", "completion")) for one in listed]
    names = ("overall_score", "rating", "score")
    ratings = [next((o[n] for n in names if o.get(n) is not None), None) for o in listed]
    return _ratings(row, texts, ratings, names[0])


def _comparison(row: Row, prompt: str, texts: Sequence[str], said: Verdict) -> Item | BothBad:
    """Makes an item in which ``chosen`` is the likelier text; the first has the probability."""
    one, other = texts
    if said.probability is None:
        return BothBad(pair=_preference(row, prompt, (one, other), said))
    if said.probability < 1 / 2:
        said = replace(said, probability=1 - said.probability, margin=-said.margin)
        one, other = other, one
    return _preference(row, prompt, (one, other), said)


def _preference(row: Row, prompt: str, texts: tuple[str, str], said: Verdict) -> Preference:
    strength = said.strength
    if row.values.get("strength") not in (None, ""):
        strength = whole_number_of(row, "strength", low=1, high=4)
    return Preference(
        pair_id=str(row.values.get("pair_id") or row.place),
        prompt=prompt,
        chosen=texts[0],
        rejected=texts[1],
        annotator=said.annotator or annotator_of(row),
        strength=strength,
        probability=1.0 if said.probability is None else said.probability,
        margin=said.margin,
        subset=subset_of(row),
        implicit=not has_prompt(row) or row.values.get("implicit") in (True, "True", "true"),
    )


def _in_order(row: Row, given: Sequence[Any], ranks: Sequence[Any]) -> Ranking:
    if len(ranks) != len(given):
        raise ValueError(
            f"{row.place} has {len(ranks)} ranks for {len(given)} completions; give one each"
        )
    numbers = [checked_number(row, "ranks", rank) for rank in ranks]
    if sorted(numbers) != list(range(1, len(ranks) + 1)):
        raise wrong(
            row,
            f"ranks are {list(ranks)!r:.80}; they are the numbers 1 (the best) to {len(ranks)}, "
            "each once. Equally good texts make pairs with probability 0.5, or ratings",
        )
    order = sorted(range(len(given)), key=numbers.__getitem__)
    return _ranking(row, [given[place] for place in order], ordered=True)


def _best_of(row: Row, given: Sequence[Any], column: str) -> Ranking:
    best = whole_number_of(row, column, low=0, high=max(0, len(given) - 1))
    return _ranking(row, [*given[best : best + 1], *given[:best], *given[best + 1 :]])


def _ranking(row: Row, given: Sequence[Any], *, ordered: bool = False) -> Ranking:
    """Makes a ranking of texts, the best of which is the first."""
    prompt, completions = divided(row, [checked_text(row, "completions", text) for text in given])
    different = len(set(completions))
    if len(completions) < _FEWEST or different < len(completions):
        raise ValueError(
            f"{row.place} has {len(completions)} completions, {different} of them different; a "
            "ranking needs at least two, all different"
        )
    return Ranking(
        prompt=prompt,
        completions=tuple(completions),
        places=len(completions) - 1 if ordered else 1,
        annotator=annotator_of(row),
    )


def _ratings(
    row: Row, texts: Sequence[Any], ratings: Sequence[Any], column: str
) -> Sequence[Rating]:
    given = [checked_text(row, "completions", text) for text in texts]
    prompt, completions = divided(row, given)
    both = zip(completions, ratings, strict=True)
    return [_rating(row, prompt, text, rating, column) for text, rating in both]


def _rating(row: Row, prompt: str, completion: str, rating: Any, column: str) -> Rating:
    return Rating(
        prompt=prompt,
        completion=completion,
        rating=checked_number(row, column, rating),
        annotator=annotator_of(row),
    )


def _objects(row: Row, column: str) -> list[dict[str, Any]]:
    listed = list_of(row, column)
    if not listed or not all(isinstance(one, dict) for one in listed):
        raise wrong(row, f"{column!r} is {listed!r:.60}, but it is a list of objects")
    return listed


def _of_object(row: Row, value: dict[str, Any], names: Sequence[str]) -> Any:
    found = next((value[name] for name in names if value.get(name) is not None), None)
    if found is None:
        raise wrong(row, f"an object has none of {', '.join(names)}, but {', '.join(value)}")
    return found
