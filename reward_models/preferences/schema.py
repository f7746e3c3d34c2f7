"""The tables of a store of preferences, and the questions that are asked of them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from reward_models.preferences.pairs import CHOICES

__all__ = ["ANSWERS", "METADATA", "PAIRS", "latest_answers", "of_split"]

METADATA = sa.MetaData()
PAIRS = sa.Table(
    "pairs",
    METADATA,
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("pair_id", sa.Text, nullable=False, unique=True),
    sa.Column("prompt", sa.Text, nullable=False),
    sa.Column("a", sa.Text, nullable=False),
    sa.Column("b", sa.Text, nullable=False),
    sa.Column("policy_a", sa.Text, nullable=False),
    sa.Column("policy_b", sa.Text, nullable=False),
    sa.Column("seed", sa.BigInteger, nullable=False),
    sa.Column("split", sa.Text, nullable=False),
)
ANSWERS = sa.Table(
    "answers",
    METADATA,
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("key", sa.Text, nullable=False, unique=True),
    sa.Column("pair_id", sa.Text, sa.ForeignKey("pairs.pair_id"), nullable=False),
    sa.Column("annotator", sa.Text, nullable=False),
    sa.Column("round", sa.Integer, nullable=False),
    sa.Column("answer", sa.Text, nullable=False),
    sa.Column("strength", sa.Integer),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("shown_left", sa.Text, nullable=False),
    sa.Column("served_at", sa.Double),
    sa.Column("voted_at", sa.Double),
    sa.UniqueConstraint("pair_id", "annotator", "round"),
    sa.CheckConstraint(sa.column("answer").in_(CHOICES), name="answer_is_known"),
    sa.CheckConstraint("strength BETWEEN 1 AND 4", name="strength_is_1_to_4"),
    sa.CheckConstraint(sa.column("shown_left").in_(("a", "b")), name="side_is_a_or_b"),
)


def of_split(query: sa.Select[Any], split: str | None) -> sa.Select[Any]:
    """Keeps a question to the pairs of one split; None asks about all."""
    return query if split is None else query.where(PAIRS.c.split == split)


def latest_answers() -> sa.Subquery:
    """The answers of each annotator's latest round, a pair."""
    rounds = (
        sa.select(
            ANSWERS.c.pair_id, ANSWERS.c.annotator, sa.func.max(ANSWERS.c.round).label("round")
        )
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
