"""The file or database that keeps pairs and answers: what was acknowledged survives a crash.

Answers are events that are only ever appended, and so is their withdrawal; the current view is the
latest round of each annotator and pair that stands. What is handed out to whom is in
``handout.py``.

Sheets and judgements are kept likewise, beside them.

Simplification: a store of an earlier version gets the tables that it lacks, and a later one is
refused; nothing is rewritten.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import sqlalchemy as sa

from reward_models.preferences.databases import Database, StoreError
from reward_models.preferences.pairs import CHOICES, Answer, Pair, Preference, Provenance
from reward_models.preferences.schema import (
    ANSWERS,
    METADATA,
    PAIRS,
    PROVENANCE,
    SCHEMA,
    SHEET_DESK,
    SHEET_PROVENANCE,
    SHEETS,
    VERSION,
    WITHDRAWALS,
    latest_answers,
    of_split,
    stands,
)
from reward_models.preferences.sheets import Judgement, Sheet, SheetProvenance

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from reward_models.preferences.sheets import SheetQuestion

__all__ = ["PreferenceStore", "StoreError"]

Row = TypeVar("Row", Pair, Answer, Sheet)

_HEADER = 100  # bytes of SQLite's, before which it takes a file for an empty one
_IDS_PER_QUERY = 500  # SQLite binds at most 999 values a statement in old builds


class PreferenceStore:
    """Pairs and answers in one database; safe for several writers, in threads or processes.

    Usable as a context manager, which closes it. A process that forks opens a store of its own.
    """

    def __init__(self, url_or_path: str | Path) -> None:
        """Opens the store, and makes it where there is none.

        Args:
            url_or_path: The path of an SQLite file, or the URL of a database, such as
                ``postgresql://anna@localhost/study``.

        Raises:
            StoreError: If the file is damaged, cut short, of a later version, or something else
                than a store.
            ModuleNotFoundError: If the database's driver is missing.
        """
        self.database = Database(url_or_path)
        try:
            self._require_no_scrap(Path(url_or_path))
            self._open()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes every connection; the store is of no use afterwards."""
        self.database.close()

    def add_pairs(self, pairs: Sequence[Pair], origins: Sequence[Provenance] = ()) -> int:
        """Adds pairs, all or none. A pair that is already there, word for word, is left alone.

        Args:
            pairs: The pairs.
            origins: Where their texts came from, as ``add_provenance`` takes it; a pair is not
                there without them.

        Returns:
            How many were new.

        Raises:
            StoreError: If another pair has the same id, or as ``add_provenance``.
        """
        with self.database.write() as connection:
            new = self._append(connection, PAIRS, PAIRS.c.pair_id, pairs, lambda pair: pair.pair_id)
            self._say_origins(connection, PROVENANCE, Provenance, origins)
        return new

    def add_sheets(self, sheets: Sequence[Sheet], origins: Sequence[SheetProvenance] = ()) -> int:
        """Adds sheets, as ``add_pairs`` does pairs.

        Args:
            sheets: The sheets.
            origins: Where their texts came from, as far as it is known.

        Returns:
            How many were new.

        Raises:
            StoreError: If another sheet has the same id, or something else was said of a text.
        """
        with self.database.write() as connection:
            new = self._append(
                connection,
                SHEETS,
                SHEETS.c.sheet_id,
                sheets,
                lambda sheet: sheet.sheet_id,
                Sheet.as_row,
            )
            self._say_origins(connection, SHEET_PROVENANCE, SheetProvenance, origins)
        return new

    def sheet_provenance(self) -> list[SheetProvenance]:
        """Returns where texts of sheets came from, in their order, as far as it was said."""
        query = (
            sa.select(SHEET_PROVENANCE)
            .join(SHEETS, SHEETS.c.sheet_id == SHEET_PROVENANCE.c.sheet_id)
            .order_by(SHEETS.c.position, SHEET_PROVENANCE.c.place)
        )
        return [SheetProvenance(**row) for row in self.database.rows(query)]

    def sheets(
        self, question: SheetQuestion | None = None, split: str | None = None
    ) -> list[Sheet]:
        """Returns the sheets of one question and split, or all, as they were added."""
        query = sa.select(SHEETS).order_by(SHEETS.c.position)
        if question is not None:
            query = query.where(SHEETS.c.question == question)
        if split is not None:
            query = query.where(SHEETS.c.split == split)
        return [Sheet.of_row(row) for row in self.database.rows(query)]

    def judgements(
        self, question: SheetQuestion | None = None, split: str | None = None
    ) -> list[Judgement]:
        """Returns what stands of what was said of sheets, all rounds, in the order it came."""
        said = SHEET_DESK.answers
        query = (
            sa.select(said)
            .join(SHEETS, SHEETS.c.sheet_id == said.c.sheet_id)
            .where(SHEET_DESK.stands())
            .order_by(said.c.position)
        )
        if question is not None:
            query = query.where(SHEETS.c.question == question)
        if split is not None:
            query = query.where(SHEETS.c.split == split)
        found = []
        for row in self.database.rows(query):
            row.pop("position")
            lists = {"said": json.loads(row["said"]), "shown": tuple(json.loads(row["shown"]))}
            found.append(Judgement(**{**row, **lists}))
        return found

    def record_answers(self, answers: Sequence[Answer]) -> int:
        """Appends answers, all or none; they are on the disk when this returns.

        An answer that is already there under its key is left alone, so that a caller that saw no
        acknowledgement sends the same answers again.

        Returns:
            How many were new.

        Raises:
            StoreError: If a key names another answer, a pair is unknown, an annotator answers a
                pair twice in one round, or a value is not allowed.
        """
        keyed = [replace(a, key=a.key or f"{a.pair_id}/{a.annotator}/{a.round}") for a in answers]
        with self.database.write() as connection:
            return self._append(
                connection, ANSWERS, ANSWERS.c.key, keyed, lambda answer: answer.key
            )

    def withdraw(self, answer_key: str, *, withdrawn_at: float | None = None) -> bool:
        """Takes an answer back; it stays on record, and stands no longer.

        Returns:
            Whether it stood; the same call again changes nothing.

        Raises:
            StoreError: If there is no such answer.
        """
        taken_back = sa.select(WITHDRAWALS.c.key).where(WITHDRAWALS.c.answer_key == answer_key)
        with self.database.write() as connection:
            if connection.execute(taken_back).first():
                return False
            connection.execute(
                WITHDRAWALS.insert(),
                {"key": answer_key, "answer_key": answer_key, "withdrawn_at": withdrawn_at},
            )
        return True

    def add_provenance(self, texts: Sequence[Provenance]) -> None:
        """Says where texts came from, all or none; what was said already is left alone.

        Raises:
            StoreError: If a pair is unknown, or something else was said of a text.
        """
        with self.database.write() as connection:
            self._say_origins(connection, PROVENANCE, Provenance, texts)

    def provenance(self) -> list[Provenance]:
        """Returns where texts came from, in the order of the pairs, as far as it was said."""
        query = (
            sa.select(PROVENANCE)
            .join(PAIRS, PAIRS.c.pair_id == PROVENANCE.c.pair_id)
            .order_by(PAIRS.c.position, PROVENANCE.c.side)
        )
        return [Provenance(**row) for row in self.database.rows(query)]

    def pairs(self, split: str | None = None) -> list[Pair]:
        """Returns the pairs of one split, or all, in the order in which they were added."""
        return self._read_pairs(of_split(sa.select(PAIRS), split))

    def pending(self, annotator: str, split: str | None = None) -> list[Pair]:
        """Returns the pairs that an annotator has not answered, so that an interrupted one goes on.

        A skipped pair counts as answered: asking again takes a new round.
        """
        answered = sa.select(ANSWERS.c.pair_id).where(ANSWERS.c.annotator == annotator, stands())
        unanswered = sa.select(PAIRS).where(PAIRS.c.pair_id.not_in(answered))
        return self._read_pairs(of_split(unanswered, split))

    def answers(self, split: str | None = None) -> list[Answer]:
        """Returns the answers that stand, all rounds, in the order in which they came."""
        query = (
            sa.select(ANSWERS)
            .join(PAIRS, PAIRS.c.pair_id == ANSWERS.c.pair_id)
            .where(stands())
            .order_by(ANSWERS.c.position)
        )
        rows = self.database.rows(of_split(query, split))
        return [Answer(**{k: v for k, v in row.items() if k != "position"}) for row in rows]

    def preferences(self, split: str | None = None, *, ties: bool = False) -> list[Preference]:
        """Returns the decided comparisons: one for each annotator and pair, the latest round.

        ``both_bad`` and skipped pairs are left out, and so are ties unless ``ties`` asks for them,
        with probability .5; ``answer_counts`` says how many there are. The subset of a pair names
        the policies that wrote it, where two did. The order is that of the
        pairs, then of the annotators' names.
        """
        latest = latest_answers()
        wanted = ("a", "b", "tie") if ties else ("a", "b")
        query = (
            sa.select(PAIRS, latest.c.annotator, latest.c.answer, latest.c.strength)
            .join(latest, latest.c.pair_id == PAIRS.c.pair_id)
            .where(latest.c.answer.in_(wanted))
            .order_by(PAIRS.c.position, latest.c.annotator)
        )
        return [
            Preference(
                pair_id=row["pair_id"],
                prompt=row["prompt"],
                chosen=row["b"] if row["answer"] == "b" else row["a"],
                rejected=row["a"] if row["answer"] == "b" else row["b"],
                annotator=row["annotator"],
                strength=row["strength"],
                probability=0.5 if row["answer"] == "tie" else 1.0,
                subset=_writers(row),
            )
            for row in self.database.rows(of_split(query, split))
        ]

    def answer_counts(self, split: str | None = None) -> dict[str, int]:
        """Counts the latest answers of each kind; every kind is a key, ``tie`` among them."""
        latest = latest_answers()
        query = (
            sa.select(latest.c.answer, sa.func.count().label("number"))
            .join(PAIRS, latest.c.pair_id == PAIRS.c.pair_id)
            .group_by(latest.c.answer)
        )
        found = {row["answer"]: row["number"] for row in self.database.rows(of_split(query, split))}
        return {choice: found.get(choice, 0) for choice in CHOICES}

    def _require_no_scrap(self, path: Path) -> None:
        """Refuses a file of a few bytes, which SQLite takes for an empty one and writes over."""
        if self.database.is_sqlite and path.is_file() and 0 < path.stat().st_size < _HEADER:
            raise self.database.unreadable("it is shorter than the head of one")

    def _open(self) -> None:
        """Checks what is there, and makes the tables that are missing."""
        with self.database.write() as connection:
            if self.database.is_sqlite:
                report = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
                if report != "ok":
                    raise self.database.unreadable(report)
            tables = set(sa.inspect(connection).get_table_names())
            if SCHEMA.name in tables:
                version = connection.execute(sa.select(SCHEMA.c.version)).scalar()
                if version is None or not 1 < version <= VERSION:
                    raise StoreError(
                        f"{self.database.name} is a store of version {version}, and this textgym "
                        f"reads version {VERSION}: open it with the textgym that made it, or name "
                        "another file"
                    )
                if version < VERSION:
                    METADATA.create_all(connection)
                    connection.execute(SCHEMA.update().values(version=VERSION))
                return
            if tables and not {PAIRS.name, ANSWERS.name} <= tables:
                raise self.database.unreadable("it holds other tables")
            METADATA.create_all(connection)
            connection.execute(SCHEMA.insert(), {"version": VERSION})

    def _say_origins(
        self,
        connection: sa.Connection,
        table: sa.Table,
        kind: type[Provenance | SheetProvenance],
        texts: Sequence[Provenance | SheetProvenance],
    ) -> None:
        """Inserts where texts came from, as far as it is new; compares the rest."""
        if not texts:
            return
        names = [column.name for column in table.primary_key]

        def place_of(text: Provenance | SheetProvenance) -> tuple[Any, ...]:
            return tuple(getattr(text, name) for name in names)

        stored = [kind(**row) for row in connection.execute(sa.select(table)).mappings()]
        said, new = {place_of(text): text for text in stored}, dict[Any, Any]()
        for text in texts:
            place = place_of(text)
            if said.get(place, new.setdefault(place, text)) != text:
                raise self._contradiction(f"text {place[1]} of {place[0]}")
        rows = [asdict(text) for place, text in new.items() if place not in said]
        if rows:
            connection.execute(table.insert(), rows)

    def _append(
        self,
        connection: sa.Connection,
        table: sa.Table,
        identity: sa.Column[str],
        rows: Sequence[Row],
        identify: Callable[[Row], str],
        as_row: Callable[[Row], dict[str, Any]] = asdict,
    ) -> int:
        """Inserts the rows whose identity is new; compares the others."""
        fresh: dict[str, Row] = {}
        for row in rows:
            if fresh.setdefault(identify(row), row) != row:
                raise self._contradiction(identify(row))
        ids = list(fresh)
        for start in range(0, len(ids), _IDS_PER_QUERY):
            chunk = ids[start : start + _IDS_PER_QUERY]
            query = sa.select(table).where(identity.in_(chunk))
            for stored in connection.execute(query).mappings():
                name = stored[identity.name]
                if any(stored[key] != value for key, value in as_row(fresh.pop(name)).items()):
                    raise self._contradiction(name)
        if fresh:
            connection.execute(table.insert(), [as_row(row) for row in fresh.values()])
        return len(fresh)

    def _read_pairs(self, query: sa.Select[Any]) -> list[Pair]:
        rows = self.database.rows(query.order_by(PAIRS.c.position))
        return [Pair(**{k: v for k, v in row.items() if k != "position"}) for row in rows]

    def _contradiction(self, identity: str) -> StoreError:
        return StoreError(
            f"{self.database.name}: {identity!r} already names something with another content: "
            "nothing of this call was stored. Give the new one an id or a round of its own"
        )


def _writers(row: dict[str, Any]) -> str:
    """Names two different policies that wrote a pair's texts; empty if it was one."""
    names = sorted({row["policy_a"], row["policy_b"]})
    return " and ".join(names) if len(names) > 1 and all(names) else ""
