"""The file that keeps pairs and answers: an answer that was acknowledged survives a crash.

Answers are events that are only ever appended; the current view is the latest round of each
annotator and pair. SQLite runs with a write-ahead log that reaches the disk at every commit.

Simplifications: pairs are handed out without a lease, so two people who share one annotator name
may be shown the same pair (the second answer is refused); no migrations, one schema version. The
statements are SQLAlchemy's own for any database, but only SQLite is tested.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import DatabaseError, IntegrityError

from reward_models.preferences.pairs import CHOICES, Answer, Pair, Preference
from reward_models.preferences.schema import ANSWERS, METADATA, PAIRS, latest_answers, of_split

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["PreferenceStore", "StoreError"]

Row = TypeVar("Row", Pair, Answer)

_IDS_PER_QUERY = 500  # SQLite binds at most 999 values a statement in old builds
_BUSY_TIMEOUT_MS = 60_000  # the queue for the lock is unfair, and a slow disk makes it long


class StoreError(RuntimeError):
    """The store refuses or fails; the message says what, where, and what to do."""


class PreferenceStore:
    """Pairs and answers in one database; safe for several writers, in threads or processes.

    Usable as a context manager, which closes it. A process that forks opens a store of its own.
    """

    def __init__(self, url_or_path: str | Path) -> None:
        """Opens the store, and makes it where there is none.

        Args:
            url_or_path: The path of an SQLite file, or an SQLAlchemy URL.

        Raises:
            StoreError: If the file is damaged, cut short, or something else than a store.
        """
        self._name = str(url_or_path)
        url = self._name if "://" in self._name else _sqlite_url(Path(url_or_path))
        self._engine = sa.create_engine(url)
        if self._engine.dialect.name == "sqlite":
            event.listen(self._engine, "connect", _configure_sqlite)
            event.listen(self._engine, "begin", _begin_sqlite)
        self._writer = self._engine.execution_options(textgym_write=True)
        try:
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
        self._engine.dispose()

    def add_pairs(self, pairs: Sequence[Pair]) -> int:
        """Adds pairs, all or none. A pair that is already there, word for word, is left alone.

        Returns:
            How many were new.

        Raises:
            StoreError: If another pair has the same id.
        """
        return self._append(PAIRS, PAIRS.c.pair_id, pairs, lambda pair: pair.pair_id)

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
        return self._append(ANSWERS, ANSWERS.c.key, keyed, lambda answer: answer.key)

    def pairs(self, split: str | None = None) -> list[Pair]:
        """Returns the pairs of one split, or all, in the order in which they were added."""
        return self._read_pairs(of_split(sa.select(PAIRS), split))

    def pending(self, annotator: str, split: str | None = None) -> list[Pair]:
        """Returns the pairs that an annotator has not answered, so that an interrupted one goes on.

        A skipped pair counts as answered: asking again takes a new round.
        """
        answered = sa.select(ANSWERS.c.pair_id).where(ANSWERS.c.annotator == annotator)
        unanswered = sa.select(PAIRS).where(PAIRS.c.pair_id.not_in(answered))
        return self._read_pairs(of_split(unanswered, split))

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
            for row in self._read(of_split(query, split))
        ]

    def answer_counts(self, split: str | None = None) -> dict[str, int]:
        """Counts the latest answers of each kind; every kind is a key, ``tie`` among them."""
        latest = latest_answers()
        query = (
            sa.select(latest.c.answer, sa.func.count().label("number"))
            .join(PAIRS, latest.c.pair_id == PAIRS.c.pair_id)
            .group_by(latest.c.answer)
        )
        found = {row["answer"]: row["number"] for row in self._read(of_split(query, split))}
        return {choice: found.get(choice, 0) for choice in CHOICES}

    def _open(self) -> None:
        """Checks what is there, and makes the tables if nothing is."""
        with self._errors(), self._writer.begin() as connection:
            if self._engine.dialect.name == "sqlite":
                report = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
                if report != "ok":
                    raise self._unreadable(report)
            tables = set(sa.inspect(connection).get_table_names())
            if tables and not {"pairs", "answers"} <= tables:
                raise self._unreadable("it holds other tables")
            METADATA.create_all(connection)

    def _append(
        self,
        table: sa.Table,
        identity: sa.Column[str],
        rows: Sequence[Row],
        identify: Callable[[Row], str],
    ) -> int:
        """Inserts the rows whose identity is new, in one transaction; compares the others."""
        fresh: dict[str, Row] = {}
        for row in rows:
            if fresh.setdefault(identify(row), row) != row:
                raise self._contradiction(identify(row))
        with self._errors(), self._writer.begin() as connection:
            ids = list(fresh)
            for start in range(0, len(ids), _IDS_PER_QUERY):
                chunk = ids[start : start + _IDS_PER_QUERY]
                query = sa.select(table).where(identity.in_(chunk))
                for stored in connection.execute(query).mappings():
                    name = stored[identity.name]
                    if any(stored[key] != value for key, value in asdict(fresh.pop(name)).items()):
                        raise self._contradiction(name)
            if fresh:
                connection.execute(table.insert(), [asdict(row) for row in fresh.values()])
        return len(fresh)

    def _read_pairs(self, query: sa.Select[Any]) -> list[Pair]:
        rows = self._read(query.order_by(PAIRS.c.position))
        return [Pair(**{k: v for k, v in row.items() if k != "position"}) for row in rows]

    def _read(self, query: sa.Select[Any]) -> list[dict[str, Any]]:
        with self._errors(), self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Turns what the database says into one line."""
        try:
            yield
        except IntegrityError as error:
            raise StoreError(
                f"{self._name} refuses the rows ({error.orig}): nothing of this call was stored. "
                "Answers need a known pair, an allowed value, and a new round for a second answer"
            ) from error
        except DatabaseError as error:
            if isinstance(error.orig, sqlite3.OperationalError):
                raise StoreError(
                    f"{self._name} cannot be used ({error.orig}): nothing of this call was stored. "
                    "Check that the folder exists, can be written and is not full, and try again"
                ) from error
            raise self._unreadable(error.orig) from error

    def _unreadable(self, reason: object) -> StoreError:
        return StoreError(
            f"{self._name} is not a whole preference store ({reason}): "
            "restore it from a copy, or name another file"
        )

    def _contradiction(self, identity: str) -> StoreError:
        return StoreError(
            f"{self._name}: {identity!r} already names something with another content: "
            "nothing of this call was stored. Give the new one an id or a round of its own"
        )


def _writers(row: dict[str, Any]) -> str:
    """Names two different policies that wrote a pair's texts; empty if it was one."""
    names = sorted({row["policy_a"], row["policy_b"]})
    return " and ".join(names) if len(names) > 1 and all(names) else ""


def _sqlite_url(path: Path) -> sa.URL:
    """The address of a file, whatever letters its path has."""
    return sa.URL.create("sqlite", database=str(path))


def _configure_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    """Makes a commit durable and foreign keys checked; hands transactions to ``_begin_sqlite``."""
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}").close()
    _switch_to_write_ahead_log(connection)
    connection.execute("PRAGMA synchronous = FULL").close()
    connection.execute("PRAGMA foreign_keys = ON").close()


def _switch_to_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Tries until it works: SQLite does not queue connections that switch a new file at once."""
    deadline = time.monotonic() + _BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").close()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _begin_sqlite(connection: sa.Connection) -> None:
    """Begins; a writer takes its lock at once, since a reader's cannot be raised without a race."""
    write = connection.get_execution_options().get("textgym_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
