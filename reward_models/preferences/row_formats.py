"""One row of somebody's preference file becomes one item: the columns decide how.

Known are the columns of TRL, of two whole transcripts, of chat arenas, of AlpacaEval, rankings of K
and ratings. A message says where the row stands, what is wrong, and what to do.

Simplification: what is no text in a message (pictures, calls of tools) is refused.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any

from reward_models.preferences.conversations import prompt_and_completions
from reward_models.preferences.pairs import Preference
from reward_models.preferences.rankings import Ranking, Rating

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from reward_models.preferences.rankings import Item
    from textgym.data.tables import Row

__all__ = ["KNOWN_COLUMNS", "parser_of"]

KNOWN_COLUMNS = (
    "chosen and rejected (with prompt, margin, probability, if there are any); winner, with "
    "conversation_a and conversation_b, or prompt, response_a and response_b; prompt, completions "
    "and ranks or best; prompt, completion and rating"
)
"""What a file may be made of, for messages."""

_LISTS = ("completions", "ranks")
_PROMPTS = ("prompt", "query", "instruction", "question")
_RATINGS = ("rating", "score", "label")
_SAMPLE = re.compile(r"sample(\d+)")
_WINNERS = {"model_a": 1.0, "a": 1.0, "model_b": 0.0, "b": 0.0, "tie": 0.5}
_NEITHER = {"tie (bothbad)", "bothbad", "both_bad", "both bad"}
_VOTES = {"model_a": "winner_model_a", "model_b": "winner_model_b", "tie": "winner_tie"}
_TRUE = {"1", "1.0", "true"}
_ALPACA = {1.0: 1.0, 2.0: 0.0, 1.5: 0.5, 0.0: 0.5}


def parser_of(columns: Iterable[str]) -> Callable[[Row], Item | None] | None:
    """Returns what makes an item of a row with these columns; None if they are unknown.

    It returns None for a comparison that neither text won because both are bad, and raises
    ``ValueError``, with the row's place, for a row that cannot be read.
    """
    names = set(columns)
    known: tuple[tuple[bool, Callable[[Row], Item | None]], ...] = (
        ({"chosen", "rejected"} <= names, _parse_chosen),
        ({"output_1", "output_2", "preference"} <= names, _parse_alpaca),
        (bool(names & {"winner", "winner_model_a"}) and _sides(names) is not None, _parse_arena),
        ("completions" in names and bool(names & {"ranks", "best"}), _parse_ranking),
        ({"sample0", "sample1", "best"} <= names, _parse_samples),
        ("completion" in names and bool(names & set(_RATINGS)), _parse_rating),
    )
    return next((parser for fits, parser in known if fits), None)


def _parse_chosen(row: Row) -> Item:
    probability = _number(row, "probability", low=0, high=1, default=1.0)
    margin = _number(row, "margin", default=0.0)
    return _preference(row, ("chosen", "rejected"), probability, margin)


def _parse_alpaca(row: Row) -> Item:
    preference = _number(row, "preference", low=0, high=2)
    if preference not in _ALPACA:
        raise ValueError(
            f"{row.place}: preference is {preference}; 1 and 2 say which output is better, 1.5 or "
            "0 that neither is"
        )
    return _preference(row, ("output_1", "output_2"), _ALPACA[preference])


def _parse_arena(row: Row) -> Item | None:
    sides = _sides(set(row.values))
    assert sides is not None, "parser_of has looked"  # noqa: S101 - for the type checker
    if row.values.get("winner") is None:
        voted = [name for name, v in _VOTES.items() if str(row.values.get(v)).lower() in _TRUE]
        winner = voted[0] if len(voted) == 1 else f"{len(voted)} of {', '.join(_VOTES.values())}"
    else:
        winner = str(row.values["winner"]).strip().lower()
    if winner in _NEITHER:
        return None
    if winner not in _WINNERS:
        raise ValueError(
            f"{row.place}: winner is {winner!r}; known: {', '.join([*_WINNERS, 'tie (bothbad)'])}"
        )
    return _preference(row, sides, _WINNERS[winner])


def _parse_ranking(row: Row) -> Item:
    completions = _decoded(row, "completions")
    if not isinstance(completions, list):
        raise _wrong(row, f"'completions' is {completions!r:.60}, but it is a list of texts")
    if "ranks" not in row.values:
        return _ranking(row, completions)
    ranks = _decoded(row, "ranks")
    if not isinstance(ranks, list) or len(ranks) != len(completions):
        number = len(ranks) if isinstance(ranks, list) else "no list of"
        raise ValueError(
            f"{row.place} has {number} ranks for {len(completions)} completions; give one each"
        )
    places = {str(rank): place for place, rank in enumerate(ranks)}
    wanted = [str(rank) for rank in range(1, len(ranks) + 1)]
    if sorted(places) != sorted(wanted):
        raise ValueError(
            f"{row.place}: ranks are {ranks}; they are the numbers 1 (the best) to {len(ranks)}, "
            "each once. Equally good texts make pairs with probability 0.5, or ratings"
        )
    return _ranking(row, [completions[places[rank]] for rank in wanted], ordered=True)


def _parse_samples(row: Row) -> Item:
    names = [name for name in row.values if _SAMPLE.fullmatch(name)]
    names.sort(key=lambda name: int(name.removeprefix("sample")))
    return _ranking(row, [row.values[name] for name in names if row.values[name] is not None])


def _parse_rating(row: Row) -> Item:
    prompt, (completion,) = _divide(row, [_text(row, "completion")])
    return Rating(
        prompt=prompt,
        completion=completion,
        rating=_number(row, next(name for name in _RATINGS if name in row.values)),
        annotator=_annotator(row),
    )


def _preference(
    row: Row, columns: tuple[str, str], probability: float, margin: float = 0.0
) -> Preference:
    """Makes a pair in which ``chosen`` is the likelier text; the first has ``probability``."""
    prompt, texts = _divide(row, [_text(row, column) for column in columns], implicit=True)
    if probability < 1 / 2:
        texts.reverse()
        margin = -margin
    strength = row.values.get("strength") not in (None, "")
    return Preference(
        pair_id=str(row.values.get("pair_id") or row.place),
        prompt=prompt,
        chosen=texts[0],
        rejected=texts[1],
        annotator=_annotator(row),
        strength=int(_number(row, "strength", low=1, high=4)) if strength else None,
        probability=max(probability, 1 - probability),
        margin=margin,
        subset=str(row.values.get("subset") or ""),
        implicit=_prompt_column(row) is None,
    )


def _ranking(row: Row, given: Sequence[Any], *, ordered: bool = False) -> Ranking:
    prompt, completions = _divide(row, [_checked(row, "completions", text) for text in given])
    different = len(set(completions))
    if len(completions) < 2 or different < len(completions):  # noqa: PLR2004 - two make an order
        raise ValueError(
            f"{row.place} has {len(completions)} completions, {different} of them different; a "
            "ranking needs at least two, all different"
        )
    if not ordered:
        best = int(_number(row, "best", low=0, high=len(completions) - 1))
        completions.insert(0, completions.pop(best))
    return Ranking(
        prompt=prompt,
        completions=tuple(completions),
        places=len(completions) - 1 if ordered else 1,
        annotator=_annotator(row),
    )


def _divide(
    row: Row, texts: Sequence[str | list[Any]], *, implicit: bool = False
) -> tuple[str, list[str]]:
    """Prompt and completions; ``implicit`` allows that the texts begin with their prompt."""
    column = _prompt_column(row)
    if column is None and not implicit:
        raise ValueError(f"{row.place} has no prompt; add a column 'prompt', empty if need be")
    prompt = None if column is None else _decoded(row, column)
    if not isinstance(prompt, str | list | None):
        raise _wrong(row, f"{column!r} is {prompt!r}, but it holds a text")
    try:
        return prompt_and_completions(prompt, texts)
    except ValueError as error:
        raise ValueError(f"{row.place}: {error}") from None


def _prompt_column(row: Row) -> str | None:
    return next((name for name in _PROMPTS if row.values.get(name) is not None), None)


def _wrong(row: Row, what: str) -> ValueError:
    return ValueError(f"{row.place}: {what}")


def _sides(names: set[str]) -> tuple[str, str] | None:
    stems = ("conversation", "response", "answer", "completion")
    return next(((f"{s}_a", f"{s}_b") for s in stems if {f"{s}_a", f"{s}_b"} <= names), None)


def _annotator(row: Row) -> str:
    return str(row.values.get("annotator") or row.values.get("judge") or "")


def _text(row: Row, column: str) -> str | list[Any]:
    return _checked(row, column, _decoded(row, column))


def _checked(row: Row, column: str, value: Any) -> str | list[Any]:
    """Refuses what is neither a text nor a conversation, and what is empty."""
    if value is None:
        raise ValueError(f"{row.place} has no {column!r}; give it a text, or remove the row")
    if not isinstance(value, str | list):
        raise _wrong(row, f"{column!r} holds {value!r:.60}, but it is made of texts")
    if not value or (isinstance(value, str) and not value.strip()):
        raise ValueError(f"{row.place}: {column!r} is empty; give it a text, or remove the row")
    return value


def _decoded(row: Row, column: str) -> Any:
    """A column's value; a list that a CSV could only hold as JSON is a list again.

    A text may look like a list of something else, and stays what it is.
    """
    value = row.values.get(column)
    if not (isinstance(value, str) and value.startswith("[") and value.endswith("]")):
        return value
    try:
        decoded = json.loads(value)
    except ValueError:
        return value
    listed = column in _LISTS or all(isinstance(message, dict) for message in decoded)
    return decoded if decoded and listed else value


def _number(
    row: Row,
    column: str,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    default: float | None = None,
) -> float:
    value = row.values.get(column)
    if value in (None, "") and default is not None:
        return default
    try:
        number = float(value)  # type: ignore[arg-type] # None is refused below like any other
    except (TypeError, ValueError):
        number = math.nan
    if not low <= number <= high or math.isinf(number):
        bounds = "" if math.isinf(low) else f" from {low:g} to {high:g}"
        raise ValueError(f"{row.place}: {column!r} is {value!r}, but it is a number{bounds}")
    return number
