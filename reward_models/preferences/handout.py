"""The handing out of pairs: who is shown which pair next, and what becomes of it.

Sheets of texts that are ranked, rated or marked are handed out by the same rules as pairs, over
tables of their own.

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
import json
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
    SheetVote,
    Vote,
    WorkItem,
    answer_columns,
    turned,
)
from reward_models.preferences.pairs import Pair
from reward_models.preferences.schema import PAIR_DESK, SHEET_DESK, SHEETS
from reward_models.preferences.sheets import SHEET_QUESTIONS, Sheet, drawn_order

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from reward_models.preferences.leases import Question
    from reward_models.preferences.store import PreferenceStore

__all__ = ["Handout"]

_EVERYBODY = 2**31 - 1  # the quota of an item whose answer is known
_COUNTED = ("study", "known")  # whose leases take one of an item's quota


class Handout:
    """Hands out the items of one store; any number of threads and processes may do so at once."""

    def __init__(
        self,
        store: PreferenceStore,
        config: HandoutConfig,
        *,
        question: Question = "compare",
        rubric: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Takes the store as it is; ``fill`` says what is to be answered.

        Args:
            store: The pairs and answers.
            config: How they are handed out.
            question: A sheet's question hands out the store's sheets; any other, its pairs.
            rubric: Names what annotators are told to look at.
            clock: Gives seconds since 1970 UTC.
        """
        self._database = store.database
        self.config = config
        self._rubric = rubric
        self._clock = clock
        self._desk = SHEET_DESK if question in SHEET_QUESTIONS else PAIR_DESK
        items = self._desk.items.c
        # Each question of sheets has a page of its own, and both of pairs have one.
        self.question = question
        self._asked = items.question == question if question in SHEET_QUESTIONS else sa.true()
        self._open = self._asked & (items.taken < items.quota)

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
                "id": item.subject,
                "rank": item.rank,
                "question": item.question,
                "chosen_by": item.chosen_by,
                "score": item.score,
                "expected": item.expected,
                "quota": self.config.answers if item.expected is None else _EVERYBODY,
            }
            for item in items
        ]
        desk = self._desk
        with self._database.write() as connection:
            known = set(connection.scalars(sa.select(desk.item_subject).where(self._asked)))
            new = [row for row in rows if row["id"] not in known]
            old = [row for row in rows if row["id"] in known]
            names = ("rank", "question", "chosen_by", "score", "expected", "quota")
            values: dict[str, Any] = {name: sa.bindparam(name) for name in names}
            if new:
                named: dict[str, Any] = {desk.identity: sa.bindparam("id")}
                connection.execute(desk.items.insert().values(named | values), new)
            if old:
                changed = desk.items.update().where(desk.item_subject == sa.bindparam("id"))
                connection.execute(changed.values(values), old)
            gone = [{"id": name} for name in known - {row["id"] for row in rows}]
            if gone:
                ended = desk.items.update().where(desk.item_subject == sa.bindparam("id"))
                connection.execute(ended.values(quota=0), gone)
        return len(new)

    def next(self, annotator: str) -> Lease | None:
        """Hands an annotator the next pair, or the one in hand; None if none is left.

        Raises:
            StoreError: If the database fails.
        """
        with self._database.write() as connection:
            return self._next(connection, annotator)

    def answer(self, vote: Vote | SheetVote) -> Lease | None:
        """Stores a vote and hands out the next pair, in one step; both are on the disk at the end.

        The same vote again is acknowledged again, and stored once.

        Returns:
            The next lease, as ``next``.

        Raises:
            ConflictError: If the lease is another's, has another answer, or was taken back.
            ValueError: If it is no answer to what a sheet asks.
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
        desk = self._desk
        answers, leases, withdrawals = desk.answers.c, desk.leases.c, desk.withdrawals
        with self._database.write() as connection:
            done = sa.select(withdrawals.c.position).where(withdrawals.c.key == key)
            if connection.execute(done).first():
                lease = self._next(connection, annotator)
                if lease is None:
                    raise ConflictError("that answer was taken back, and its pair answered since")
                return lease
            mine = (
                sa.select(desk.leases, desk.is_skip.label("skipped"))
                .join(desk.answers, answers.key == leases.answer_key)
                .join(desk.items, desk.items.c.item == leases.item)
                .where(leases.annotator == annotator, leases.state == "answered", self._asked)
                .order_by(answers.position.desc())
                .limit(1)
            )
            last = connection.execute(mine).mappings().first()
            if last is None:
                raise ConflictError(f"{annotator} has no answer to take back")
            connection.execute(
                withdrawals.insert(),
                {"key": key, "answer_key": last["answer_key"], "withdrawn_at": self._clock()},
            )
            self._end(connection, last, "undone", held=not last["skipped"])
            for other in self._open_leases(connection, self._desk.leases.c.annotator == annotator):
                self._end(connection, other, "returned")
            shown = last[desk.arrangement]
            return self._lease(connection, annotator, last["item"], last["purpose"], shown)

    def assign(self, subject: str, annotator: str) -> Lease:
        """Hands a certain pair or sheet to somebody who settles it, whatever its quota.

        Raises:
            ConflictError: If it is no item.
        """
        with self._database.write() as connection:
            items = self._desk.items
            one = sa.select(items.c.item).where(self._desk.item_subject == subject)
            item = connection.scalar(one)
            if item is None:
                raise ConflictError(f"{subject!r} is not among what is handed out")
            for other in self._open_leases(connection, self._desk.leases.c.annotator == annotator):
                self._end(connection, other, "returned")
            shown = self._arranged(connection, subject, annotator)
            return self._lease(connection, annotator, item, "adjudication", shown)

    def progress(self, annotator: str) -> Progress:
        """Says how far an annotator is."""
        desk = self._desk
        items, leases = desk.items, desk.leases
        mine = leases.c.annotator == annotator
        answered = (
            sa.select(sa.func.count())
            .select_from(leases.join(items, items.c.item == leases.c.item))
            .where(mine, leases.c.state == "answered", self._asked)
        )
        short = (self._open, items.c.expected.is_(None))
        left = sa.select(sa.func.count()).select_from(items).where(*short)
        own = (desk.answers.c.annotator == annotator, desk.stands())
        known = desk.item_subject.in_(sa.select(desk.answer_subject).where(*own))
        seen = sa.select(sa.func.count()).select_from(items).where(*short, known)
        in_hand = (
            sa.select(sa.func.count())
            .select_from(leases.join(items, items.c.item == leases.c.item))
            .where(
                mine,
                self._asked,
                leases.c.state == "open",
                leases.c.purpose == "study",
                items.c.taken >= items.c.quota,
            )
        )
        query = sa.select(*(q.scalar_subquery() for q in (answered, left, seen, in_hand)))
        with self._database.read() as connection:
            done, open_items, seen_items, held = connection.execute(query).one()
        return Progress(answered=done, remaining=open_items - seen_items + held, can_undo=done > 0)

    def leases(self) -> list[Lease]:
        """Returns every lease, in the order in which they were handed out."""
        with self._database.read() as connection:
            query = self._desk.leased().where(self._asked)
            query = query.order_by(self._desk.leases.c.position)
            return [self._as_lease(row) for row in connection.execute(query).mappings()]

    def items(self) -> list[WorkItem]:
        """Returns what is to be answered, in its order."""
        items = self._desk.items
        names = [name for name in WorkItem.__dataclass_fields__ if name != "subject"]
        columns = [self._desk.item_subject.label("subject"), *(items.c[name] for name in names)]
        query = sa.select(*columns).where(self._asked).order_by(items.c.rank, items.c.item)
        return [WorkItem(**row) for row in self._database.rows(query)]

    def _next(self, connection: sa.Connection, annotator: str) -> Lease | None:
        now, leases, items = self._clock(), self._desk.leases.c, self._desk.items.c
        for late in self._open_leases(connection, leases.expires_at < now):
            self._end(connection, late, "expired")
        mine = self._desk.leased().where(
            leases.annotator == annotator, leases.state == "open", self._asked
        )
        row = connection.execute(mine.order_by(leases.position.desc())).mappings().first()
        if row is not None:
            return self._as_lease(row)
        count = sa.select(sa.func.count()).where(
            leases.annotator == annotator, leases.state == "answered"
        )
        number = connection.execute(count).scalar_one() + 1
        repeated = (
            self._repeat(connection, annotator)
            if _is_due(number, self.config.repeat_every)
            else None
        )
        if repeated is not None:
            return self._lease(connection, annotator, *repeated)
        wanted = [items.expected.is_not(None)] if _is_due(number, self.config.known_every) else []
        for condition in (*wanted, items.expected.is_(None)):
            chosen = connection.execute(self._first_item(annotator, condition)).mappings().first()
            if chosen is not None:
                purpose: Purpose = "study" if chosen["expected"] is None else "known"
                shown = self._arranged(connection, chosen[self._desk.identity], annotator)
                return self._lease(connection, annotator, chosen["item"], purpose, shown)
        return None

    def _repeat(self, connection: sa.Connection, annotator: str) -> tuple[int, Purpose, str] | None:
        """The annotator's oldest decided pair that has not come again, and its sides swapped."""
        desk = self._desk
        leases, again = desk.leases, desk.leases.alias()
        query = (
            sa.select(leases)
            .join(desk.answers, desk.answers.c.key == leases.c.answer_key)
            .join(desk.items, desk.items.c.item == leases.c.item)
            .where(
                self._asked,
                leases.c.annotator == annotator,
                leases.c.state == "answered",
                leases.c.purpose == "study",
                ~desk.is_skip,
                ~sa.exists().where(
                    again.c.item == leases.c.item,
                    again.c.annotator == annotator,
                    again.c.purpose == "repeat",
                    again.c.state.in_(("open", "answered")),
                ),
            )
            .order_by(leases.c.position)
            .limit(1)
        )
        row = connection.execute(query).mappings().first()
        return None if row is None else (row["item"], "repeat", turned(row[desk.arrangement]))

    def _store(self, connection: sa.Connection, vote: Vote | SheetVote) -> None:
        desk = self._desk
        leases, answers = desk.leases, desk.answers
        query = self._desk.leased().where(leases.c.lease == vote.lease)
        row = connection.execute(query).mappings().first()
        if row is None or row["annotator"] != vote.annotator:
            raise ConflictError("this pair was not handed to you: reload the page for another")
        lease, subject = self._as_lease(row), row[desk.identity]
        key = f"{vote.lease}/{vote.key}"
        said = {desk.identity: subject, "annotator": vote.annotator, **answer_columns(vote, lease)}
        stored = (
            connection.execute(sa.select(answers).where(answers.c.key == key)).mappings().first()
        )
        if stored is not None:
            if any(stored[name] != value for name, value in said.items()):
                raise ConflictError("this pair has another answer from you: undo it first")
            return
        if lease.state not in ("open", "expired"):
            raise ConflictError(
                "this pair was answered or taken back in another tab: reload the page"
            )
        rounds = sa.select(sa.func.max(answers.c.round)).where(
            desk.answer_subject == subject, answers.c.annotator == vote.annotator
        )
        last = connection.scalar(rounds) or 0
        times = {"served_at": lease.served_at, "voted_at": self._clock()}
        connection.execute(answers.insert(), {"key": key, "round": last + 1, **said, **times})
        connection.execute(
            leases.update()
            .where(leases.c.lease == vote.lease)
            .values(state="answered", answer_key=key)
        )
        # A skipped pair is somebody else's; one that was answered late is answered all the same.
        held, holds = lease.state == "open", not vote.is_skip
        if lease.purpose in _COUNTED and held != holds:
            self._take(connection, row["item"], 1 if holds else -1)
        same = (leases.c.annotator == vote.annotator) & (leases.c.item == row["item"])
        for other in self._open_leases(connection, same):  # of another tab
            self._end(connection, other, "returned")

    def _lease(
        self, connection: sa.Connection, annotator: str, item: int, purpose: Purpose, shown: str
    ) -> Lease:
        """Makes a lease."""
        now, name = self._clock(), secrets.token_hex(16)
        connection.execute(
            self._desk.leases.insert(),
            {
                "lease": name,
                "item": item,
                "annotator": annotator,
                "purpose": purpose,
                self._desk.arrangement: shown,
                "rubric": self._rubric,
                "served_at": now,
                "expires_at": now + self.config.lease_seconds,
                "state": "open",
            },
        )
        if purpose in _COUNTED:
            self._take(connection, item, 1)
        query = self._desk.leased().where(self._desk.leases.c.lease == name)
        return self._as_lease(connection.execute(query).mappings().one())

    def _open_leases(
        self, connection: sa.Connection, condition: sa.ColumnElement[bool]
    ) -> Sequence[sa.RowMapping]:
        leases = self._desk.leases
        query = sa.select(leases).where(leases.c.state == "open", condition)
        return connection.execute(query).mappings().all()

    def _end(
        self, connection: sa.Connection, lease: sa.RowMapping, state: str, *, held: bool = True
    ) -> None:
        """Ends a lease, and gives back what it held of its item's quota."""
        leases = self._desk.leases
        connection.execute(
            leases.update().where(leases.c.lease == lease["lease"]).values(state=state)
        )
        if held and lease["purpose"] in _COUNTED:
            self._take(connection, lease["item"], -1)

    def _take(self, connection: sa.Connection, item: int, number: int) -> None:
        items = self._desk.items
        connection.execute(
            items.update().where(items.c.item == item).values(taken=items.c.taken + number)
        )

    def _arranged(self, connection: sa.Connection, subject: str, annotator: str) -> str:
        """Draws how the texts stand; the same for ever for this subject and annotator."""
        name = f"{self.config.seed}/{annotator}/{subject}"
        if self._desk is PAIR_DESK:
            text = name.encode("utf-8", "backslashreplace")
            return "b" if hashlib.blake2b(text, digest_size=1).digest()[0] % 2 else "a"
        texts = connection.scalar(sa.select(SHEETS.c.texts).where(SHEETS.c.sheet_id == subject))
        return json.dumps(drawn_order(len(json.loads(texts or "[]")), name))

    def _first_item(self, annotator: str, condition: sa.ColumnElement[bool]) -> sa.Select[Any]:
        """The first item that is short of answers, and that the annotator has not answered."""
        desk = self._desk
        answered = sa.exists().where(
            desk.answer_subject == desk.item_subject,
            desk.answers.c.annotator == annotator,
            desk.stands(),
        )
        return (
            sa.select(desk.items)
            .where(self._open, condition, ~answered)
            .order_by(desk.items.c.rank, desk.items.c.item)
            .limit(1)
        )

    def _as_lease(self, row: sa.RowMapping) -> Lease:
        subject = (
            Pair(**{name: row[name] for name in Pair.__dataclass_fields__})
            if self._desk is PAIR_DESK
            else Sheet.of_row(dict(row))
        )
        theirs = ("subject", "arrangement")
        own = {name: row[name] for name in Lease.__dataclass_fields__ if name not in theirs}
        return Lease(subject=subject, arrangement=row[self._desk.arrangement], **own)


def _is_due(number: int, every: int) -> bool:
    return every > 0 and number % every == 0
