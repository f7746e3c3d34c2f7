"""The handing out of pairs: who is shown which pair next, and what becomes of it.

An item is a pair that is to be answered by so many people, its quota. Whoever asks gets a lease of
the first item that is still short of answers, and of nobody's lease, and that this annotator has
not answered. A lease ends with an answer, or when its time is over: then the pair goes to the next
one who asks. The same annotator who asks again, after a reload or a lost tab, gets the same lease.

Beside the items there are, for quality, repeats: a pair that this annotator has answered comes
again with its sides swapped; and items whose answer is known, which every annotator gets once.

Simplifications: an answer whose lease has expired is kept although another person may have been
handed the pair meanwhile, since work that was done is not thrown away; times are those of the
machine that serves, so several servers of one store must agree on the time.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from reward_models.preferences.leases import (
    ConflictError,
    HandoutConfig,
    Lease,
    Progress,
    Purpose,
    Side,
    Vote,
    WorkItem,
)
from reward_models.preferences.pairs import Choice, Pair
from reward_models.preferences.schema import ANSWERS, ITEMS, LEASES, PAIRS, WITHDRAWALS, stands

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from reward_models.preferences.store import PreferenceStore

__all__ = ["Handout"]

_EVERYBODY = 2**31 - 1  # the quota of an item whose answer is known
_COUNTED = ("study", "known")  # whose leases take one of an item's quota
_OPEN = ITEMS.c.taken < ITEMS.c.quota


class Handout:
    """Hands out the items of one store; any number of threads and processes may do so at once."""

    def __init__(
        self,
        store: PreferenceStore,
        config: HandoutConfig,
        *,
        rubric: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Takes the store as it is; ``fill`` says what is to be answered.

        Args:
            store: The pairs and answers.
            config: How they are handed out.
            rubric: Names what annotators are told to look at.
            clock: Gives seconds since 1970 UTC.
        """
        self._database = store.database
        self.config = config
        self._rubric = rubric
        self._clock = clock

    def fill(self, items: Sequence[WorkItem]) -> int:
        """Says what is to be answered, and in which order; may be called again at any time.

        What was handed out already keeps its answers; its rank and quota are those of now. What is
        not named any more is not handed out any more.

        Returns:
            How many pairs are new.

        Raises:
            StoreError: If a pair is unknown.
        """
        rows = [
            {
                "id": item.pair_id,
                "rank": item.rank,
                "question": item.question,
                "chosen_by": item.chosen_by,
                "score": item.score,
                "expected": item.expected,
                "quota": self.config.answers if item.expected is None else _EVERYBODY,
            }
            for item in items
        ]
        with self._database.write() as connection:
            known = set(connection.scalars(sa.select(ITEMS.c.pair_id)))
            new = [row for row in rows if row["id"] not in known]
            old = [row for row in rows if row["id"] in known]
            names = ("rank", "question", "chosen_by", "score", "expected", "quota")
            values: dict[str, Any] = {name: sa.bindparam(name) for name in names}
            if new:
                added = ITEMS.insert().values(pair_id=sa.bindparam("id"), **values)
                connection.execute(added, new)
            if old:
                changed = ITEMS.update().where(ITEMS.c.pair_id == sa.bindparam("id"))
                connection.execute(changed.values(values), old)
            gone = [{"id": name} for name in known - {row["id"] for row in rows}]
            if gone:
                ended = ITEMS.update().where(ITEMS.c.pair_id == sa.bindparam("id"))
                connection.execute(ended.values(quota=0), gone)
        return len(new)

    def next(self, annotator: str) -> Lease | None:
        """Hands an annotator the next pair, or the one in hand; None if none is left.

        Raises:
            StoreError: If the database fails.
        """
        with self._database.write() as connection:
            return self._next(connection, annotator)

    def answer(self, vote: Vote) -> Lease | None:
        """Stores a vote and hands out the next pair, in one step; both are on the disk at the end.

        The same vote again is acknowledged again, and stored once.

        Returns:
            The next lease, as ``next``.

        Raises:
            ConflictError: If the lease is another's, has another answer, or was taken back.
        """
        with self._database.write() as connection:
            self._store(connection, vote)
            return self._next(connection, vote.annotator)

    def undo(self, annotator: str, key: str) -> Lease:
        """Takes the annotator's last standing answer back, and hands that pair out again.

        What the annotator had in hand goes back unanswered. Called again, it takes the one before.

        Args:
            annotator: Whose.
            key: The sender's name for this: the same again is the same step.

        Raises:
            ConflictError: If there is nothing to take back.
        """
        key = f"undo/{annotator}/{key}"
        with self._database.write() as connection:
            done = sa.select(WITHDRAWALS.c.position).where(WITHDRAWALS.c.key == key)
            if connection.execute(done).first():
                lease = self._next(connection, annotator)
                if lease is None:
                    raise ConflictError("that answer was taken back, and its pair answered since")
                return lease
            mine = (
                sa.select(LEASES, ANSWERS.c.answer)
                .join(ANSWERS, ANSWERS.c.key == LEASES.c.answer_key)
                .where(LEASES.c.annotator == annotator, LEASES.c.state == "answered")
                .order_by(ANSWERS.c.position.desc())
                .limit(1)
            )
            last = connection.execute(mine).mappings().first()
            if last is None:
                raise ConflictError(f"{annotator} has no answer to take back")
            connection.execute(
                WITHDRAWALS.insert(),
                {"key": key, "answer_key": last["answer_key"], "withdrawn_at": self._clock()},
            )
            self._end(connection, last, "undone", held=last["answer"] != "skip")
            for other in self._open_leases(connection, LEASES.c.annotator == annotator):
                self._end(connection, other, "returned")
            return self._lease(
                connection, annotator, last["item"], last["purpose"], last["shown_left"]
            )

    def assign(self, pair_id: str, annotator: str) -> Lease:
        """Hands a certain pair to somebody who settles it, whatever its quota.

        Raises:
            ConflictError: If the pair is no item.
        """
        with self._database.write() as connection:
            item = connection.scalar(sa.select(ITEMS.c.item).where(ITEMS.c.pair_id == pair_id))
            if item is None:
                raise ConflictError(f"{pair_id!r} is not among the pairs that are handed out")
            for other in self._open_leases(connection, LEASES.c.annotator == annotator):
                self._end(connection, other, "returned")
            side = self._side(pair_id, annotator)
            return self._lease(connection, annotator, item, "adjudication", side)

    def progress(self, annotator: str) -> Progress:
        """Says how far an annotator is."""
        mine = LEASES.c.annotator == annotator
        answered = sa.select(sa.func.count()).where(mine, LEASES.c.state == "answered")
        short = (_OPEN, ITEMS.c.expected.is_(None))
        left = sa.select(sa.func.count()).select_from(ITEMS).where(*short)
        pairs = sa.select(ANSWERS.c.pair_id).where(ANSWERS.c.annotator == annotator, stands())
        seen = (
            sa.select(sa.func.count()).select_from(ITEMS).where(*short, ITEMS.c.pair_id.in_(pairs))
        )
        in_hand = (
            sa.select(sa.func.count())
            .select_from(LEASES.join(ITEMS, ITEMS.c.item == LEASES.c.item))
            .where(
                mine,
                LEASES.c.state == "open",
                LEASES.c.purpose == "study",
                ITEMS.c.taken >= ITEMS.c.quota,
            )
        )
        query = sa.select(*(q.scalar_subquery() for q in (answered, left, seen, in_hand)))
        with self._database.read() as connection:
            done, open_items, known, held = connection.execute(query).one()
        return Progress(answered=done, remaining=open_items - known + held, can_undo=done > 0)

    def leases(self) -> list[Lease]:
        """Returns every lease, in the order in which they were handed out."""
        with self._database.read() as connection:
            rows = connection.execute(_leases().order_by(LEASES.c.position)).mappings()
            return [_as_lease(row) for row in rows]

    def items(self) -> list[WorkItem]:
        """Returns what is to be answered, in its order."""
        query = sa.select(*(ITEMS.c[name] for name in WorkItem.__dataclass_fields__)).order_by(
            ITEMS.c.rank, ITEMS.c.item
        )
        return [WorkItem(**row) for row in self._database.rows(query)]

    def _next(self, connection: sa.Connection, annotator: str) -> Lease | None:
        now = self._clock()
        for late in self._open_leases(connection, LEASES.c.expires_at < now):
            self._end(connection, late, "expired")
        mine = _leases().where(LEASES.c.annotator == annotator, LEASES.c.state == "open")
        row = connection.execute(mine.order_by(LEASES.c.position.desc())).mappings().first()
        if row is not None:
            return _as_lease(row)
        count = sa.select(sa.func.count()).where(
            LEASES.c.annotator == annotator, LEASES.c.state == "answered"
        )
        number = connection.execute(count).scalar_one() + 1
        repeated = (
            self._repeat(connection, annotator)
            if _is_due(number, self.config.repeat_every)
            else None
        )
        if repeated is not None:
            return self._lease(connection, annotator, *repeated)
        wanted = [ITEMS.c.expected.is_not(None)] if _is_due(number, self.config.known_every) else []
        for condition in (*wanted, ITEMS.c.expected.is_(None)):
            chosen = connection.execute(_first_item(annotator, condition)).mappings().first()
            if chosen is not None:
                purpose: Purpose = "study" if chosen["expected"] is None else "known"
                side = self._side(chosen["pair_id"], annotator)
                return self._lease(connection, annotator, chosen["item"], purpose, side)
        return None

    def _repeat(
        self, connection: sa.Connection, annotator: str
    ) -> tuple[int, Purpose, Side] | None:
        """The annotator's oldest decided pair that has not come again, and its sides swapped."""
        again = LEASES.alias()
        query = (
            sa.select(LEASES.c.item, LEASES.c.shown_left)
            .join(ANSWERS, ANSWERS.c.key == LEASES.c.answer_key)
            .where(
                LEASES.c.annotator == annotator,
                LEASES.c.state == "answered",
                LEASES.c.purpose == "study",
                ANSWERS.c.answer != "skip",
                ~sa.exists().where(
                    again.c.item == LEASES.c.item,
                    again.c.annotator == annotator,
                    again.c.purpose == "repeat",
                    again.c.state.in_(("open", "answered")),
                ),
            )
            .order_by(LEASES.c.position)
            .limit(1)
        )
        row = connection.execute(query).mappings().first()
        return None if row is None else (row["item"], "repeat", _other(row["shown_left"]))

    def _store(self, connection: sa.Connection, vote: Vote) -> None:
        query = _leases().where(LEASES.c.lease == vote.lease)
        row = connection.execute(query).mappings().first()
        if row is None or row["annotator"] != vote.annotator:
            raise ConflictError("this pair was not handed to you: reload the page for another")
        lease = _as_lease(row)
        key = f"{vote.lease}/{vote.key}"
        said: dict[str, Any] = {
            "pair_id": lease.pair.pair_id,
            "annotator": vote.annotator,
            "answer": _choice(vote.answer, lease.shown_left),
            "strength": vote.strength,
            "note": vote.note,
            "shown_left": lease.shown_left,
        }
        stored = (
            connection.execute(sa.select(ANSWERS).where(ANSWERS.c.key == key)).mappings().first()
        )
        if stored is not None:
            if any(stored[name] != value for name, value in said.items()):
                raise ConflictError("this pair has another answer from you: undo it first")
            return
        if lease.state not in ("open", "expired"):
            raise ConflictError(
                "this pair was answered or taken back in another tab: reload the page"
            )
        rounds = sa.select(sa.func.max(ANSWERS.c.round)).where(
            ANSWERS.c.pair_id == lease.pair.pair_id, ANSWERS.c.annotator == vote.annotator
        )
        last = connection.scalar(rounds) or 0
        times = {"served_at": lease.served_at, "voted_at": self._clock()}
        connection.execute(ANSWERS.insert(), {"key": key, "round": last + 1, **said, **times})
        connection.execute(
            LEASES.update()
            .where(LEASES.c.lease == vote.lease)
            .values(state="answered", answer_key=key)
        )
        # A skipped pair is somebody else's; one that was answered late is answered all the same.
        held, holds = lease.state == "open", vote.answer != "skip"
        if lease.purpose in _COUNTED and held != holds:
            self._take(connection, row["item"], 1 if holds else -1)
        same = (LEASES.c.annotator == vote.annotator) & (LEASES.c.item == row["item"])
        for other in self._open_leases(connection, same):  # of another tab
            self._end(connection, other, "returned")

    def _lease(
        self, connection: sa.Connection, annotator: str, item: int, purpose: Purpose, side: Side
    ) -> Lease:
        """Makes a lease."""
        now, name = self._clock(), secrets.token_hex(16)
        connection.execute(
            LEASES.insert(),
            {
                "lease": name,
                "item": item,
                "annotator": annotator,
                "purpose": purpose,
                "shown_left": side,
                "rubric": self._rubric,
                "served_at": now,
                "expires_at": now + self.config.lease_seconds,
                "state": "open",
            },
        )
        if purpose in _COUNTED:
            self._take(connection, item, 1)
        row = connection.execute(_leases().where(LEASES.c.lease == name)).mappings().one()
        return _as_lease(row)

    def _open_leases(
        self, connection: sa.Connection, condition: sa.ColumnElement[bool]
    ) -> Sequence[sa.RowMapping]:
        query = sa.select(LEASES).where(LEASES.c.state == "open", condition)
        return connection.execute(query).mappings().all()

    def _end(
        self, connection: sa.Connection, lease: sa.RowMapping, state: str, *, held: bool = True
    ) -> None:
        """Ends a lease, and gives back what it held of its item's quota."""
        connection.execute(
            LEASES.update().where(LEASES.c.lease == lease["lease"]).values(state=state)
        )
        if held and lease["purpose"] in _COUNTED:
            self._take(connection, lease["item"], -1)

    def _take(self, connection: sa.Connection, item: int, number: int) -> None:
        connection.execute(
            ITEMS.update().where(ITEMS.c.item == item).values(taken=ITEMS.c.taken + number)
        )

    def _side(self, pair_id: str, annotator: str) -> Side:
        """Draws which text stands on the left; the same for ever for this pair and annotator."""
        text = f"{self.config.seed}/{annotator}/{pair_id}".encode("utf-8", "backslashreplace")
        return "b" if hashlib.blake2b(text, digest_size=1).digest()[0] % 2 else "a"


