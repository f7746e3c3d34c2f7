"""Pairs are handed out once, come back when they are abandoned, and every vote is kept once."""

import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
import sqlalchemy as sa

from reward_models.preferences import (
    ConflictError,
    Handout,
    HandoutConfig,
    Pair,
    PreferenceStore,
    Vote,
    WorkItem,
)
from reward_models.preferences.schema import ANSWERS, ITEMS
from tests.durability import faults, fill
from tests.postgres import find_programs, running_server

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def server():
    with running_server() as started:
        yield started


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """An empty store of each kind."""
    if request.param == "sqlite":
        return str(tmp_path / "votes.sqlite")
    return request.getfixturevalue("server").url()


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Study:
    """A store of a few pairs with a handout and a clock that a test moves."""

    def __init__(self, url, pairs=4, expected=None, **config):
        self.store, self.clock = PreferenceStore(url), Clock()
        self.store.add_pairs(
            [Pair(pair_id=f"pair {n}", prompt=f"p{n}", a=f"a{n}", b=f"b{n}") for n in range(pairs)]
        )
        settings = {"repeat_every": 0, "known_every": 0, **config}
        self.handout = Handout(
            self.store, HandoutConfig(lease_seconds=60, **settings), clock=self.clock
        )
        self.handout.fill(
            [
                WorkItem(
                    subject=f"pair {n}",
                    rank=n,
                    chosen_by="random",
                    expected=(expected or {}).get(n),
                )
                for n in range(pairs)
            ]
        )
        self.clicks = 0

    def next(self, annotator="ann"):
        lease = self.handout.next(annotator)
        return lease and int(lease.pair.pair_id.split()[1])

    def vote(self, answer="left", annotator="ann", **fields):
        """Answers what is in hand; gives the number of the pair that is handed out next."""
        self.clicks += 1
        lease = self.handout.next(annotator)
        vote = Vote(
            lease=lease.lease, annotator=annotator, answer=answer, key=str(self.clicks), **fields
        )
        following = self.handout.answer(vote)
        return following and int(following.pair.pair_id.split()[1])

    def taken(self):
        query = sa.select(ITEMS.c.taken).order_by(ITEMS.c.item)
        return [row["taken"] for row in self.store.database.rows(query)]


@pytest.fixture
def study(url):
    made = []

    def make(**settings):
        made.append(Study(url, **settings))
        return made[-1]

    yield make
    for each in made:
        each.store.close()


def test_a_pair_is_in_one_hand_at_a_time_and_a_reload_shows_it_again(study):
    work = study(pairs=3)
    assert [work.next(who) for who in ("ann", "ann", "bob", "ann", "bob")] == [0, 0, 1, 0, 1]
    assert work.taken() == [1, 1, 0]


def test_a_quota_of_two_gives_each_pair_to_two_people(study):
    work = study(pairs=1, answers=2)
    assert [work.next(who) for who in ("ann", "bob", "eve")] == [0, 0, None]
    work.vote(annotator="ann")
    assert work.next("ann") is None, "nobody answers a pair twice"


def test_an_abandoned_pair_goes_to_the_next_who_asks(study):
    work = study(pairs=1)
    assert work.next("ann") == 0
    work.clock.now += 59
    assert work.next("bob") is None
    work.clock.now += 2
    assert work.next("bob") == 0
    assert work.taken() == [1]


def test_an_answer_that_comes_late_is_kept(study):
    """Work that was done is not thrown away, whoever has the pair meanwhile."""
    work = study(pairs=1)
    late = work.handout.next("ann")
    work.clock.now += 61
    assert work.next("bob") == 0
    work.handout.answer(Vote(lease=late.lease, annotator="ann", answer="tie", key="1"))
    assert work.vote(annotator="bob") is None
    assert [answer.annotator for answer in work.store.answers()] == ["ann", "bob"]
    assert work.taken() == [2]


def test_five_answers_are_five_answers_and_a_side_is_a_text(study):
    """Left is whatever stood on the left."""
    work = study(pairs=5)
    sides = []
    for answer in ("left", "right", "tie", "both_bad", "skip"):
        sides.append(work.handout.next("ann").shown_left)
        work.vote(answer, note="why", strength=2 if answer == "left" else None)
    found = work.store.answers()
    other = {"a": "b", "b": "a"}
    assert [sides[0], other[sides[1]], "tie", "both_bad", "skip"] == [a.answer for a in found]
    assert sides == [answer.shown_left for answer in found]
    assert [(a.strength, a.note) for a in found[:2]] == [(2, "why"), (None, "why")]
    assert [(a.served_at, a.voted_at) for a in found] == [(1000.0, 1000.0)] * 5


