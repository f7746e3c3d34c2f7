"""Texts that are ranked, rated or marked: handed out as pairs are, kept, and read as they were."""

import itertools
import json

import pytest

from reward_models.preferences import (
    ConflictError,
    Handout,
    HandoutConfig,
    Marked,
    Pair,
    PreferenceStore,
    Ranking,
    Rating,
    SheetVote,
    StoreError,
    Vote,
    WorkItem,
    learned_from,
    make_sheets,
    mark_lines,
    read_marks,
    texts_of_pairs,
)
from reward_models.preferences.sheets import Judgement, checked, drawn_order, latest_judgements
from tests.postgres import running_server

TEXTS = [("p", "one", "x"), ("p", "two", "y"), ("p", "three", "x"), ("q", "\0four\U0001f600", "z")]


@pytest.fixture(scope="module")
def server():
    with running_server() as started:
        yield started


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request, tmp_path):
    url = str(tmp_path / "votes.sqlite")
    if request.param == "postgresql":
        url = request.getfixturevalue("server").url()
    with PreferenceStore(url) as opened:
        yield opened


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def handing(store, question, texts=TEXTS, **config):
    """A handout of sheets that are made of these texts."""
    sheets = make_sheets(texts, question)
    store.add_sheets(sheets)
    settings = {"repeat_every": 0, "lease_seconds": 60.0, **config}
    handout = Handout(store, HandoutConfig(**settings), question=question, clock=Clock())
    handout.fill(
        [
            WorkItem(subject=sheet.sheet_id, rank=n, chosen_by="random", question=question)
            for n, sheet in enumerate(sheets)
        ]
    )
    return handout


def vote(lease, said, key="k", annotator="ann"):
    return SheetVote(lease=lease.lease, annotator=annotator, said=said, key=key)


def test_a_sheet_is_made_of_each_text_or_of_several_of_one_prompt():
    singles = make_sheets(TEXTS, "rate")
    assert [(sheet.prompt, sheet.texts, sheet.policies) for sheet in singles] == [
        (prompt, (text,), (who,)) for prompt, text, who in TEXTS
    ]
    assert {each.sheet_id for each in singles}.isdisjoint(
        each.sheet_id for each in make_sheets(TEXTS, "spans")
    )
    (ranked,) = make_sheets(TEXTS, "rank")
    assert dict(zip(ranked.texts, ranked.policies, strict=True)) == {
        "one": "x",
        "two": "y",
        "three": "x",
    }
    many = [("p", str(n), "") for n in range(10)]
    sizes = [len(sheet.texts) for sheet in make_sheets(many, "rank", most=4)]
    assert sorted(sizes) == [3, 3, 4]
    assert make_sheets(many, "rank") == make_sheets(many[::-1], "rank")
    with pytest.raises(ValueError, match="no prompt with two different texts"):
        make_sheets(TEXTS[3:], "rank")
    with pytest.raises(ValueError, match="from 2 to 9"):
        make_sheets(TEXTS, "rank", most=1)


def test_texts_of_pairs_are_there_once():
    pairs = [
        Pair(pair_id="1", prompt="p", a="one", b="two", policy_a="x", policy_b="y"),
        Pair(pair_id="2", prompt="p", a="three", b="one", policy_a="x", policy_b="x"),
    ]
    assert texts_of_pairs(pairs) == TEXTS[:3]


def test_an_order_is_kept_by_the_texts_and_not_by_where_they_stood(store):
    """Each of the six orders that a page may show, against what was named there."""
    (sheet,) = make_sheets(TEXTS[:3], "rank")
    for shown in itertools.permutations(range(3)):
        best_first = [sheet.texts[number] for number in checked(sheet, shown, [2, 0, 1])]
        on_page = [sheet.texts[number] for number in shown]
        assert best_first == [on_page[2], on_page[0], on_page[1]]
    handout = handing(store, "rank")
    lease = handout.next("ann")
    on_page = [lease.sheet.texts[number] for number in lease.order]
    assert handout.answer(vote(lease, [1, 2, 0])) is None
    ((_, learned),) = learned_from(store.sheets(), store.judgements())
    assert learned == Ranking(
        prompt="p",
        completions=(on_page[1], on_page[2], on_page[0]),
        places=2,
        annotator="ann",
    )
    assert store.judgements()[0].shown == lease.order


def test_ratings_and_spans_are_learned_as_they_were_given(store):
    rates, marks = handing(store, "rate"), handing(store, "spans")
    lease = rates.next("ann")
    for number in (2, 5, None, 1):
        lease = rates.answer(vote(lease, number))
    assert lease is None
    lease = marks.next("ben")
    spans = [[0, 1, "bad"], [2, 3, "good"]]
    for said in (spans, [], None, [[5, 6, "good"]]):
        lease = marks.answer(vote(lease, said, annotator="ben"))
    rated = learned_from(store.sheets("rate"), store.judgements("rate"))
    assert [each for _, each in rated] == [
        Rating(prompt=prompt, completion=text, rating=number, annotator="ann")
        for (prompt, text, _), number in zip(TEXTS, (2, 5, None, 1), strict=True)
        if number
    ]
    marked = [each for _, each in learned_from(store.sheets("spans"), store.judgements("spans"))]
    assert [each.spans for each in marked] == [
        ((0, 1, "bad"), (2, 3, "good")),
        (),
        ((5, 6, "good"),),
    ]
    assert marked[2].completion[5] == "\U0001f600", "a span counts characters"
    assert store.judgements(split="other") == []


