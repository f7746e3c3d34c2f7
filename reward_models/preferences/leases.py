"""The nouns of handing pairs out: what is to be answered, who has it in hand, and what they say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from reward_models.preferences.databases import StoreError

if TYPE_CHECKING:
    from reward_models.preferences.pairs import Pair

__all__ = [
    "ConflictError",
    "HandoutConfig",
    "Lease",
    "Progress",
    "Purpose",
    "Question",
    "Side",
    "Vote",
    "WorkItem",
]

Side = Literal["a", "b"]
Question = Literal["compare", "edits"]
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
        if self.answers < 1:
            raise ValueError(f"answers is {self.answers}, but a pair needs at least 1")
        if not self.lease_seconds > 0:
            raise ValueError(f"lease_seconds is {self.lease_seconds}; it must be more than 0")
        for name in ("known_every", "repeat_every"):
            if getattr(self, name) < 0 or getattr(self, name) == 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it is 0 for none, or above 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkItem:
    """A pair that is to be answered.

    Attributes:
        pair_id: The pair.
        rank: Items of lower rank are handed out first.
        chosen_by: Why it has that rank, such as ``control`` for a random one.
        question: ``compare`` two completions of the prompt, or two ``edits`` of it.
        score: What it was chosen by; None for chance.
        expected: The answer, where it is known; such an item is for every annotator.
    """

    pair_id: str
    rank: float
    chosen_by: str
    question: Question = "compare"
    score: float | None = None
    expected: Side | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A pair in the hands of one annotator.

    Attributes:
        lease: Names it; nobody can guess it, and it says nothing of the pair.
        pair: What is compared.
        annotator: Who has it.
        purpose: ``study``; ``known`` and ``repeat`` for quality; ``adjudication`` beyond the quota.
        shown_left: Which text stands on the left.
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
    pair: Pair
    annotator: str
    purpose: Purpose
    shown_left: Side
    served_at: float
    expires_at: float
    state: str
    rubric: str
    question: Question
    chosen_by: str
    expected: Side | None
    answer_key: str | None


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
