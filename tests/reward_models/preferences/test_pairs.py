"""From samples to pairs."""

from collections import Counter
from dataclasses import replace

import pytest

from reward_models.preferences import (
    Preference,
    PreferenceStore,
    build_pairs,
    majority,
    vote_shares,
)

SAMPLES = [(f"prompt {i % 5}", f" text {i}") for i in range(40)]


def test_every_sample_meets_one_other_of_its_prompt():
    """Each completion is used once, and both sides of a pair follow its prompt."""
    pairs = build_pairs(SAMPLES, seed=0)
    used = [(pair.prompt, text) for pair in pairs for text in (pair.a, pair.b)]
    assert Counter(SAMPLES) == Counter(used)


def test_the_same_samples_and_seed_give_the_same_pairs_in_any_order():
    """So that an interrupted run builds the pairs that are already in the store."""
    by_id = {pair.pair_id: pair for pair in build_pairs(SAMPLES, seed=0)}
    again = {pair.pair_id: pair for pair in build_pairs(SAMPLES[::-1], seed=0)}
    other = {pair.pair_id: pair for pair in build_pairs(SAMPLES, seed=1)}
    assert by_id == again
    assert set(by_id) != set(other)


def test_equal_texts_are_never_compared():
    """A prompt whose completions are all equal gives no pair; a duplicate counts once."""
    assert build_pairs([("p", "x"), ("p", "x"), ("p", "x")], seed=0) == []
    (pair,) = build_pairs([("p", "x"), ("p", "x"), ("p", "y")], seed=0)
    assert {"x", "y"} == {pair.a, pair.b}


def test_which_text_is_called_a_says_nothing():
    """Samples that come sorted from worst to best must not all be called b."""
    samples = [(str(i), text) for i in range(400) for text in ("1 worse", "2 better")]
    firsts = Counter(pair.a for pair in build_pairs(samples, seed=0))
    assert 150 < firsts["1 worse"] < 250


def test_provenance_is_kept():
    """Who wrote it, with which seed, for which part of the data."""
    pair = build_pairs(SAMPLES, seed=7, policy="start", split="test")[0]
    assert (pair.policy_a, pair.policy_b, pair.seed, pair.split) == ("start", "start", 7, "test")


def test_the_same_texts_sampled_again_are_another_pair(tmp_path):
    """With an id of the texts alone, a store would refuse the second batch for its seed."""
    texts = [("p", "x"), ("p", "y")]
    with PreferenceStore(tmp_path / "votes.sqlite") as store:
        for seed in range(8):
            assert store.add_pairs(build_pairs(texts, seed=seed)) == 1
        assert len(store.pairs()) == 8


def _answered(pair_id, answers):
    """One preference an annotator: an ``a`` prefers the text A, a ``b`` the text B."""
    return [
        Preference(
            pair_id=pair_id,
            prompt="p",
            chosen="A" if answer == "a" else "B",
            rejected="B" if answer == "a" else "A",
            annotator=f"person {number}",
            strength=2,
        )
        for number, answer in enumerate(answers)
    ]


@pytest.mark.parametrize(
    ("answers", "chosen"),
    [("a", ["A"]), ("aab", ["A"]), ("baa", ["A"]), ("abb", ["B"]), ("ab", []), ("bbaba", ["B"])],
)
def test_a_majority_is_what_most_prefer_and_an_even_split_is_no_answer(answers, chosen):
    decided = majority(_answered("1", answers))
    assert chosen == [preference.chosen for preference in decided]
    assert all({p.chosen, p.rejected} == {"A", "B"} for p in decided)
    assert [f"majority of {len(answers)}"] * len(chosen) == [p.annotator for p in decided]


def test_a_majority_keeps_pairs_apart_however_their_answers_are_mixed():
    one, two = _answered("1", "aab"), _answered("2", "bba")
    mixed = [two[0], *one, *two[1:]]
    assert [(p.pair_id, p.chosen) for p in majority(mixed)] == [("2", "B"), ("1", "A")]


def test_a_tie_is_an_answer_of_a_majority():
    """It was dropped first, so that one of three decided a pair of which most said a tie."""
    x = Preference(pair_id="1", prompt="p", chosen="x", rejected="y")
    y, tie = replace(x, chosen="y", rejected="x"), replace(x, probability=0.5)
    said = {
        "xtt": "tie",
        "xxt": "x",
        "tyy": "y",
        "xyt": None,
        "t": "tie",
        "xt": None,
        "xxyytt": None,
    }
    for answers, expected in said.items():
        found = [
            "tie" if p.probability == 0.5 else p.chosen
            for p in majority([{"x": x, "y": y, "t": tie}[a] for a in answers])
        ]
        assert found == [expected] * (expected is not None), answers


def test_vote_shares_keep_how_sure_the_people_were():
    """Two of three prefer y; a tie is half a vote; an even split is one half."""
    y, x = (
        Preference(pair_id="1", prompt="p", chosen=one, rejected=other)
        for one, other in ("yx", "xy")
    )
    tie = Preference(pair_id="1", prompt="p", chosen="x", rejected="y", probability=0.5)
    (shared,) = vote_shares([x, y, y])
    assert (shared.chosen, shared.rejected, shared.annotator) == ("y", "x", "votes of 3")
    assert shared.probability == pytest.approx(2 / 3)
    assert vote_shares([tie, y])[0].chosen == "y"
    assert vote_shares([tie, y])[0].probability == pytest.approx(3 / 4)
    assert vote_shares([x, y])[0].probability == pytest.approx(1 / 2)
