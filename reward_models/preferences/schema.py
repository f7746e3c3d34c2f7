"""The tables of a store of preferences, and the questions that are asked of them.

``pairs`` and ``answers`` are what is learned from. Both are only ever appended to, and so are
``withdrawals``, the answers that their annotators took back, and ``provenance``, where a text came
from. ``items`` and ``leases`` are the work: which pair is to be answered how often, and who has it.

Texts that are ranked, rated or marked are ``sheets``, what is said of them ``judgements``, and the
work has tables of its own in the same shape. A ``Desk`` is the tables of either.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from reward_models.preferences.databases import VerbatimText
from reward_models.preferences.pairs import CHOICES

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "ANSWERS",
    "ITEMS",
    "JUDGEMENTS",
    "LEASES",
    "METADATA",
    "PAIRS",
    "PAIR_DESK",
    "PROVENANCE",
    "SCHEMA",
    "SHEETS",
    "SHEET_DESK",
    "SHEET_PROVENANCE",
    "SKIPPED",
    "VERSION",
    "WITHDRAWALS",
    "Desk",
    "latest_answers",
    "of_split",
    "stands",
]

VERSION = 4
"""Of the tables below. In version 1 there were ``pairs`` and ``answers`` alone, in version 2 no
sheets, and in version 3 nothing said where their texts came from; what there was is as it is now.
"""

SKIPPED = "null"
"""What ``judgements`` have in the column ``said`` where nothing was said."""

_SIDES = ("a", "b")

METADATA = sa.MetaData()


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """The tables of one kind of work: what people are asked about, what they say, and who has it.

    Attributes:
        subjects: What is asked about.
        identity: The column of ``subjects``, ``answers`` and ``items`` that names one.
        arrangement: The column of ``answers`` and ``leases`` that says how its texts were shown.
        answers: What was said.
        withdrawals: What of it was taken back.
        items: What is to be answered how often.
        leases: Who has it.
    """

    subjects: sa.Table
    identity: str
    arrangement: str
    answers: sa.Table
    withdrawals: sa.Table
    items: sa.Table
    leases: sa.Table

    @property
    def item_subject(self) -> sa.Column[str]:
        """What an item asks about."""
        return self.items.c[self.identity]

    @property
    def answer_subject(self) -> sa.Column[str]:
        """What an answer is about."""
        return self.answers.c[self.identity]

    @property
    def is_skip(self) -> sa.ColumnElement[bool]:
        """Whether an answer says nothing."""
        if "answer" in self.answers.c:
            return self.answers.c.answer == "skip"
        return self.answers.c.said == SKIPPED

    def stands(self) -> sa.ColumnElement[bool]:
        """Whether an answer was not taken back."""
        return ~sa.exists().where(self.withdrawals.c.answer_key == self.answers.c.key)

    def leased(self) -> sa.Select[Any]:
        """Leases with their items and what these ask about."""
        own = [column for column in self.subjects.c if column.name not in ("position", "question")]
        asked = (self.items.c.question, self.items.c.chosen_by, self.items.c.expected)
        return (
            sa.select(self.leases, *asked, *own)
            .join(self.items, self.items.c.item == self.leases.c.item)
            .join(self.subjects, self.subjects.c[self.identity] == self.item_subject)
        )


def _position() -> sa.Column[int]:
    return sa.Column("position", sa.Integer, primary_key=True, autoincrement=True)


def _withdrawals(name: str, answers: str) -> sa.Table:
    return sa.Table(
        name,
        METADATA,
        _position(),
        sa.Column("key", VerbatimText, nullable=False, unique=True),
        sa.Column(
            "answer_key",
            VerbatimText,
            sa.ForeignKey(f"{answers}.key"),
            nullable=False,
            unique=True,
        ),
        sa.Column("withdrawn_at", sa.Double),
    )


def _items(name: str, subjects: str, identity: str) -> sa.Table:
    table = sa.Table(
        name,
        METADATA,
        sa.Column("item", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column(
            identity,
            VerbatimText,
            sa.ForeignKey(f"{subjects}.{identity}"),
            nullable=False,
            unique=True,
        ),
        sa.Column("question", sa.Text, nullable=False),
        sa.Column("chosen_by", sa.Text, nullable=False),
        sa.Column("rank", sa.Double, nullable=False),
        sa.Column("score", sa.Double),
        sa.Column("expected", sa.Text),
        sa.Column("quota", sa.Integer, nullable=False),
        sa.Column("taken", sa.Integer, nullable=False, server_default="0"),
        sa.CheckConstraint("taken >= 0", name="taken_is_a_number"),
    )
    short = sa.text("taken < quota")
    sa.Index(f"open_{name}", table.c.rank, sqlite_where=short, postgresql_where=short)
    return table


def _leases(name: str, items: str, answers: str, arrangement: str) -> sa.Table:
    table = sa.Table(
        name,
        METADATA,
        _position(),
        sa.Column("lease", sa.Text, nullable=False, unique=True),
        sa.Column("item", sa.Integer, sa.ForeignKey(f"{items}.item"), nullable=False, index=True),
        sa.Column("annotator", VerbatimText, nullable=False),
        sa.Column("purpose", sa.Text, nullable=False),
        sa.Column(arrangement, sa.Text, nullable=False),
        sa.Column("rubric", sa.Text, nullable=False),
        sa.Column("served_at", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("answer_key", VerbatimText, sa.ForeignKey(f"{answers}.key"), unique=True),
        sa.CheckConstraint(
            sa.column("state").in_(("open", "answered", "expired", "returned", "undone")),
            name="state_is_known",
        ),
    )
    sa.Index(f"{name}_of_annotator", table.c.annotator, table.c.state)
    is_open = sa.text("state = 'open'")
    sa.Index(f"open_{name}", table.c.expires_at, sqlite_where=is_open, postgresql_where=is_open)
    return table


def _said(identity: str, subjects: str, kinds: Sequence[sa.Column[Any]]) -> list[Any]:
    """The columns of what annotators say of subjects, whatever that is."""
    return [
        _position(),
        sa.Column("key", VerbatimText, nullable=False, unique=True),
        sa.Column(identity, VerbatimText, sa.ForeignKey(f"{subjects}.{identity}"), nullable=False),
        sa.Column("annotator", VerbatimText, nullable=False),
        sa.Column("round", sa.Integer, nullable=False),
        *kinds,
        sa.Column("served_at", sa.Double),
        sa.Column("voted_at", sa.Double),
        sa.UniqueConstraint(identity, "annotator", "round"),
    ]


def _origin() -> list[sa.Column[Any]]:
    """The columns of where a text came from."""
    return [
        sa.Column("policy", VerbatimText, nullable=False),
        sa.Column("checkpoint", sa.Text, nullable=False),
        sa.Column("prompt", VerbatimText, nullable=False),
        sa.Column("seed", sa.BigInteger),
    ]


SCHEMA = sa.Table(
    "textgym_store",
    METADATA,
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
)
PAIRS = sa.Table(
    "pairs",
    METADATA,
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("pair_id", VerbatimText, nullable=False, unique=True),
    sa.Column("prompt", VerbatimText, nullable=False),
    sa.Column("a", VerbatimText, nullable=False),
    sa.Column("b", VerbatimText, nullable=False),
    sa.Column("policy_a", VerbatimText, nullable=False),
    sa.Column("policy_b", VerbatimText, nullable=False),
    sa.Column("seed", sa.BigInteger, nullable=False),
    sa.Column("split", VerbatimText, nullable=False),
)
ANSWERS = sa.Table(
    "answers",
    METADATA,
    *_said(
        "pair_id",
        "pairs",
        [
            sa.Column("answer", sa.Text, nullable=False),
            sa.Column("strength", sa.Integer),
            sa.Column("note", VerbatimText, nullable=False),
            sa.Column("shown_left", sa.Text, nullable=False),
        ],
    ),
    sa.CheckConstraint(sa.column("answer").in_(CHOICES), name="answer_is_known"),
    sa.CheckConstraint("strength BETWEEN 1 AND 4", name="strength_is_1_to_4"),
    sa.CheckConstraint(sa.column("shown_left").in_(_SIDES), name="side_is_a_or_b"),
)
PROVENANCE = sa.Table(
    "provenance",
    METADATA,
    sa.Column("pair_id", VerbatimText, sa.ForeignKey("pairs.pair_id"), primary_key=True),
    sa.Column("side", sa.Text, primary_key=True),
    *_origin(),
    sa.CheckConstraint(sa.column("side").in_(_SIDES), name="text_is_a_or_b"),
)
SHEETS = sa.Table(
    "sheets",
    METADATA,
    _position(),
    sa.Column("sheet_id", VerbatimText, nullable=False, unique=True),
    sa.Column("question", sa.Text, nullable=False),
    sa.Column("prompt", VerbatimText, nullable=False),
    sa.Column("texts", VerbatimText, nullable=False),
    sa.Column("policies", VerbatimText, nullable=False),
    sa.Column("split", VerbatimText, nullable=False),
)
SHEET_PROVENANCE = sa.Table(
    "sheet_provenance",
    METADATA,
    sa.Column("sheet_id", VerbatimText, sa.ForeignKey("sheets.sheet_id"), primary_key=True),
    sa.Column("place", sa.Integer, primary_key=True, autoincrement=False),
    *_origin(),
)
JUDGEMENTS = sa.Table(
    "judgements",
    METADATA,
    *_said(
        "sheet_id",
        "sheets",
        [
            sa.Column("said", sa.Text, nullable=False),
            sa.Column("note", VerbatimText, nullable=False),
            sa.Column("shown", sa.Text, nullable=False),
        ],
    ),
)
WITHDRAWALS = _withdrawals("withdrawals", "answers")
ITEMS = _items("items", "pairs", "pair_id")
LEASES = _leases("leases", "items", "answers", "shown_left")
PAIR_DESK = Desk(
    subjects=PAIRS,
    identity="pair_id",
    arrangement="shown_left",
    answers=ANSWERS,
    withdrawals=WITHDRAWALS,
    items=ITEMS,
    leases=LEASES,
)
SHEET_DESK = Desk(
    subjects=SHEETS,
    identity="sheet_id",
    arrangement="shown",
    answers=JUDGEMENTS,
    withdrawals=_withdrawals("sheet_withdrawals", "judgements"),
    items=_items("sheet_items", "sheets", "sheet_id"),
    leases=_leases("sheet_leases", "sheet_items", "judgements", "shown"),
)


def of_split(query: sa.Select[Any], split: str | None) -> sa.Select[Any]:
    """Keeps a question to the pairs of one split; None asks about all."""
    return query if split is None else query.where(PAIRS.c.split == split)


def stands() -> sa.ColumnElement[bool]:
    """Whether an answer to a pair was not taken back."""
    return PAIR_DESK.stands()


def latest_answers() -> sa.Subquery:
    """The answers of each annotator's latest round, a pair; what was taken back is no answer."""
    rounds = (
        sa.select(
            ANSWERS.c.pair_id, ANSWERS.c.annotator, sa.func.max(ANSWERS.c.round).label("round")
        )
        .where(stands())
        .group_by(ANSWERS.c.pair_id, ANSWERS.c.annotator)
        .subquery()
    )
    return (
        sa.select(ANSWERS)
        .join(
            rounds,
            sa.and_(
                rounds.c.pair_id == ANSWERS.c.pair_id,
                rounds.c.annotator == ANSWERS.c.annotator,
                rounds.c.round == ANSWERS.c.round,
            ),
        )
        .subquery()
    )
