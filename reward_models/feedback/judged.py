"""What of a judgement two people can agree about, one thing at a time, and where they contradict.

A rating is one thing. An order is one for each two texts, and marks are one for each word, so that
two orders that differ in one place, or two marks of almost the same words, agree in the others.

Simplification: the things that one answer says are counted as if they were answers of their own.
"""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reward_models.preferences.sheets import Judgement, Sheet, SheetQuestion

__all__ = ["contradiction", "units_of"]

_MOST_WORDS = 2000
_WORD = re.compile(r"\S+")
_APART = 2  # ratings that are nearer may mean the same


def units_of(sheet: Sheet, judgement: Judgement) -> list[tuple[str, str, Any]]:
    """Takes a judgement apart.

    Args:
        sheet: What was judged.
        judgement: Of somebody who had an opinion.

    Returns:
        Who, of what, and what: of a rating the number; of an order, for each two texts, whether
        the earlier number is better; of marks ``good``, ``bad`` or an empty text for each of the
        first words.
    """
    who, name = judgement.annotator, judgement.sheet_id
    if sheet.question == "rate":
        return [(who, name, judgement.said)]
    if sheet.question == "rank":
        place = {number: at for at, number in enumerate(judgement.said)}
        return [
            (who, f"{name}/{one}/{other}", place[one] < place[other])
            for one, other in itertools.combinations(range(len(sheet.texts)), 2)
        ]
    words = itertools.islice(_WORD.finditer(sheet.texts[0]), _MOST_WORDS)
    return [
        (who, f"{name}/{number}", _mark_at(word.start(), judgement.said))
        for number, word in enumerate(words)
    ]


def contradiction(question: SheetQuestion, one: Any, other: Any) -> int:
    """Says how far two people contradict each other about one sheet.

    Args:
        question: What was asked.
        one: What somebody said, as a ``Judgement`` has it, and no skip.
        other: What somebody else said, likewise.

    Returns:
        Of orders, how many two texts stand the other way round; of ratings, the steps between them,
        if they are two or more; of marks, how many characters are good for one and bad for the
        other. 0 if they do not contradict.
    """
    if question == "rate":
        steps = abs(one - other)
        return steps if steps >= _APART else 0
    if question == "rank":
        place = {number: at for at, number in enumerate(other)}
        return sum(place[a] > place[b] for a, b in itertools.combinations(one, 2))
    return sum(
        max(0, min(end, last) - max(start, first))
        for start, end, mark in one
        for first, last, opposite in other
        if mark != opposite
    )


def _mark_at(place: int, spans: list[Any]) -> str:
    return next((mark for start, end, mark in spans if start <= place < end), "")
