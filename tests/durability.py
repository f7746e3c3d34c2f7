"""Kills voters at random moments, again and again, and looks whether a store kept its word.

``python -m tests.durability --rounds 200`` does so with an SQLite file and with a PostgreSQL server
of its own, which is killed as well. A voter is a process of four threads, each an annotator who
answers what is handed out, takes some of it back, and says of each vote that it was acknowledged.
"""

import argparse
import contextlib
import itertools
import os
import random
import signal
import tempfile
import threading
import time
from pathlib import Path

import sqlalchemy as sa

from reward_models.preferences import (
    Handout,
    HandoutConfig,
    Pair,
    PreferenceStore,
    StoreError,
    Vote,
    WorkItem,
)
from reward_models.preferences.databases import is_database_url
from reward_models.preferences.schema import ANSWERS, ITEMS, LEASES
from tests.postgres import running_server

THREADS, PAIRS_OF_A_ROUND, ROUNDS_OF_A_STORE = 4, 300, 20
MOST_VOTES_OF_A_ROUND = 40
CONFIG = HandoutConfig(repeat_every=7, lease_seconds=5.0)


def fill(url, number):
    """Puts pairs into a store, and hands each out once."""
    names = [f"pair {each}" for each in range(number)]
    with PreferenceStore(url) as store:
        store.add_pairs([Pair(pair_id=each, prompt="p", a="a" * 200, b="b") for each in names])
        items = [WorkItem(subject=each, rank=i, chosen_by="random") for i, each in enumerate(names)]
        Handout(store, CONFIG).fill(items)


def vote_until_killed(url, acknowledged):
    """Answers from several threads; what was acknowledged is written to a pipe, a line each."""
    handout = Handout(PreferenceStore(url), CONFIG)

    def vote(annotator):
        lease, number = handout.next(annotator), 0
        while lease is not None:
            number += 1
            key = f"click {number}"
            following = handout.answer(
                Vote(lease=lease.lease, annotator=annotator, answer="left", key=key)
            )
            os.write(acknowledged, f"{lease.lease}/{key}\n".encode())
            lease = handout.undo(annotator, key) if number % 10 == 0 else following

    def vote_while_there_is_a_server(annotator):
        # It is killed a moment before this process; a file is always there.
        with contextlib.suppress(*([StoreError] if is_database_url(url) else [])):
            vote(annotator)

    for number in range(THREADS):
        annotator = f"annotator {os.getpid()} {number}"
        threading.Thread(target=vote_while_there_is_a_server, args=(annotator,)).start()
    time.sleep(3600)


def one_round(url, rng, kill_server):
    """Lets a voter work, kills it, and gives the keys of the votes that were acknowledged."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        try:
            vote_until_killed(url, writer)
        finally:
            os._exit(1)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        # So many votes, and a moment more, whatever the machine's speed: in the middle of a write.
        seen = [pipe.readline() for _ in range(rng.randint(1, MOST_VOTES_OF_A_ROUND))]
        time.sleep(rng.uniform(0, 0.05))
        kill_server()
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        seen += [line for line in pipe if line.endswith(b"\n")]
    return [line.decode().strip() for line in seen]


def faults(url, acknowledged):
    """What is wrong with a store that must hold these votes, a sentence each."""
    with PreferenceStore(url) as store, store.database.read() as connection:
        found = []
        if store.database.is_sqlite:
            said = connection.exec_driver_sql("PRAGMA integrity_check").scalar()
            found += [said] * (said != "ok")
            found += map(str, connection.exec_driver_sql("PRAGMA foreign_key_check"))
        keys = set(connection.scalars(sa.select(ANSWERS.c.key)))
        found += [f"{key} was acknowledged and is lost" for key in acknowledged if key not in keys]
        answered = set(
            connection.scalars(
                sa.select(LEASES.c.answer_key).where(LEASES.c.answer_key.is_not(None))
            )
        )
        found += [f"{key} has no lease, or no answer" for key in answered ^ keys]
        held = (
            sa.select(LEASES.c.item, sa.func.count().label("number"))
            .where(LEASES.c.state.in_(("open", "answered")), LEASES.c.purpose == "study")
            .group_by(LEASES.c.item)
        )
        counts = {row.item: row.number for row in connection.execute(held)}
        for item, taken, quota in connection.execute(
            sa.select(ITEMS.c.item, ITEMS.c.taken, ITEMS.c.quota)
        ):
            if taken != counts.get(item, 0) or taken > quota:
                found.append(f"item {item}: {taken} of {quota} taken, {counts.get(item, 0)} held")
        return found


def check(kind, new_url, rounds, seed, server=None):
    """Goes through so many rounds, a few to a store, and says how far it is; raises at a fault."""
    rng, votes = random.Random(seed), 0  # noqa: S311  not a secret
    for start in range(0, rounds, ROUNDS_OF_A_STORE):
        here = min(ROUNDS_OF_A_STORE, rounds - start)
        url, acknowledged = new_url(), []
        fill(url, PAIRS_OF_A_ROUND * here)
        for number in range(here):
            acknowledged += one_round(url, rng, server.kill if server else lambda: None)
            if server:
                server.start()
            found = faults(url, acknowledged)
            if found:
                raise SystemExit(f"{kind}, round {start + number + 1}: {found[:5]}")
        votes += len(acknowledged)
        print(f"{kind}: {start + here} rounds, {votes} votes acknowledged, none lost", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=["sqlite", "postgresql"])
    given = parser.parse_args()
    if given.only != "postgresql":
        with tempfile.TemporaryDirectory() as folder:
            files = (Path(folder) / f"{number}.sqlite" for number in itertools.count())
            check("SQLite", lambda: next(files), given.rounds, given.seed)
    if given.only != "sqlite":
        with running_server() as server:
            check("PostgreSQL", server.url, given.rounds, given.seed, server)


if __name__ == "__main__":
    main()
