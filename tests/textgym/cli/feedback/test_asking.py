"""Who is asked what in a loop: simulated annotators, a round at a time."""

from types import SimpleNamespace

import pytest

from reward_models.preferences import Answer, Pair, PreferenceStore
from textgym.cli.feedback.asking import answer_all
from textgym.cli.feedback.label import _plain
from textgym.cli.feedback.rounds import Rounds


class Prompt:
    """Prefers the first text, and writes down what it was asked."""

    name = "anna"

    def __init__(self):
        self.asked = []

    def answer(self, pairs, done=0):
        self.asked.append(([pair.pair_id for pair in pairs], done))
        return [Answer(pair_id=p.pair_id, annotator=self.name, answer="a") for p in pairs]


def pair(number, split):
    return Pair(
        pair_id=f"p{number}", prompt="", a=f"a{number}", b=f"b{number}", split=split,
        policy_a="w", policy_b="w",
    )  # fmt: skip


@pytest.fixture
def store(tmp_path):
    """Three pairs of each of two rounds."""
    with PreferenceStore(tmp_path / "s.sqlite") as opened:
        opened.add_pairs([pair(n, f"round {1 + n // 3}") for n in range(6)])
        yield opened


def test_a_round_s_pairs_are_asked_about_and_tiredness_counts_the_rounds_before(store):
    anna, ben = Prompt(), Prompt()
    ben.name = "ben"
    assert answer_all(store, [anna], "round 1") == 3
    assert {answer.pair_id for answer in store.answers()} == {"p0", "p1", "p2"}
    assert answer_all(store, [anna, ben], "round 2") == 6
    assert [(sorted(ids), done) for ids, done in anna.asked] == [
        (["p0", "p1", "p2"], 0),
        (["p3", "p4", "p5"], 3),
    ]
    assert [done for _, done in ben.asked] == [0]
    assert answer_all(store, [anna]) == 0


@pytest.mark.parametrize("votes", ["majority", "shares", "ability"])
def test_what_measures_a_reward_never_teaches_one(store, votes):
    """Two of a round's three pairs were drawn by chance, and a third of the round measures."""
    for name in ("anna", "ben", "cleo"):
        one = Prompt()
        one.name = name
        answer_all(store, [one])
    config = SimpleNamespace(held_out=0.34, votes=votes)
    rounds = Rounds(config=config, store=store, annotators=(), truth=None)
    figures = {
        f"round_{n}_write": {"control": [f"p{3 * n - 1}", f"p{3 * n - 3}"], "pairs": 3}
        for n in (1, 2)
    }
    for number, learned, fresh in ((1, "01", "2"), (2, "0134", "5")):
        found = rounds._divided(SimpleNamespace(figures=figures), number)
        assert [sorted({answer.pair_id for answer in part}) for part in found] == [
            [f"p{n}" for n in learned],
            [f"p{n}" for n in fresh],
        ]


def test_a_password_is_not_shown():
    assert _plain("postgresql://anna:secret@host:5432/study") == "host:5432/study"
    assert _plain("runs/a@b.sqlite") == "runs/a@b.sqlite"
