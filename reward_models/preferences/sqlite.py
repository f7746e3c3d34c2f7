"""Connections to SQLite: a write-ahead log that reaches the disk at every commit."""

from __future__ import annotations

import sqlite3
import time
from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["begin_sqlite", "configure_sqlite", "sqlite_url"]

_BUSY_TIMEOUT_MS = 60_000  # the queue for the lock is unfair, and a slow disk makes it long


def sqlite_url(path: Path) -> sa.URL:
    """The address of a file, whatever letters its path has."""
    return sa.URL.create("sqlite", database=str(path))


def configure_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    """Makes a commit durable and foreign keys checked; hands transactions to ``begin_sqlite``."""
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


def begin_sqlite(connection: sa.Connection) -> None:
    """Begins; a writer takes its lock at once, since a reader's cannot be raised without a race."""
    write = connection.get_execution_options().get("textgym_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
