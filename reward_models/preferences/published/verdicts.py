"""What a row says about which of its two texts is better, in the ways that people write it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reward_models.preferences.published.values import number_of, wrong

if TYPE_CHECKING:
    from collections.abc import Mapping

    from textgym.data.tables import Row

__all__ = [
    "Verdict",
    "VerdictReader",
    "asked",
    "between",
    "coded",
    "higher",
    "named",
    "signed",
    "stated",
    "voted",
]

_TIE = 0.5
_TRUE = {"1", "1.0", "true"}
_WINNERS: Mapping[str, float | None] = {
    **dict.fromkeys(("model_a", "a", "a>b"), 1.0),
    **dict.fromkeys(("model_b", "b", "b>a"), 0.0),
    **dict.fromkeys(("tie", "a=b"), _TIE),
    **dict.fromkeys(("tie (bothbad)", "bothbad", "both_bad", "both bad"), None),
}
_SHOWN = ("model_a", "a", "model_b", "b", "tie", "tie (bothbad)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One answer about two texts.

    Attributes:
        probability: How likely the first is the better one; None if both are bad.
        margin: How much more the first should score, in units of log-odds.
        strength: How much better, from 1 to 4; None if nobody says.
        annotator: Who says so.
    """

    probability: float | None
    margin: float = 0.0
    strength: int | None = None
    annotator: str = ""


VerdictReader = Callable[["Row", Sequence[str]], Sequence[Verdict]]
"""From a row and the columns that say what its texts are worth, to one verdict or several."""


def stated(row: Row, _: Sequence[str]) -> Sequence[Verdict]:
    """The first is better, as sure as ``probability`` says and by as much as ``margin``."""
    probability = number_of(row, "probability", low=0, high=1, default=1.0)
    return [Verdict(probability=probability, margin=number_of(row, "margin", default=0.0))]


def named(row: Row, columns: Sequence[str]) -> Sequence[Verdict]:
    """The winner by name, as chat arenas have it."""
    winner = str(row.values.get(columns[0])).strip().lower()
    if winner not in _WINNERS:
        raise wrong(row, f"{columns[0]} is {winner!r:.60}; known: {', '.join(_SHOWN)}")
    return [Verdict(probability=_WINNERS[winner])]


def voted(row: Row, columns: Sequence[str]) -> Sequence[Verdict]:
    """Three columns of 0 and 1: the first won, the second won, a tie."""
    votes = [str(row.values.get(column)).strip().lower() in _TRUE for column in columns]
    if sum(votes) != 1:
        raise wrong(row, f"{sum(votes)} of {', '.join(columns)} are 1; exactly one is")
    return [Verdict(probability=(1.0, 0.0, _TIE)[votes.index(True)])]


def coded(codes: Mapping[float, float]) -> VerdictReader:
    """Makes the reader of a number that stands for a probability of the first."""

    def read(row: Row, columns: Sequence[str]) -> Sequence[Verdict]:
        return [Verdict(probability=_decode(row, columns[0], codes))]

    return read


def asked(codes: Mapping[float, float]) -> VerdictReader:
    """Makes the reader of several people's numbers, a column each; who has none was not asked."""

    def read(row: Row, columns: Sequence[str]) -> Sequence[Verdict]:
        given = [name for name in columns if row.values.get(name) not in (None, "")]
        if not given:
            raise wrong(row, f"nobody answered: {', '.join(columns)} are empty")
        return [Verdict(probability=_decode(row, who, codes), annotator=who) for who in given]

    return read


def between(row: Row, columns: Sequence[str]) -> Sequence[Verdict]:
    """From 1, the first, to 2, the second, with a weight between them; 0 is neither: AlpacaEval."""
    preference = number_of(row, columns[0], low=0, high=2)
    if 0 < preference < 1:
        raise wrong(
            row,
            f"{columns[0]} is {preference:g}; 1 and 2 say which output is better, what lies "
            "between them how likely, 1.5 or 0 that neither is",
        )
    return [Verdict(probability=2 - preference if preference else _TIE)]


def signed(row: Row, columns: Sequence[str]) -> Sequence[Verdict]:
    """Below 0 the first is better, above 0 the second, by so much: HelpSteer."""
    lead = number_of(row, columns[0], low=-4, high=4)
    strength = None if lead == 0 or lead != int(lead) else abs(int(lead))
    return [Verdict(probability=_of_lead(-lead), strength=strength)]


def higher(row: Row, columns: Sequence[str]) -> Sequence[Verdict]:
    """The text with the higher of two numbers is better: WebGPT."""
    first, second = (number_of(row, column) for column in columns)
    return [Verdict(probability=_of_lead((first > second) - (first < second)))]


def _of_lead(lead: float) -> float:
    return _TIE if lead == 0 else float(lead > 0)


def _decode(row: Row, column: str, codes: Mapping[float, float]) -> float:
    number: Any = number_of(row, column)
    if number not in codes:
        words = {1.0: "the first is better", 0.0: "the second is", _TIE: "neither is"}
        known = ", ".join(f"{code:g} ({words[is_first]})" for code, is_first in codes.items())
        raise wrong(row, f"{column!r} is {number:g}; known: {known}")
    return codes[number]