WRONG = {
    "rank": ([0, 1], [0, 0, 1], [0, 1, 3], "012", 5, [0, 1, True], [[0], [1], [2]], {"0": 1}),
    "rate": (0, 6, 2.5, "3", True, [3], {"a": 1}),
    "spans": (
        "good",
        [[0, 1]],
        [[0, 1, "fine"]],
        [[1, 1, "good"]],
        [[0, 4, "good"]],
        [[-1, 2, "good"]],
        [[1, 2, "good"], [0, 1, "bad"]],
        [[0, 2, "good"], [1, 3, "bad"]],
        [[0, True, "good"]],
        [[0, 1, ["good"]]],
        [[0, 1, "good"]] * 1001,
    ),
}


@pytest.mark.parametrize("question", WRONG)
def test_what_is_no_answer_leaves_no_row(store, question):
    handout = handing(store, question, TEXTS[:3])
    lease = handout.next("ann")
    for said in WRONG[question]:
        with pytest.raises(ValueError, match=r"order|rating|span") as caught:
            handout.answer(vote(lease, said))
        assert not isinstance(caught.value, StoreError)
    with pytest.raises(ConflictError, match="something else"):
        handout.answer(Vote(lease=lease.lease, annotator="ann", answer="left", key="k"))
    assert store.judgements() == []
    assert handout.next("ann").lease == lease.lease


def test_the_rules_of_pairs_hold_for_sheets(store):
    """Quotas, idempotent votes, undo, skips, leases that end, and repeats with turned orders."""
    handout = handing(store, "rate", answers=1)
    first, other = handout.next("ann"), handout.next("ben")
    assert first.sheet != other.sheet
    second = handout.answer(vote(first, 3))
    assert handout.answer(vote(first, 3)).lease == second.lease
    with pytest.raises(ConflictError, match="another answer"):
        handout.answer(vote(first, 4))
    assert len(store.judgements()) == 1
    undone = handout.undo("ann", "u")
    assert undone.sheet == first.sheet
    assert store.judgements() == []
    skipped = handout.answer(vote(undone, None))
    assert skipped.sheet not in (first.sheet, other.sheet)
    assert handout.answer(vote(other, 1, annotator="ben")).sheet == first.sheet, "it came back"
    assert (handout.progress("ann").answered, handout.progress("ben").answered) == (1, 1)
    handout._clock.now += 61
    assert handout.next("cat").sheet == first.sheet, "the lease of ben is over"


def test_a_repeat_shows_the_texts_in_the_opposite_order(store):
    texts = [(prompt, text, "") for prompt in "pq" for text in ("one", "two", "three")]
    handout = handing(store, "rank", texts, repeat_every=2)
    first = handout.next("ann")
    again = handout.answer(vote(first, [0, 1, 2]))
    assert (again.sheet, again.purpose) == (first.sheet, "repeat")
    assert again.order == first.order[::-1]
    handout.answer(vote(again, [2, 1, 0]))
    one, two = store.judgements()
    assert (one.said, one.round, two.round) == (two.said, 1, 2)


def test_orders_are_drawn_and_stay():
    """Of 600 names each of six orders gets 100 or so; beyond 55 to 150 has a chance below 1e-5."""
    drawn = [drawn_order(3, f"name {n}") for n in range(600)]
    assert drawn == [drawn_order(3, f"name {n}") for n in range(600)]
    assert all(55 <= drawn.count(order) <= 150 for order in itertools.permutations(range(3)))


def test_pairs_and_sheets_of_one_store_know_nothing_of_each_other(store):
    store.add_pairs([Pair(pair_id="1", prompt="p", a="one", b="two")])
    pairs = Handout(store, HandoutConfig())
    pairs.fill([WorkItem(subject="1", rank=0, chosen_by="random")])
    sheets = handing(store, "rate", TEXTS[:1])
    handout_of_pair, of_sheet = pairs.next("ann"), sheets.next("ann")
    assert handout_of_pair.pair.a == "one"
    with pytest.raises(TypeError):
        _ = of_sheet.pair
    sheets.answer(vote(of_sheet, 2))
    assert store.answers() == []
    with pytest.raises(ConflictError):
        pairs.undo("ann", "u")


def test_marked_texts_are_read_as_they_were_written(tmp_path):
    marks = [
        Marked(prompt="p", completion="good \0\u202e", spans=((0, 4, "good"),), annotator="ann"),
        Marked(prompt="", completion="x", spans=()),
    ]
    path = tmp_path / "marks.jsonl"
    path.write_text(mark_lines(marks), encoding="utf-8")
    assert read_marks(str(path)) == marks
    for spans, said in (
        ([[0, 9, "good"]], "outside"),
        ([[0, 1]], "a start, an end"),
        (5, "not iterable"),
    ):
        path.write_text(json.dumps({"completion": "x", "spans": spans}), encoding="utf-8")
        with pytest.raises(ValueError, match=said) as caught:
            read_marks(str(path))
        assert "marks.jsonl" in str(caught.value)


def test_of_what_somebody_said_twice_the_later_round_counts_whichever_comes_first():
    first, second = (
        Judgement(sheet_id="s", annotator="anna", said=said, round=round_)
        for said, round_ in ((2, 1), (5, 2))
    )
    for said in ([first, second], [second, first]):
        assert latest_judgements(said) == [second]
