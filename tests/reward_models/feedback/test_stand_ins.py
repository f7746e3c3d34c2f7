"""Simulated annotators come in by the page's own routes, and what they say is what is stored."""

from collections import Counter

import numpy as np
import pytest

from reward_models.feedback.access import Access
from reward_models.feedback.application import Study, make_application
from reward_models.feedback.gate import Addresses
from reward_models.feedback.selection import arrange_sheets
from reward_models.feedback.stand_ins import PageError, answer_at_page
from reward_models.measuring.annotators import quality_report, swapped_repeats
from reward_models.preferences import (
    Handout,
    HandoutConfig,
    Pair,
    PreferenceStore,
    SimulatedAnnotator,
    StoreError,
    WorkItem,
    learned_from,
    make_sheets,
    persona,
)

TestClient = pytest.importorskip("starlette.testclient").TestClient
TestClient.__test__ = False  # its name looks like a test's

TOKEN = "o" * 43
HOME = "http://127.0.0.1:8765"
PAIRS = 60


def quality(prompts, completions, **columns):
    """A hidden score that is written in the text."""
    return [float(text) for text in completions]


@pytest.fixture
def study(tmp_path):
    """Sixty pairs, each for two people, of which ``a`` is better in every second one."""
    with PreferenceStore(tmp_path / "votes.sqlite") as store:
        store.add_pairs(
            [
                Pair(pair_id=str(n), prompt=f"p{n}", a=str(float(n % 2 == 0)), b="0.5")
                for n in range(PAIRS)
            ]
        )
        handout = Handout(store, HandoutConfig(answers=2, repeat_every=10))
        handout.fill([WorkItem(subject=str(n), rank=n, chosen_by="random") for n in range(PAIRS)])
        yield Study(store=store, handout=handout, rubric="")


@pytest.fixture
def client(study):
    return TestClient(make_application(study, Access(TOKEN, {}), Addresses.of(8765)), base_url=HOME)


SURE = SimulatedAnnotator(score=quality, slope=100.0, flip=0.0, name="sure")


def test_what_they_prefer_is_stored_as_the_text_that_it_was(study, client):
    given = answer_at_page(client, HOME, TOKEN, SURE)
    answers = study.store.answers()
    assert given == len(answers) >= PAIRS
    assert all(a.answer == ("a" if int(a.pair_id) % 2 == 0 else "b") for a in answers)
    assert {a.shown_left for a in answers} == {"a", "b"}
    repeats = swapped_repeats(answers)
    assert len(repeats) == given - PAIRS > 0
    assert all(one.answer == other.answer for one, other in repeats)
    assert answer_at_page(client, HOME, TOKEN, SURE) == 0


def test_several_share_the_pairs_out_and_a_bound_is_kept(study, client):
    """Two answers a pair, of different people."""
    kinds = ("average", "careless", "one-sided", "undecided")
    people = [persona(kind, quality, seed) for seed, kind in enumerate(kinds)]
    assert answer_at_page(client, HOME, TOKEN, people[0], most=7) == 7
    for person in people:
        client.cookies.clear()
        answer_at_page(client, HOME, TOKEN, person)
    counts = Counter(pair for pair, _ in {(a.pair_id, a.annotator) for a in study.store.answers()})
    assert set(counts.values()) == {2}
    assert len(counts) == PAIRS


def test_a_liking_for_a_side_that_was_planted_is_found_in_what_is_stored(study, client):
    """Through the page and back: the report knows nothing of the annotator but its answers."""
    leaning = SimulatedAnnotator(score=quality, slope=0.0, flip=0.0, left=3.0, name="leaning")
    answer_at_page(client, HOME, TOKEN, leaning)
    client.cookies.clear()
    answer_at_page(client, HOME, TOKEN, SURE)
    reports = quality_report(study.store.answers(), np.random.default_rng(0), 50).annotators
    by_name = {report.annotator: report for report in reports}
    assert by_name["leaning"].left.low > 0.75
    assert by_name["sure"].left.low < 0.5 < by_name["sure"].left.high
    assert by_name["sure"].consistency.value == 1


