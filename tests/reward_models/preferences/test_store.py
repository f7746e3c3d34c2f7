"""The store keeps its promises: idempotent, append-only, and durable once it has answered."""

import contextlib
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

from reward_models.preferences import (
    Answer,
    Origin,
    Pair,
    Preference,
    PreferenceStore,
    Provenance,
    StoreError,
    make_sheets,
    origins_of_sheets,
)

OF_SHEETS = (
    *("sheet_provenance", "sheet_leases", "sheet_items", "sheet_withdrawals"),
    *("judgements", "sheets"),
)


def pair(number, split="train"):
    return Pair(
        pair_id=f"pair {number}",
        prompt=f"prompt {number}",
        a=f" first {number}",
        b=f" second {number}",
        policy_a="one",
        policy_b="two",
        seed=5,
        split=split,
    )


def answer(number, choice="a", annotator="ann", **fields):
    return Answer(pair_id=f"pair {number}", annotator=annotator, answer=choice, **fields)


def open_raw(path):
    """Opens the file beneath a store, and closes it, which sqlite3's own context does not."""
    return contextlib.closing(sqlite3.connect(path))


@pytest.fixture
def store(tmp_path):
    with PreferenceStore(tmp_path / "votes.sqlite") as opened:
        opened.add_pairs([pair(number) for number in range(5)])
        yield opened


def test_pairs_come_back_as_they_went_in(tmp_path):
    """Word for word and in order: markup, NUL, direction marks and an empty text included."""
    texts = ["<script>alert(1)</script>", "\0", "\u202eabc", "", "line\nbreak\r\n", "é😀"]
    pairs = [
        Pair(pair_id=str(i), prompt=text, a=text + "a", b=text + "b")
        for i, text in enumerate(texts)
    ]
    with PreferenceStore(tmp_path / "votes.sqlite") as store:
        assert store.add_pairs(pairs) == 6
    with PreferenceStore(tmp_path / "votes.sqlite") as store:
        assert pairs == store.pairs()


def test_the_same_pair_twice_is_one_row(store):
    """So that a run that was stopped adds its pairs again without a thought."""
    assert store.add_pairs([pair(0), pair(7), pair(7), pair(1)]) == 1
    assert [*range(5), 7] == [int(p.pair_id.split()[1]) for p in store.pairs()]


def test_another_content_under_the_same_id_is_refused_and_nothing_is_stored(store):
    """In the file, and within one call; votes on the old text must not count for the new one."""
    for contradiction in (
        [pair(8), replace(pair(0), b="other")],
        [pair(8), replace(pair(8), split="test")],
    ):
        with pytest.raises(StoreError, match="already names something with another content"):
            store.add_pairs(contradiction)
    assert len(store.pairs()) == 5


def test_the_same_answer_twice_is_one_event(store):
    """A double click, or a retry after a lost acknowledgement."""
    assert store.record_answers([answer(0), answer(1, "b", key="click 17")]) == 2
    assert store.record_answers([answer(0), answer(1, "b", key="click 17")]) == 0
    assert len(store.preferences()) == 2


@pytest.mark.parametrize(
    "refused",
    [
        answer(0, "b"),  # another answer under the same key
        answer(0, "a", key="another key"),  # a second answer in one round
        answer(99),  # no such pair
        answer(1, "left"),
        answer(1, strength=5),
        answer(1, shown_left="top"),
    ],
    ids=["other answer", "same round", "unknown pair", "unknown answer", "strength", "side"],
)
def test_an_answer_that_cannot_be_true_is_refused_with_its_whole_batch(store, refused):
    """All or none: half a batch would be acknowledged by nobody."""
    store.record_answers([answer(0)])
    with pytest.raises(StoreError, match="nothing of this call was stored"):
        store.record_answers([answer(2), refused])
    assert len(store.preferences()) == 1