def test_a_skipped_pair_is_somebody_else_s(study):
    work = study(pairs=1)
    assert work.vote("skip", note="a language that I cannot read") is None
    assert work.taken() == [0]
    assert work.next("bob") == 0


def test_the_same_vote_again_is_one_row_and_another_one_is_refused(study):
    """A double click, and a retry of what was acknowledged to nobody."""
    work = study(pairs=2)
    lease = work.handout.next("ann")
    vote = Vote(lease=lease.lease, annotator="ann", answer="left", key="click")
    assert work.handout.answer(vote) == work.handout.answer(vote)
    for refused in (
        {"answer": "right", "key": "click"},
        {"answer": "left", "key": "click", "note": "more"},
        {"answer": "left", "key": "another click"},
        {"answer": "left", "key": "click", "annotator": "bob"},
        {"answer": "left", "key": "click", "lease": "f" * 32},
    ):
        with pytest.raises(ConflictError):
            work.handout.answer(Vote(**{"lease": lease.lease, "annotator": "ann", **refused}))
    assert len(work.store.answers()) == 1
    assert work.taken() == [1, 1]


def test_undo_takes_answers_back_one_by_one_and_keeps_them_on_record(study):
    work = study(pairs=4)
    assert [work.vote("left"), work.vote("skip")] == [1, 2]
    assert work.handout.undo("ann", "u1").pair.pair_id == "pair 1"
    assert work.handout.undo("ann", "u1").pair.pair_id == "pair 1", "the same key, the same step"
    assert work.taken() == [1, 1, 0, 0]
    assert work.handout.undo("ann", "u2").pair.pair_id == "pair 0"
    assert work.taken() == [1, 0, 0, 0]
    assert work.store.answers() == []
    with pytest.raises(ConflictError, match="no answer to take back"):
        work.handout.undo("ann", "u3")
    assert work.vote("right") == 1
    (answer,) = work.store.answers()
    assert answer.round == 2
    events = work.store.database.rows(sa.select(ANSWERS.c.answer, ANSWERS.c.round))
    assert len(events) == 3


def test_an_answer_that_was_taken_back_counts_nowhere(study):
    work = study(pairs=1)
    work.vote("left")
    assert len(work.store.preferences()) == 1
    work.handout.undo("ann", "u")
    assert work.store.preferences() == []
    assert sum(work.store.answer_counts().values()) == 0
    assert len(work.store.pending("ann")) == 1


def test_sides_are_drawn_once_and_about_evenly(study):
    """200 fair coins: fewer than 70 or more than 130 of one side has a chance of 1 in 50,000."""
    work = study(pairs=1)
    sides = [work.handout._arranged(None, f"pair {n}", "ann") for n in range(200)]
    assert sides == [work.handout._arranged(None, f"pair {n}", "ann") for n in range(200)]
    assert 70 <= sides.count("a") <= 130
    assert sides != [work.handout._arranged(None, f"pair {n}", "bob") for n in range(200)]


def test_each_third_pair_is_an_old_one_with_its_sides_swapped(study):
    work = study(pairs=6, repeat_every=3)
    order = [work.next(), *[work.vote() for _ in range(6)]]
    assert order == [0, 1, 0, 2, 3, 1, 4]
    leases = work.handout.leases()
    assert leases[0].shown_left != leases[2].shown_left
    assert [lease.purpose for lease in leases[:3]] == ["study", "study", "repeat"]
    assert [a.round for a in work.store.answers() if a.pair_id == "pair 0"] == [1, 2]
    assert work.taken() == [1] * 5 + [0], "a repeat is nobody's turn"


def test_a_known_pair_comes_to_everybody_and_only_when_it_is_due(study):
    work = study(pairs=4, known_every=2, expected={3: "b"})
    assert work.handout.progress("ann").remaining == 3, "a known one is extra work"
    assert [work.next(), *[work.vote() for _ in range(4)]] == [0, 3, 1, 2, None]
    assert [work.next("bob")] == [3] or work.next("bob") is None
    leases = [lease for lease in work.handout.leases() if lease.purpose == "known"]
    assert {"b"} == {lease.expected for lease in leases}
    assert work.handout.progress("ann").answered == 4


