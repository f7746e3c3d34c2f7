"""What a judge said, kept in a file: nothing is asked, or paid for, twice.

An SQLite file; each score is one transaction, so that a run that is killed keeps all that it has
asked, and several processes may share the file.

Simplification: nothing is ever forgotten; delete the file to ask again.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import DatabaseError
from sqlalchemy.schema import CreateTable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["JudgementFile"]

_BUSY_SECONDS = 60
_KEYS_PER_QUERY = 500  # SQLite binds at most 999 values a statement in old builds

_METADATA = sa.MetaData()
_JUDGEMENTS = sa.Table(
    "judgements",
    _METADATA,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("score", sa.Double, nullable=False),
    sa.Column("answer", sa.Text, nullable=False),
)


class JudgementFile:
    """Scores by key, and the answers that they were read from.

    It can be pickled, and used after a fork: each process opens a connection of its own.
    """

    def __init__(self, path: str | Path) -> None:
        """Names the file; it is made when something is first kept or looked up.

        Args:
            path: The SQLite file.
        """
        self.path = Path(path)
        self._engine: sa.Engine | None = None
        self._process = 0

    def __getstate__(self) -> dict[str, Any]:
        """Travels as its path."""
        return {"path": self.path, "_engine": None, "_process": 0}

    def find(self, keys: Sequence[str]) -> dict[str, float]:
        """Returns the scores that are known, by key.

        Raises:
            ValueError: If the file cannot be read.
        """
        known: dict[str, float] = {}
        with self._connection() as connection:
            for start in range(0, len(keys), _KEYS_PER_QUERY):
                wanted = _JUDGEMENTS.c.key.in_(keys[start : start + _KEYS_PER_QUERY])
                rows = connection.execute(sa.select(_JUDGEMENTS).where(wanted))
                known.update({row.key: row.score for row in rows})
        return known

    def keep(self, key: str, score: float, answer: str) -> None:
        """Keeps a score; one that is there already stays.

        Raises:
            ValueError: If the file cannot be written.
        """
        statement = insert(_JUDGEMENTS).values(key=key, score=score, answer=answer)
        with self._connection() as connection:
            connection.execute(statement.on_conflict_do_nothing())

    @contextmanager
    def _connection(self) -> Iterator[sa.Connection]:
        try:
            if self._engine is None or self._process != os.getpid():
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._engine = sa.create_engine(
                    sa.URL.create("sqlite", database=str(self.path)),
                    connect_args={"timeout": _BUSY_SECONDS},
                )
                self._process = os.getpid()
                with self._engine.begin() as connection:
                    connection.execute(CreateTable(_JUDGEMENTS, if_not_exists=True))
            with self._engine.begin() as connection:
                yield connection
        except (DatabaseError, OSError) as error:
            reason = " ".join(str(getattr(error, "orig", error)).split())
            raise ValueError(
                f"{self.path} cannot be used to keep judgements ({reason}): name another file, or "
                "delete this one"
            ) from error