def test_a_change_of_mind_is_a_new_round_and_the_old_answer_stays(store, tmp_path):
    """The current view is derived; the events are only ever appended."""
    store.record_answers([answer(0, "a")])
    store.record_answers([answer(0, "b", round=2)])
    (preference,) = store.preferences()
    assert (preference.chosen, preference.rejected) == (" second 0", " first 0")
    with open_raw(tmp_path / "votes.sqlite") as raw:
        assert raw.execute("SELECT answer FROM answers").fetchall() == [("a",), ("b",)]


def test_preferences_leave_out_undecided_answers_and_the_counts_show_them(store):
    """Ties silently dropped would make annotators look surer than they are."""
    choices = ["a", "b", "tie", "both_bad", "skip"]
    store.record_answers([answer(number, choice) for number, choice in enumerate(choices)])
    assert [
        Preference(
            pair_id="pair 0",
            prompt="prompt 0",
            chosen=" first 0",
            rejected=" second 0",
            annotator="ann",
            subset="one and two",
        ),
        Preference(
            pair_id="pair 1",
            prompt="prompt 1",
            chosen=" second 1",
            rejected=" first 1",
            annotator="ann",
            subset="one and two",
        ),
    ] == store.preferences()
    assert dict.fromkeys(choices, 1) == store.answer_counts()


def test_the_latest_round_decides_even_when_it_undecides(store):
    """An answer that became a tie is no preference any more."""
    store.record_answers([answer(0, "a"), answer(0, "tie", round=2)])
    assert store.preferences() == []
    assert (store.answer_counts()["a"], store.answer_counts()["tie"]) == (0, 1)


def test_all_answers_come_back_as_they_were_given(store):
    """With rounds, sides, times and skips, which preferences do not have."""
    given = [
        answer(1, "skip", "yet another", key="1"),
        answer(0, "a", shown_left="b", key="2"),
        answer(0, "b", round=2, served_at=1.5, voted_at=2.5, key="3"),
    ]
    store.record_answers(given)
    assert given == store.answers()
    assert store.answers("nowhere") == []


def test_each_annotator_counts_once_and_order_does_not_depend_on_arrival(store):
    """Pairs in their order, annotators by name, whoever was faster."""
    store.record_answers([answer(1, annotator="zoe"), answer(1, "b", annotator="bob"), answer(0)])
    assert [(preference.pair_id, preference.annotator) for preference in store.preferences()] == [
        ("pair 0", "ann"),
        ("pair 1", "bob"),
        ("pair 1", "zoe"),
    ]


def test_pending_pairs_are_those_without_an_answer_of_this_annotator(store):
    """An interrupted annotation goes on where it stopped; another person starts at the top."""
    store.record_answers([answer(0), answer(3, "skip")])
    assert [pair(1), pair(2), pair(4)] == store.pending("ann")
    assert len(store.pending("bob")) == 5


def test_splits_are_kept_apart(store):
    """Evaluation pairs must not be trained on."""
    store.add_pairs([pair(10, "test")])
    store.record_answers([answer(0), answer(10)])
    assert [preference.pair_id for preference in store.preferences("test")] == ["pair 10"]
    assert [pair(10, "test")] == store.pairs("test")
    assert store.pending("ann", "test") == []
    assert (store.answer_counts("test")["a"], store.answer_counts("train")["a"]) == (1, 1)


def test_everything_of_an_answer_is_stored(store, tmp_path):
    """Side, times, strength and note are what bias and agreement are computed from."""
    full = answer(0, strength=3, note="why", shown_left="b", served_at=1.25, voted_at=2.5)
    store.record_answers([full])
    with open_raw(tmp_path / "votes.sqlite") as raw:
        query = "SELECT strength, note, shown_left, served_at, voted_at, round FROM answers"
        assert raw.execute(query).fetchall() == [(3, "why", "b", 1.25, 2.5, 1)]
    assert [preference.strength for preference in store.preferences()] == [3]