def test_progress_counts_what_is_left_for_this_annotator(study):
    work = study(pairs=4, answers=2)

    def see(who):
        progress = work.handout.progress(who)
        return progress.answered, progress.remaining

    assert see("ann") == (0, 4)
    work.vote()
    assert (see("ann"), see("bob")) == ((1, 3), (0, 4))
    for _ in range(4):
        work.vote(annotator="bob")
    for _ in range(2):  # ann has the second pair in hand
        work.vote(annotator="eve")
    assert (see("ann"), see("bob"), see("new")) == ((1, 1), (4, 0), (0, 0))
    assert not work.handout.progress("new").can_undo


def test_what_is_due_may_change_while_people_answer(study):
    """More pairs, another order, and another quota: nothing that was answered comes again."""
    work = study(pairs=3)
    work.vote()
    work.store.add_pairs([Pair(pair_id="pair 9", prompt="p", a="x", b="y")])
    items = [WorkItem(subject=f"pair {n}", rank=-n, chosen_by="even", score=0.5) for n in (0, 2, 9)]
    assert work.handout.fill(items) == 1
    work.handout.undo("ann", "u")
    work.vote()
    assert [work.next(), work.vote(), work.vote()] == [9, 2, None], "1 is not asked about"
    assert work.handout.fill([WorkItem(subject="pair 1", rank=0, chosen_by="random")]) == 0
    assert work.next() == 1


def test_a_pair_can_be_handed_to_one_who_settles_it(study):
    work = study(pairs=1)
    work.vote(annotator="ann")
    assert work.next("owner") is None
    assert work.handout.assign("pair 0", "owner").purpose == "adjudication"
    work.vote(annotator="owner")
    assert [answer.annotator for answer in work.store.answers()] == ["ann", "owner"]
    assert work.taken() == [1]
    with pytest.raises(ConflictError, match="not among what is handed out"):
        work.handout.assign("pair 7", "owner")


def test_a_wrong_setting_says_which():
    for wrong in ({"answers": 0}, {"lease_seconds": 0}, {"known_every": 1}, {"repeat_every": -1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            HandoutConfig(**wrong)


VOTERS = """
import os, sys, threading
from reward_models.preferences import Handout, HandoutConfig, PreferenceStore, Vote

handout = Handout(PreferenceStore(sys.argv[1]), HandoutConfig(repeat_every=0))

def work(annotator):
    lease = handout.next(annotator)
    while lease is not None:
        os.write(1, f"{lease.pair.pair_id}\\n".encode())  # at once, where print writes twice
        vote = Vote(lease=lease.lease, annotator=annotator, answer="right", key="k")
        lease = handout.answer(vote)

threads = [threading.Thread(target=work, args=(f"{sys.argv[2]} {n}",)) for n in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_sixteen_threads_in_two_processes_never_get_one_pair_twice(url):
    """Each pair is printed by whoever was handed it: each once, and none is left out."""
    fill(url, 60)
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", VOTERS, url, name], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        for name in ("one", "two")
    ]
    printed = [worker.communicate(timeout=120)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    handed = Counter(name for text in printed for name in text.splitlines())
    assert {f"pair {n}": 1 for n in range(60)} == handed
    assert faults(url, []) == []
    with PreferenceStore(url) as store:
        assert len(store.answers()) == 60


def test_a_locked_database_delays_a_vote_and_drops_none(study):
    work = study(pairs=1)
    vote = Vote(lease=work.handout.next("ann").lease, annotator="ann", answer="tie", key="k")
    other = PreferenceStore(work.store.database._engine.url.render_as_string(hide_password=False))
    with other.database.write():
        voter = threading.Thread(target=work.handout.answer, args=(vote,))
        voter.start()
        time.sleep(0.3)
        assert voter.is_alive()
        assert work.store.answers() == []
    voter.join(timeout=30)
    other.close()
    assert len(work.store.answers()) == 1


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_what_was_acknowledged_outlives_kills(kind):
    """Of the voters, and of PostgreSQL itself; ``python -m tests.durability`` does 200 rounds."""
    if kind == "postgresql":
        find_programs()
    result = subprocess.run(
        [sys.executable, "-m", "tests.durability", "--rounds", "2", "--only", kind],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=240,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert "2 rounds" in result.stdout


def test_texts_come_back_as_they_went_in(url):
    """PostgreSQL has no NUL, and what stands for it there may be in a text as well."""
    texts = ["\0", "\uf8ff", "\uf8ff0", "\uf8ff\0\uf8ff1", "a\0", "\u202eabc", "", "\r\n", "é😀"]
    pairs = [Pair(pair_id=text, prompt=text, a=text + "a", b=text + "b") for text in texts]
    with PreferenceStore(url) as store:
        store.add_pairs(pairs)
        assert pairs == store.pairs()
