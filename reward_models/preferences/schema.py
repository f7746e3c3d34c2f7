"""The tables of a store of preferences, and the questions that are asked of them.

``pairs`` and ``answers`` are what is learned from. Both are only ever appended to, and so are
``withdrawals``, the answers that their annotators took back, and ``provenance``, where a text came
from. ``items`` and ``leases`` are the work: which pair is to be answered how often, and who has it.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from reward_models.preferences.databases import VerbatimText
from reward_models.preferences.pairs import CHOICES

__all__ = [
    "ANSWERS",
    "ITEMS",
    "LEASES",
    "METADATA",
    "PAIRS",
    "PROVENANCE",
    "SCHEMA",
    "VERSION",
    "WITHDRAWALS",
    "latest_answers",
    "of_split",
    "stands",
]

VERSION = 2
"""Of the tables below. In version 1 there were ``pairs`` and ``answers`` alone, as they are now."""

_SIDES = ("a", "b")

METADATA = sa.MetaData()
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
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("key", VerbatimText, nullable=False, unique=True),
    sa.Column("pair_id", VerbatimText, sa.ForeignKey("pairs.pair_id"), nullable=False),
    sa.Column("annotator", VerbatimText, nullable=False),
    sa.Column("round", sa.Integer, nullable=False),
    sa.Column("answer", sa.Text, nullable=False),
    sa.Column("strength", sa.Integer),
    sa.Column("note", VerbatimText, nullable=False),
    sa.Column("shown_left", sa.Text, nullable=False),
    sa.Column("served_at", sa.Double),
    sa.Column("voted_at", sa.Double),
    sa.UniqueConstraint("pair_id", "annotator", "round"),
    sa.CheckConstraint(sa.column("answer").in_(CHOICES), name="answer_is_known"),
    sa.CheckConstraint("strength BETWEEN 1 AND 4", name="strength_is_1_to_4"),
    sa.CheckConstraint(sa.column("shown_left").in_(_SIDES), name="side_is_a_or_b"),
)
WITHDRAWALS = sa.Table(
    "withdrawals",
    METADATA,
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("key", VerbatimText, nullable=False, unique=True),
    sa.Column(
        "answer_key", VerbatimText, sa.ForeignKey("answers.key"), nullable=False, unique=True
    ),
    sa.Column("withdrawn_at", sa.Double),
)
PROVENANCE = sa.Table(
    "provenance",
    METADATA,
    sa.Column("pair_id", VerbatimText, sa.ForeignKey("pairs.pair_id"), primary_key=True),
    sa.Column("side", sa.Text, primary_key=True),
    sa.Column("policy", VerbatimText, nullable=False),
    sa.Column("checkpoint", sa.Text, nullable=False),
    sa.Column("prompt", VerbatimText, nullable=False),
    sa.Column("seed", sa.BigInteger),
    sa.CheckConstraint(sa.column("side").in_(_SIDES), name="text_is_a_or_b"),
)
ITEMS = sa.Table(
    "items",
    METADATA,
    sa.Column("item", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("pair_id", VerbatimText, sa.ForeignKey("pairs.pair_id"), nullable=False, unique=True),
    sa.Column("question", sa.Text, nullable=False),
    sa.Column("chosen_by", sa.Text, nullable=False),
    sa.Column("rank", sa.Double, nullable=False),
    sa.Column("score", sa.Double),
    sa.Column("expected", sa.Text),
    sa.Column("quota", sa.Integer, nullable=False),
    sa.Column("taken", sa.Integer, nullable=False, server_default="0"),
    sa.CheckConstraint("taken >= 0", name="taken_is_a_number"),
)
sa.Index(
    "open_items",
    ITEMS.c.rank,
    sqlite_where=sa.text("taken < quota"),
    postgresql_where=sa.text("taken < quota"),
)
LEASES = sa.Table(
    "leases",
    METADATA,
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("lease", sa.Text, nullable=False, unique=True),
    sa.Column("item", sa.Integer, sa.ForeignKey("items.item"), nullable=False, index=True),
    sa.Column("annotator", VerbatimText, nullable=False),
    sa.Column("purpose", sa.Text, nullable=False),
    sa.Column("shown_left", sa.Text, nullable=False),
    sa.Column("rubric", sa.Text, nullable=False),
    sa.Column("served_at", sa.Double, nullable=False),
    sa.Column("expires_at", sa.Double, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("answer_key", VerbatimText, sa.ForeignKey("answers.key"), unique=True),
    sa.CheckConstraint(
        sa.column("state").in_(("open", "answered", "expired", "returned", "undone")),
        name="state_is_known",
    ),
)
sa.Index("leases_of_annotator", LEASES.c.annotator, LEASES.c.state)
sa.Index(
    "open_leases",
    LEASES.c.expires_at,
    sqlite_where=sa.text("state = 'open'"),
    postgresql_where=sa.text("state = 'open'"),
)


def of_split(query: sa.Select[Any], split: str | None) -> sa.Select[Any]:
    """Keeps a question to the pairs of one split; None asks about all."""
    return query if split is None else query.where(PAIRS.c.split == split)


def stands() -> sa.ColumnElement[bool]:
    """Whether an answer was not taken back."""
    return ~sa.exists().where(WITHDRAWALS.c.answer_key == ANSWERS.c.key)


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