def test_a_url_opens_the_same_store_as_a_path(store, tmp_path):
    """A team puts the URL of a server there."""
    with PreferenceStore(f"sqlite:///{tmp_path / 'votes.sqlite'}") as other:
        assert len(other.pairs()) == 5


def test_commits_reach_the_disk_and_references_are_checked(store):
    """The settings that durability and integrity rest on, read from a live connection."""
    with store.database.read() as connection:
        read = lambda name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()  # noqa: E731
        assert (read("journal_mode"), read("synchronous"), read("foreign_keys")) == ("wal", 2, 1)
        assert read("busy_timeout") >= 5000


def test_concurrent_writers_lose_nothing(tmp_path):
    """Eight threads with stores of their own open and write one new file at once."""
    path, threads, each = tmp_path / "votes.sqlite", 8, 10
    failures = []

    def write(worker):
        try:
            with PreferenceStore(path) as store:
                store.add_pairs([pair(number) for number in range(each)])
                for number in range(each):
                    store.record_answers([answer(number, annotator=f"worker {worker}")])
        except Exception as error:
            failures.append(error)

    workers = [threading.Thread(target=write, args=(worker,)) for worker in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert failures == []
    with PreferenceStore(path) as store:
        assert each == len(store.pairs())
        assert threads * each == store.answer_counts()["a"]


def test_a_writer_waits_for_a_lock_and_then_lands_once(store, tmp_path):
    """Peers drop the vote, or show "database is locked"."""
    locker = sqlite3.connect(tmp_path / "votes.sqlite", isolation_level=None)
    locker.execute("BEGIN IMMEDIATE")
    writer = threading.Thread(target=lambda: store.record_answers([answer(0)]))
    writer.start()
    time.sleep(0.3)
    assert writer.is_alive()
    locker.execute("COMMIT")
    locker.close()
    writer.join(timeout=10)
    assert len(store.preferences()) == 1


WRITER = """
import sys
from reward_models.preferences import Answer, Pair, PreferenceStore

store = PreferenceStore(sys.argv[1])
for number in range(100_000):
    name = f"pair {number}"
    store.add_pairs([Pair(pair_id=name, prompt="p", a="a" * 300, b="b")])
    store.record_answers([Answer(pair_id=name, annotator="ann", answer="a")])
    print(number, flush=True)
"""


@pytest.mark.parametrize("acknowledged", [1, 17, 60])
def test_every_acknowledged_answer_survives_a_kill(tmp_path, acknowledged):
    """SIGKILL in the middle of writing; then nothing acknowledged is missing or damaged."""
    path = tmp_path / "votes.sqlite"
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
    ) as writer:
        seen = [int(writer.stdout.readline()) for _ in range(acknowledged)]
        writer.send_signal(signal.SIGKILL)
        seen += [int(line) for line in writer.stdout if line.endswith("\n")]
    assert writer.returncode == -signal.SIGKILL
    with open_raw(path) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    with PreferenceStore(path) as store:
        stored = {preference.pair_id for preference in store.preferences()}
        assert {f"pair {number}" for number in seen} <= stored
        assert len(stored) <= len(seen) + 1
        store.record_answers([answer(0, "b", round=2)])


def test_a_damaged_page_is_found_when_the_store_is_opened(tmp_path):
    """Of rows, of an index, of the way to them: before anything is read from it or written."""
    path, page = tmp_path / "votes.sqlite", 4096
    with PreferenceStore(path) as store:
        store.add_pairs([replace(pair(number), a="x" * 200) for number in range(200)])
    whole = path.read_bytes()
    with open_raw(path) as raw:
        names = ("pairs", "sqlite_autoindex_pairs_1")
        roots = [
            raw.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)).fetchone()[0]
            for name in names
        ]
    last = len(whole) // page  # of rows
    for number in (*roots, last):
        start = (number - 1) * page + 8
        path.write_bytes(whole[:start] + bytes(range(192)) + whole[start + 192 :])
        with pytest.raises(StoreError, match="is not a whole preference store") as refused:
            PreferenceStore(path)
        assert "\n" not in str(refused.value)
    path.write_bytes(whole)
    with PreferenceStore(path) as store:
        assert len(store.pairs()) == 200


