"""What of a judgement two people can agree about, one thing at a time.

A rating is one thing. An order is one for each two texts, and marks are one for each word, so that
two orders that differ in one place, or two marks of almost the same words, agree in the others.

Simplification: the things that one answer says are counted as if they were answers of their own.
"""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reward_models.preferences.sheets import Judgement, Sheet

__all__ = ["units_of"]

_MOST_WORDS = 2000
_WORD = re.compile(r"\S+")


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


def _mark_at(place: int, spans: list[Any]) -> str:
    return next((mark for start, end, mark in spans if start <= place < end), "")
