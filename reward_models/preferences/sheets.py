"""Questions about one text or several, beside the comparison of two: rank, rate, mark spans.

A sheet is what is asked about, a judgement what somebody said of it, in words that a table keeps:
the numbers of a sheet's texts, a rating, or spans. What is learned from them are rankings, ratings
and marked texts, each of one annotator.

Simplifications: a ranking has no ties, and a rating has five steps; a span has no reason.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from reward_models.preferences.rankings import Ranking, Rating
from textgym.data.tables import read_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from reward_models.preferences.pairs import Origin, Pair

__all__ = [
    "MOST_RANKED",
    "MOST_SPANS",
    "RATINGS",
    "SHEET_QUESTIONS",
    "Judgement",
    "Marked",
    "Sheet",
    "SheetProvenance",
    "SheetQuestion",
    "Span",
    "Written",
    "checked",
    "drawn_order",
    "latest_judgements",
    "learned_from",
    "make_sheets",
    "mark_lines",
    "origins_of_sheets",
    "read_marks",
    "texts_of_pairs",
]

SheetQuestion = Literal["rank", "rate", "spans"]
SHEET_QUESTIONS: tuple[SheetQuestion, ...] = get_args(SheetQuestion)
RATINGS = (1, 2, 3, 4, 5)
"""From useless to as good as it could be."""
MOST_RANKED = 9
"""Texts of a sheet that is ranked, since each has a key."""
MOST_SPANS = 1000
"""Of one text."""

Span = tuple[int, int, Literal["good", "bad"]]
"""Where it begins and ends, in characters of the completion (Unicode's code points), and what it
is."""
Written = tuple[str, str, str]
"""A prompt, a completion, and what wrote it."""

_MARKS = ("good", "bad")
_SPAN_PARTS = 3
_FEWEST_RANKED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """Completions of one prompt, and what is asked about them.

    Attributes:
        sheet_id: Names it for ever; ``make_sheets`` derives it from the other fields.
        question: ``rank`` them all, ``rate`` the one, or mark good and bad ``spans`` of the one.
        prompt: The text that the completions follow.
        texts: The completions.
        policies: What wrote each, as long as ``texts``; empty strings where it is not known.
        split: Which part of the data it belongs to.
    """

    sheet_id: str
    question: SheetQuestion
    prompt: str
    texts: tuple[str, ...]
    policies: tuple[str, ...]
    split: str = "train"

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> Self:
        """Reads what ``as_row`` wrote; the row may have more."""
        return cls(
            sheet_id=row["sheet_id"],
            question=row["question"],
            prompt=row["prompt"],
            texts=tuple(json.loads(row["texts"])),
            policies=tuple(json.loads(row["policies"])),
            split=row["split"],
        )

    def as_row(self) -> dict[str, Any]:
        """Gives its columns in a table."""
        lists = {name: json.dumps(getattr(self, name)) for name in ("texts", "policies")}
        return {**asdict(self), **lists}


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetProvenance:
    """Where one text of a sheet came from.

    Attributes:
        sheet_id: The sheet.
        place: The number of its text, from 0.
        policy: See ``Provenance``.
        checkpoint: See ``Provenance``.
        prompt: See ``Provenance``.
        seed: See ``Provenance``.
    """

    sheet_id: str
    place: int
    policy: str
    checkpoint: str = ""
    prompt: str = ""
    seed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What one annotator said of one sheet.

    Attributes:
        sheet_id: The sheet.
        annotator: Who: a pseudonym.
        said: The numbers of all texts, the best first, of ``rank``; one of ``RATINGS``; spans in
            their order, which may be none; or None for no opinion.
        note: Anything the annotator wrote.
        shown: The numbers of the texts in the order in which they stood on the page.
        served_at: When it was shown, in seconds since 1970 UTC; None for a program.
        voted_at: When the answer came, likewise.
        round: Which time this annotator saw it, from 1.
        key: Names the judgement for ever.
    """

    sheet_id: str
    annotator: str
    said: Any
    note: str = ""
    shown: tuple[int, ...] = ()
    served_at: float | None = None
    voted_at: float | None = None
    round: int = 1
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Marked:
    """A completion and the spans of it that somebody called good or bad.

    Attributes:
        prompt: The text that the completion follows.
        completion: The text that was marked.
        spans: In their order, none over another.
        annotator: Who marked.
    """

    prompt: str
    completion: str
    spans: tuple[Span, ...]
    annotator: str = ""


def texts_of_pairs(pairs: Iterable[Pair]) -> list[Written]:
    """Returns the texts of pairs, each once, in the order of the pairs."""
    texts = [
        (pair.prompt, text, policy)
        for pair in pairs
        for text, policy in ((pair.a, pair.policy_a), (pair.b, pair.policy_b))
    ]
    return list({(prompt, text): (prompt, text, who) for prompt, text, who in texts}.values())


def make_sheets(
    texts: Sequence[Written],
    question: SheetQuestion,
    *,
    most: int = 4,
    seed: int = 0,
    split: str = "train",
) -> list[Sheet]:
    """Makes sheets of texts: one a text, or to be ranked of several of one prompt.

    Args:
        texts: A text that is there twice counts once.
        question: What is asked.
        most: How many texts are ranked together at most; a prompt with more of them gets several
            sheets, drawn at random and as even as they can be.
        seed: Draws them.
        split: Which part of the data the sheets belong to.

    Raises:
        ValueError: If ``most`` is out of range, or nothing can be asked.
    """
    if not _FEWEST_RANKED <= most <= MOST_RANKED:
        raise ValueError(
            f"texts is {most}; from {_FEWEST_RANKED} to {MOST_RANKED} can be ranked together"
        )
    of_prompt: dict[str, dict[str, str]] = {}
    for prompt, text, policy in texts:
        of_prompt.setdefault(prompt, {}).setdefault(text, policy)
    groups: list[tuple[str, list[tuple[str, str]]]] = []
    for prompt, known in of_prompt.items():
        if question != "rank":
            groups += [(prompt, [each]) for each in known.items()]
            continue
        order = sorted(known.items())
        random.Random(f"{seed}/{prompt}").shuffle(order)  # noqa: S311 - not a secret
        number = -(-len(order) // most)
        groups += [(prompt, order[start::number]) for start in range(number)]
    sheets = [
        Sheet(
            sheet_id=_digest(question, prompt, split, *itertools.chain(*group)),
            question=question,
            prompt=prompt,
            texts=tuple(text for text, _ in group),
            policies=tuple(policy for _, policy in group),
            split=split,
        )
        for prompt, group in groups
        if question != "rank" or len(group) >= _FEWEST_RANKED
    ]
    if not sheets:
        raise ValueError(
            "there is no prompt with two different texts to rank; write several of each, as "
            "textgym generate --count 4 --out does"
        )
    return sheets


def origins_of_sheets(
    sheets: Iterable[Sheet], origins: Mapping[tuple[str, str], Origin]
) -> list[SheetProvenance]:
    """Where the texts of sheets came from, as far as it is known.

    Args:
        sheets: The sheets.
        origins: Of texts, by the prompt that they follow and the text.
    """
    return [
        SheetProvenance(sheet_id=sheet.sheet_id, place=place, **origins[at]._asdict())
        for sheet in sheets
        for place, text in enumerate(sheet.texts)
        if (at := (sheet.prompt, text)) in origins
    ]


def checked(sheet: Sheet, shown: Sequence[int], said: Any) -> Any:
    """Turns what came from a page into what a ``Judgement`` says.

    Args:
        sheet: What was asked about.
        shown: See ``Judgement``.
        said: JSON: of ``rank`` the places where the texts stood, from 0, the best first; of
            ``rate`` a rating; of ``spans`` lists of a start, an end, and ``good`` or ``bad``. None
            for no opinion.

    Raises:
        ValueError: If it is no answer to the question.
    """
    if said is None:
        return None
    if sheet.question == "rank":
        places = list(range(len(shown)))
        if not _are_integers(said) or sorted(said) != places:
            raise ValueError(f"the order names each of the places {places} once")
        return [shown[place] for place in said]
    if sheet.question == "rate":
        if not _are_integers([said]) or said not in RATINGS:
            raise ValueError(f"a rating is one of {', '.join(map(str, RATINGS))}")
        return said
    return _checked_spans(said, len(sheet.texts[0]))


def drawn_order(number: int, name: str) -> tuple[int, ...]:
    """Draws the order in which so many texts stand on the page; a name has one for ever."""
    order = list(range(number))
    random.Random(name).shuffle(order)  # noqa: S311 - not a secret
    return tuple(order)


def learned_from(
    sheets: Iterable[Sheet], judgements: Iterable[Judgement]
) -> list[tuple[Sheet, Ranking | Rating | Marked]]:
    """What judgements say of the texts, in their order.

    Of what one annotator said of one sheet the latest round counts; no opinion is left out.
    """
    by_id = {sheet.sheet_id: sheet for sheet in sheets}
    return [
        (by_id[each.sheet_id], _learned(by_id[each.sheet_id], each))
        for each in latest_judgements(judgements)
        if each.said is not None
    ]


def latest_judgements(judgements: Iterable[Judgement]) -> list[Judgement]:
    """Returns each annotator's judgement of the latest round of each sheet, in the order given."""
    kept: dict[tuple[str, str], Judgement] = {}
    for each in judgements:
        place = (each.sheet_id, each.annotator)
        if place not in kept or kept[place].round < each.round:
            kept[place] = each
    return list(kept.values())


def mark_lines(marks: Sequence[Marked], splits: Sequence[str] | None = None) -> str:
    """Writes marked texts as JSON Lines that ``read_marks`` reads again.

    Args:
        marks: The texts.
        splits: The split of each; None writes no such column.
    """
    rows = [asdict(each) for each in marks]
    for row, split in zip(rows, splits or (), strict=splits is not None):
        row["split"] = split
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def read_marks(name: str) -> list[Marked]:
    """Reads a file of texts with good and bad spans, of the columns that ``mark_lines`` writes.

    Args:
        name: What ``read_rows`` takes; a CSV has its spans as JSON. ``prompt`` and ``annotator``
            may be absent.

    Raises:
        ValueError: If a row has no text, or spans that are none; the message says where.
        FileNotFoundError: If there is no such file.
    """
    found = []
    for row in read_rows(name):
        text, spans = row.values.get("completion"), row.values.get("spans")
        if not isinstance(text, str):
            raise ValueError(f"{row.place}: completion is no text")  # noqa: TRY004 - of a file
        try:
            given = json.loads(spans) if isinstance(spans, str) else spans
            marks = _checked_spans([list(span) for span in given or ()], len(text))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{row.place}: {error}") from error
        found.append(
            Marked(
                prompt=str(row.values.get("prompt") or ""),
                completion=text,
                spans=tuple((start, end, mark) for start, end, mark in marks),
                annotator=str(row.values.get("annotator") or ""),
            )
        )
    return found


def _learned(sheet: Sheet, said: Judgement) -> Ranking | Rating | Marked:
    if sheet.question == "rank":
        return Ranking(
            prompt=sheet.prompt,
            completions=tuple(sheet.texts[number] for number in said.said),
            places=len(sheet.texts) - 1,
            annotator=said.annotator,
        )
    if sheet.question == "rate":
        return Rating(
            prompt=sheet.prompt,
            completion=sheet.texts[0],
            rating=float(said.said),
            annotator=said.annotator,
        )
    return Marked(
        prompt=sheet.prompt,
        completion=sheet.texts[0],
        spans=tuple((start, end, mark) for start, end, mark in said.said),
        annotator=said.annotator,
    )


def _checked_spans(said: Any, length: int) -> list[list[Any]]:
    if not isinstance(said, list) or len(said) > MOST_SPANS:
        raise ValueError(f"spans are a list of {MOST_SPANS} at most")
    before = 0
    for span in said:
        if not isinstance(span, list) or len(span) != _SPAN_PARTS or not _are_integers(span[:2]):
            raise ValueError("a span is a start, an end, and good or bad")
        start, end, mark = span
        if mark not in _MARKS:
            raise ValueError(f"a span is good or bad, and not {mark!r:.40}")
        if not before <= start < end <= length:
            raise ValueError(
                f"span {start} to {end} is outside of the text, empty, or not behind the one before"
            )
        before = end
    return said


def _are_integers(values: Any) -> bool:
    return isinstance(values, list) and all(
        isinstance(value, int) and not isinstance(value, bool) for value in values
    )


def _digest(*texts: str) -> str:
    written = json.dumps(texts).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(written, digest_size=16).hexdigest()