def test_a_file_that_is_no_store_gives_one_line(store, tmp_path):
    """Text, a database of something else, a store cut short, a folder, and no folder at all."""
    store.add_pairs([replace(pair(number), a="x" * 2000) for number in range(100, 200)])
    store.close()
    with open_raw(tmp_path / "votes.sqlite") as raw:
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    whole = (tmp_path / "votes.sqlite").read_bytes()
    (tmp_path / "text").write_text("no database, but longer than a header of one " * 10)
    (tmp_path / "short").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "tiny").write_bytes(whole[:50])
    (tmp_path / "scrap").write_bytes(b"3")
    with open_raw(tmp_path / "other") as raw:
        raw.execute("CREATE TABLE recipes (name)")
    for name in ("text", "short", "tiny", "scrap", "other"):
        with pytest.raises(StoreError, match="is not a whole preference store") as caught:
            PreferenceStore(tmp_path / name)
        assert "\n" not in str(caught.value)
        assert str(tmp_path / name) in str(caught.value)
    assert (tmp_path / "scrap").read_bytes() == b"3"
    for name in (".", "no folder/votes.sqlite"):
        with pytest.raises(StoreError, match="cannot be used"):
            PreferenceStore(tmp_path / name)


def test_a_foreign_database_is_left_as_it_was(tmp_path):
    """A typo in the path must not add tables to somebody's bookkeeping."""
    with open_raw(tmp_path / "other") as raw:
        raw.execute("CREATE TABLE recipes (name)")
    with pytest.raises(StoreError):
        PreferenceStore(tmp_path / "other")
    with open_raw(tmp_path / "other") as raw:
        assert raw.execute("SELECT name FROM sqlite_master").fetchall() == [("recipes",)]


def test_a_store_of_the_version_before_gets_what_it_lacks(tmp_path):
    """It held pairs and answers alone, which are read as they are."""
    path = tmp_path / "votes.sqlite"
    with PreferenceStore(path) as store:
        store.add_pairs([pair(0)])
        store.record_answers([answer(0)])
    with open_raw(path) as raw:
        for table in (*OF_SHEETS, "leases", "items", "withdrawals", "provenance", "textgym_store"):
            raw.execute(f"DROP TABLE {table}")
    with PreferenceStore(path) as store:
        assert len(store.preferences()) == 1
        assert store.withdraw(f"{answer(0).pair_id}/ann/1")


def test_a_store_of_version_2_gets_the_tables_of_sheets_and_keeps_its_answers(tmp_path):
    path = tmp_path / "votes.sqlite"
    with PreferenceStore(path) as store:
        store.add_pairs([pair(0)])
        store.record_answers([answer(0)])
    with open_raw(path) as raw:
        for table in OF_SHEETS:
            raw.execute(f"DROP TABLE {table}")
        raw.execute("UPDATE textgym_store SET version = 2")
        raw.commit()
    sheets = make_sheets([("p", "a", "")], "rate")
    for _ in range(2):
        with PreferenceStore(path) as store:
            store.add_sheets(sheets)
            assert store.sheets() == sheets
            assert len(store.preferences()) == 1
    with open_raw(path) as raw:
        assert raw.execute("SELECT version FROM textgym_store").fetchall() == [(4,)]


