"""The nouns of handing work out: what is to be answered, who has it in hand, and what they say."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from reward_models.preferences.databases import StoreError
from reward_models.preferences.pairs import Choice, Pair
from reward_models.preferences.sheets import Sheet, checked
from textgym.ranges import COUNT, POSITIVE, SEED, Range, require_ranges

__all__ = [
    "ConflictError",
    "HandoutConfig",
    "Lease",
    "Progress",
    "Purpose",
    "Question",
    "SheetVote",
    "Side",
    "Vote",
    "WorkItem",
    "answer_columns",
    "turned",
]

Side = Literal["a", "b"]
Question = Literal["compare", "edits", "rank", "rate", "spans"]
Purpose = Literal["study", "known", "repeat", "adjudication"]


class ConflictError(StoreError):
    """An answer contradicts what is stored already; nothing of it was stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HandoutConfig:
    """How pairs are handed out.

    Raises:
        ValueError: If a number is out of range; the message begins with its field.
    """

    answers: int = 1
    """How many people answer each pair."""
    lease_seconds: float = 900.0
    """How long a pair waits for the answer of the one who was shown it, in seconds."""
    known_every: int = 20
    """One of so many pairs of an annotator has a known answer, as far as there are any; 0: none."""
    repeat_every: int = 20
    """One of so many pairs of an annotator is an answered one, its sides swapped; 0: none."""
    seed: int = 0
    """Draws the sides."""

    def __post_init__(self) -> None:
        every = ("known_every", "repeat_every")
        ranges = {"answers": COUNT, "lease_seconds": POSITIVE, "seed": SEED}
        require_ranges(self, {**ranges, **dict.fromkeys(every, Range(0, COUNT.high))})
        for name in every:
            if getattr(self, name) == 1:
                raise ValueError(f"{name} must be 0 for none, or above 1, got 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkItem:
    """A pair that is to be answered, or a sheet.

    Attributes:
        subject: The pair's id, or the sheet's.
        rank: Items of lower rank are handed out first.
        chosen_by: Why it has that rank, such as ``control`` for a random one.
        question: ``compare`` two completions of the prompt, or two ``edits`` of it; or a sheet's.
        score: What it was chosen by; None for chance.
        expected: The answer, where it is known; such an item is for every annotator.
    """

    subject: str
    rank: float
    chosen_by: str
    question: Question = "compare"
    score: float | None = None
    expected: Side | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A pair or a sheet in the hands of one annotator.

    Attributes:
        lease: Names it; nobody can guess it, and it says nothing of the texts.
        subject: What is asked about.
        annotator: Who has it.
        purpose: ``study``; ``known`` and ``repeat`` for quality; ``adjudication`` beyond the quota.
        arrangement: How the texts stand: which is on the left, of a pair; of a sheet the order of
            their numbers, as JSON.
        served_at: When it was first shown, in seconds since 1970 UTC.
        expires_at: When somebody else may get the pair, likewise.
        state: ``open``; ``answered``; ``expired``; ``returned``, unanswered; or ``undone``.
        rubric: Names what the annotator was told to look at.
        question: See ``WorkItem``.
        chosen_by: See ``WorkItem``.
        expected: See ``WorkItem``.
        answer_key: The key of its answer.
    """

    lease: str
    subject: Pair | Sheet
    annotator: str
    purpose: Purpose
    arrangement: str
    served_at: float
    expires_at: float
    state: str
    rubric: str
    question: Question
    chosen_by: str
    expected: Side | None
    answer_key: str | None

    @property
    def pair(self) -> Pair:
        """What is compared.

        Raises:
            TypeError: If it is a sheet.
        """
        if not isinstance(self.subject, Pair):
            raise TypeError("this lease is of a sheet")
        return self.subject

    @property
    def shown_left(self) -> Side:
        """Which text of the pair stands on the left."""
        return "a" if self.arrangement == "a" else "b"

    @property
    def sheet(self) -> Sheet:
        """What is ranked, rated or marked.

        Raises:
            TypeError: If it is a pair.
        """
        if not isinstance(self.subject, Sheet):
            raise TypeError("this lease is of a pair")
        return self.subject

    @property
    def order(self) -> tuple[int, ...]:
        """The numbers of the sheet's texts in the order in which they stand."""
        return tuple(json.loads(self.arrangement))


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """What an annotator says of a lease.

    Attributes:
        lease: Which one.
        annotator: Whose; another's lease is refused.
        answer: ``left`` or ``right`` is better, ``tie``, ``both_bad`` or ``skip``.
        key: The sender's name for this vote: the same again is the same vote.
        strength: How much better, 1 to 4.
        note: Anything, such as why a pair was skipped.
    """

    lease: str
    annotator: str
    answer: Literal["left", "right", "tie", "both_bad", "skip"]
    key: str
    strength: int | None = None
    note: str = ""

    @property
    def is_skip(self) -> bool:
        """Whether it says nothing of the texts."""
        return self.answer == "skip"


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetVote:
    """What an annotator says of a lease of a sheet.

    Attributes:
        lease: Which one.
        annotator: Whose; another's lease is refused.
        said: What ``checked`` takes; None is a skip.
        key: The sender's name for this vote: the same again is the same vote.
        note: Anything, such as why it was skipped.
    """

    lease: str
    annotator: str
    said: Any
    key: str
    note: str = ""

    @property
    def is_skip(self) -> bool:
        """Whether it says nothing of the texts."""
        return self.said is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far an annotator is.

    Attributes:
        answered: How many leases of this annotator have an answer that stands.
        remaining: How many items this annotator could still be handed, known ones not counted.
        can_undo: Whether there is an answer to take back.
    """

    answered: int
    remaining: int
    can_undo: bool


def turned(arrangement: str) -> str:
    """Swaps the sides of an arrangement, or reverses its order."""
    if arrangement in ("a", "b"):
        return "a" if arrangement == "b" else "b"
    return json.dumps(json.loads(arrangement)[::-1])


def answer_columns(vote: Vote | SheetVote, lease: Lease) -> dict[str, Any]:
    """What a table keeps of a vote, whatever order the texts stood in.

    Raises:
        ConflictError: If the lease is of something else.
        ValueError: If it is no answer to what the sheet asks.
    """
    if isinstance(vote, Vote) != isinstance(lease.subject, Pair):
        raise ConflictError("something else is asked by now: reload the page")
    if isinstance(vote, SheetVote):
        said = checked(lease.sheet, lease.order, vote.said)
        return {"said": json.dumps(said), "note": vote.note, "shown": lease.arrangement}
    return {
        "answer": _choice(vote.answer, lease.shown_left),
        "strength": vote.strength,
        "note": vote.note,
        "shown_left": lease.shown_left,
    }


def _choice(answer: str, shown_left: Side) -> Choice:
    """The answer as a text of the pair, whatever side it stood on."""
    if answer == "left":
        return shown_left
    if answer == "right":
        return "a" if shown_left == "b" else "b"
    return answer  # type: ignore[return-value] # the other three are the same words