def _leases() -> sa.Select[Any]:
    """Leases with their items and pairs."""
    own = [column for column in PAIRS.c if column.name != "position"]
    return (
        sa.select(LEASES, ITEMS.c.question, ITEMS.c.chosen_by, ITEMS.c.expected, *own)
        .join(ITEMS, ITEMS.c.item == LEASES.c.item)
        .join(PAIRS, PAIRS.c.pair_id == ITEMS.c.pair_id)
    )


def _first_item(annotator: str, condition: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """The first item that is short of answers, and that the annotator has not answered."""
    answered = sa.exists().where(
        ANSWERS.c.pair_id == ITEMS.c.pair_id, ANSWERS.c.annotator == annotator, stands()
    )
    return (
        sa.select(ITEMS)
        .where(_OPEN, condition, ~answered)
        .order_by(ITEMS.c.rank, ITEMS.c.item)
        .limit(1)
    )


def _as_lease(row: sa.RowMapping) -> Lease:
    pair = Pair(**{name: row[name] for name in Pair.__dataclass_fields__})
    own = {name: row[name] for name in Lease.__dataclass_fields__ if name != "pair"}
    return Lease(pair=pair, **own)


def _is_due(number: int, every: int) -> bool:
    return every > 0 and number % every == 0


def _other(side: Side) -> Side:
    return "a" if side == "b" else "b"


def _choice(answer: str, shown_left: Side) -> Choice:
    """The answer as a text of the pair, whatever side it stood on."""
    if answer == "left":
        return shown_left
    if answer == "right":
        return _other(shown_left)
    return answer  # type: ignore[return-value] # the other three are the same words