def test_a_store_of_version_3_keeps_its_sheets_and_is_told_where_their_texts_came_from(tmp_path):
    path = tmp_path / "votes.sqlite"
    sheets = make_sheets([("p", "a", "w"), ("p", "b", "v")], "rank")
    with PreferenceStore(path) as store:
        store.add_sheets(sheets)
    with open_raw(path) as raw:
        raw.execute("DROP TABLE sheet_provenance")
        raw.execute("UPDATE textgym_store SET version = 3")
        raw.commit()
    origins = {
        ("p", "a"): Origin("w", "f" * 16, "p and more", 7),
        ("q", "b"): Origin("v", "", "q", 1),
    }
    said = origins_of_sheets(sheets, origins)
    place = sheets[0].texts.index("a")
    assert [(one.place, one.checkpoint, one.prompt, one.seed) for one in said] == [
        (place, "f" * 16, "p and more", 7)
    ]
    for _ in range(2):
        with PreferenceStore(path) as store:
            assert store.add_sheets(sheets, said) == 0
            assert store.sheets() == sheets
            assert store.sheet_provenance() == said
            with pytest.raises(StoreError, match="already names something with another content"):
                store.add_sheets(sheets, [replace(said[0], seed=8)])


@pytest.mark.parametrize("version", [1, 5, None])
def test_a_store_of_another_version_is_refused_in_one_sentence(tmp_path, version):
    path = tmp_path / "votes.sqlite"
    PreferenceStore(path).close()
    with open_raw(path) as raw:
        raw.execute("DELETE FROM textgym_store")
        if version is not None:
            raw.execute("INSERT INTO textgym_store (version) VALUES (?)", (version,))
        raw.commit()
    said = f"version {version}, and this textgym reads version 4"
    with pytest.raises(StoreError, match=said) as caught:
        PreferenceStore(path)
    assert "\n" not in str(caught.value)


def test_an_answer_can_be_withdrawn_once_and_stays_on_record(store, tmp_path):
    store.record_answers([answer(0, "a"), answer(0, "b", round=2)])
    assert store.withdraw("pair 0/ann/2")
    assert not store.withdraw("pair 0/ann/2")
    assert [preference.chosen for preference in store.preferences()] == [" first 0"]
    assert [answer(0, "a", key="pair 0/ann/1")] == store.answers()
    with open_raw(tmp_path / "votes.sqlite") as raw:
        assert raw.execute("SELECT answer FROM answers").fetchall() == [("a",), ("b",)]
    with pytest.raises(StoreError, match="nothing of this call was stored"):
        store.withdraw("pair 9/ann/1")


def test_where_a_text_came_from_is_kept(store):
    texts = [
        Provenance(pair_id="pair 1", side="b", policy="two", checkpoint="c0ffee", prompt="p 1"),
        Provenance(pair_id="pair 0", side="a", policy="one", seed=7),
    ]
    store.add_pairs([], texts)
    store.add_provenance(texts)
    assert texts[::-1] == store.provenance()
    with pytest.raises(StoreError, match="another content"):
        store.add_provenance([replace(texts[0], policy="three")])
    with pytest.raises(StoreError):
        store.add_provenance([replace(texts[0], pair_id="pair 99")])
    before = store.pairs()
    for wrong in (replace(texts[0], policy="three"), replace(texts[0], pair_id="pair 99")):
        with pytest.raises(StoreError):
            store.add_pairs([pair(9)], [wrong])
        assert before == store.pairs(), "no pair without its origin"


def test_half_a_character_is_refused_in_one_sentence(store):
    with pytest.raises(StoreError, match="lone surrogate"):
        store.add_pairs([replace(pair(9), a="\ud800")])


def test_a_password_is_in_no_message():
    """A URL with one is what a team has in its shell's history, and not in its logs."""
    with pytest.raises(StoreError, match="cannot be used") as caught:
        PreferenceStore("postgresql://anna:secret@localhost:1/nowhere")
    assert "secret" not in str(caught.value)
    with pytest.raises(StoreError, match="cannot be read"):
        PreferenceStore("://")
    with pytest.raises(StoreError, match="no database that is known"):
        PreferenceStore("https://example.org/votes")
