"""The database under a store: an SQLite file, or PostgreSQL by a URL; one writer at a time.

A write holds the store's one lock from its first statement to its commit, so that what it reads
cannot change under it: SQLite's own, taken at once, since a reader's cannot be raised without a
race, and an advisory lock on PostgreSQL. A commit has reached the disk when it returns.

Simplification: one writer at a time is also one commit at a time. People do not vote that fast; see
``tests/benchmarks/test_feedback_load.py``.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import ArgumentError, DatabaseError, IntegrityError, OperationalError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Database", "StoreError", "VerbatimText", "is_database_url"]

_BUSY_TIMEOUT_MS = 60_000  # the queue for the lock is unfair, and a slow disk makes it long
_ADVISORY_LOCK = 0x7465_7874_6779_6D00  # "textgym" in hexadecimal: no other program's number
_CONNECTIONS = 16  # at most, a process
_DRIVERS = ("postgresql", "postgres")


class StoreError(RuntimeError):
    """The store refuses or fails; the message says what, where, and what to do."""


def is_database_url(name: str | Path) -> bool:
    """Says whether this is a database's URL, and no path."""
    return "://" in str(name)


class VerbatimText(sa.TypeDecorator[str]):
    """Text that comes back as it went in, on PostgreSQL as well, which has no NUL.

    There, NUL is kept as U+F8FF and a 0, and U+F8FF, of which no writing system knows, as itself
    and a 1. Other databases keep text as it is.
    """

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        """Makes what is stored."""
        if value is None or dialect.name != "postgresql":
            return value
        return value.replace("\uf8ff", "\uf8ff1").replace("\0", "\uf8ff0")

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> str | None:
        """Makes of it what went in."""
        if value is None or dialect.name != "postgresql":
            return value
        return value.replace("\uf8ff0", "\0").replace("\uf8ff1", "\uf8ff")


class Database:
    """Connections to one database, for several threads; a process that forks opens its own.

    Attributes:
        name: What messages call it: the path or the URL, without its password.
    """

    def __init__(self, url_or_path: str | Path) -> None:
        """Opens no connection yet.

        Args:
            url_or_path: The path of an SQLite file, or an SQLAlchemy URL.

        Raises:
            StoreError: If the URL is none.
            ModuleNotFoundError: If PostgreSQL's driver is missing; the message says how to get it.
        """
        url = _url(str(url_or_path))
        self.name = str(url_or_path)
        if is_database_url(self.name):
            self.name = url.render_as_string(hide_password=True)
        try:
            self._engine = sa.create_engine(
                url, pool_size=_CONNECTIONS, max_overflow=0, pool_pre_ping=True
            )
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"{self.name} needs {error.name}: pip install 'textgym[postgres]'"
            ) from error
        except ArgumentError as error:
            raise StoreError(f"{self.name} is no database that is known ({error})") from error
        self.is_sqlite = self._engine.dialect.name == "sqlite"
        if self.is_sqlite:
            event.listen(self._engine, "connect", _configure_sqlite)
        event.listen(self._engine, "begin", _begin)
        self._writer = self._engine.execution_options(textgym_write=True)
        # Threads of one process queue here, in the order in which they came, and need not poll.
        self._turn = threading.Lock()

    def close(self) -> None:
        """Closes every connection; the database is of no use afterwards."""
        self._engine.dispose()

    @contextlib.contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """Gives a connection that alone writes; what was done is on the disk at the end, or undone.

        Raises:
            StoreError: If the database refuses or fails.
        """
        with self._errors(), self._turn, self._writer.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Gives a connection that reads one state of the database.

        Raises:
            StoreError: If the database fails.
        """
        with self._errors(), self._engine.connect() as connection:
            yield connection

    def rows(self, query: sa.Select[Any]) -> list[dict[str, Any]]:
        """Reads all rows of a query."""
        with self.read() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def unreadable(self, reason: object) -> StoreError:
        """The error of a database that is no store."""
        return StoreError(
            f"{self.name} is not a whole preference store ({' '.join(str(reason).split())}): "
            "restore it from a copy, or name another file"
        )

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Turns what the database says into one line."""
        try:
            yield
        except IntegrityError as error:
            raise StoreError(
                f"{self.name} refuses the rows ({_said(error)}): nothing of this call was stored. "
                "Answers need a known pair, an allowed value, and a new round for a second answer"
            ) from error
        except OperationalError as error:
            remedy = (
                "Check that the folder exists, can be written and is not full, and try again"
                if self.is_sqlite
                else "Check that the server runs and lets you in, and try again"
            )
            raise StoreError(
                f"{self.name} cannot be used ({_said(error)}): nothing of this call is known to be "
                f"stored. {remedy}"
            ) from error
        except UnicodeEncodeError as error:
            raise StoreError(
                f"{self.name} cannot keep half a character ({error.reason}): nothing of this call "
                "was stored. Mend the text, which has a lone surrogate"
            ) from error
        except DatabaseError as error:
            raise self.unreadable(_said(error)) from error


def _said(error: DatabaseError) -> str:
    """What the database said, in one line."""
    return " ".join(str(error.orig).split())


def _url(name: str) -> sa.URL:
    """The address, whatever letters a path has; PostgreSQL's by the driver that is ours."""
    if not is_database_url(name):
        return sa.URL.create("sqlite", database=str(Path(name)))
    try:
        url = sa.make_url(name)
    except ArgumentError as error:
        raise StoreError(
            f"this database URL cannot be read ({error}); write postgresql://USER@HOST/DATABASE"
        ) from error
    return url.set(drivername="postgresql+psycopg") if url.drivername in _DRIVERS else url


def _configure_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    """Makes a commit durable and foreign keys checked; hands transactions to ``_begin``."""
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


def _begin(connection: sa.Connection) -> None:
    """Begins; a writer takes the lock at once."""
    write = connection.get_execution_options().get("textgym_write", False)
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
    elif write:
        timeout = f"{_BUSY_TIMEOUT_MS}ms"
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{timeout}'")
        connection.exec_driver_sql("SET LOCAL synchronous_commit = on")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})")