def test_a_busy_database_is_asked_again_and_the_vote_lands_once(study, client, monkeypatch):
    answer, failures = study.handout.answer, []

    def busy(vote):
        stored = len(failures) % 2 == 1  # every second time the vote is kept, and nobody is told
        lease = answer(vote) if stored or len(failures) == 4 else None
        if len(failures) < 4:
            failures.append(vote.key)
            raise StoreError("locked")
        return lease

    monkeypatch.setattr(study.handout, "answer", busy)
    assert answer_at_page(client, HOME, TOKEN, SURE, most=3) == 3
    assert len(failures) == 4
    assert len(study.store.answers()) == 3


def test_what_the_page_refuses_is_said(client):
    with pytest.raises(PageError, match=r"the page refuses \(403\): this token is not known"):
        answer_at_page(client, HOME, "x" * 43, SURE)
    with pytest.raises(PageError, match="another origin"):
        answer_at_page(client, "http://elsewhere", TOKEN, SURE)


def sheets_page(study, question, texts, number):
    """A client of a page that asks something else about texts, each sheet to so many people."""
    sheets = make_sheets(texts, question)
    study.store.add_sheets(sheets)
    handout = Handout(study.store, HandoutConfig(answers=number, repeat_every=0), question=question)
    handout.fill(arrange_sheets(sheets, 0))
    asked = Study(store=study.store, handout=handout, rubric="")
    application = make_application(asked, Access(TOKEN, {}), Addresses.of(8765))
    return TestClient(application, base_url=HOME), len(sheets)


WORDS = "good good plain bad"


def words_worth(prompts, completions, **columns):
    """A hidden score of which each word has its share: what is learned can be held against it."""
    worth = {"good": 1.0, "bad": -1.0}
    return [sum(worth.get(word, 0.0) for word in text.split()) for text in completions]


@pytest.mark.parametrize("question", ["rank", "rate", "spans"])
def test_they_rank_rate_and_mark_by_the_truth_that_they_were_given(study, question):
    """What is stored, and learned of it, is what the hidden score says of each text."""
    texts = [("p", f"{WORDS} {'good ' * n}{n}", "") for n in range(4)]
    client, number = sheets_page(study, question, texts, number=2)
    surely = {"score": words_worth, "slope": 1000.0, "flip": 0.0, "middle": 2.5}
    for name in ("one", "two"):
        client.cookies.clear()
        sure = SimulatedAnnotator(**surely, name=name)
        assert answer_at_page(client, HOME, TOKEN, sure) == number
        assert answer_at_page(client, HOME, TOKEN, sure) == 0
    store = study.store
    learned = [each for _, each in learned_from(store.sheets(), store.judgements())]
    assert {each.annotator for each in learned} == {"one", "two"}
    assert len(learned) == 2 * number
    for each in learned:
        if question == "rank":
            assert [int(text[-1]) for text in each.completions] == [3, 2, 1, 0]
        elif question == "rate":  # of the texts' 1, 2, 3 and 4 good words more than bad ones
            assert each.rating == (1 if int(each.completion[-1]) < 2 else 5)
        else:
            marked = [(each.completion[start:end], mark) for start, end, mark in each.spans]
            words = [word for word in each.completion.split() if word in ("good", "bad")]
            assert marked == [(word, word) for word in words]


def test_what_they_have_not_learned_is_said(client, monkeypatch):
    monkeypatch.setattr("reward_models.feedback.stand_ins._PAIRS", ())
    with pytest.raises(PageError, match="asks to compare, which simulated annotators have not"):
        answer_at_page(client, HOME, TOKEN, SURE)


def test_where_no_page_is_nobody_waits_as_for_one_that_fails_on_the_way():
    """With an hour of patience, this would not end."""
    import socket

    httpx2 = pytest.importorskip("httpx2")
    with socket.socket() as closed:  # bound, so that nobody else is there, and it does not listen
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        annotator = SimulatedAnnotator(score=quality, seed=0, name="somebody")
        with httpx2.Client(base_url=url) as client, pytest.raises(httpx2.ConnectError):
            answer_at_page(client, url, TOKEN, annotator, patience=3600.0)
