"""Rewards that compare with the reference."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgym.rewards import resolve
from textgym.tasks.scoring import exact_match, unigram_f1
from textgym.testing import check_reward_function


@pytest.mark.parametrize(
    ("completion", "reference", "score"),
    [
        ("the goat", "the goat", 1.0),
        (" The GOAT. ", "the goat", 1.0),
        ("goat the", "the goat", 1.0),
        ("the goat eats", "the goat", 2 * (2 / 3) * 1 / (2 / 3 + 1)),
        ("goat goat goat", "the goat", 2 * 1 / 5),
        ("the the goat", "the goat the the", 2 * 3 / 7),
        ("a sheep", "the goat", 0.0),
        ("", "the goat", 0.0),
        ("the goat", "", 0.0),
        ("", "", 1.0),
        (" ", "", 1.0),
        ("Straße", "STRASSE", 1.0),
        ("chèvre", "chevre", 0.0),
        ("?!", "?!", 1.0),
        ("?", "goat", 0.0),
    ],
)
def test_f1_is_the_harmonic_mean_of_precision_and_recall(completion, reference, score):
    scores = unigram_f1(["p"], [completion], reference=[reference])
    assert scores == [pytest.approx(score)]


@given(st.lists(st.sampled_from("ab c"), max_size=8), st.lists(st.sampled_from("ab c"), max_size=8))
def test_f1_is_symmetric_and_between_0_and_1(first, second):
    texts = " ".join(first), " ".join(second)
    (there,) = unigram_f1([""], [texts[0]], reference=[texts[1]])
    (back,) = unigram_f1([""], [texts[1]], reference=[texts[0]])
    assert there == back
    assert 0 <= there <= 1


@pytest.mark.parametrize(
    ("completion", "reference", "score"),
    [
        ("12", "12", 1.0),
        (" 12\n", "12", 1.0),
        ("a  b", " a b", 1.0),
        ("12", "123", 0.0),
        ("1 2", "12", 0.0),
        ("Goat", "goat", 0.0),
        ("", "", 1.0),
        ("", "12", 0.0),
    ],
)
def test_a_match_is_exact_but_for_spaces(completion, reference, score):
    assert exact_match(["p"], [completion], reference=[reference]) == [score]


@pytest.mark.parametrize("reward", [unigram_f1, exact_match])
def test_they_keep_the_contract_of_rewards(reward):
    check_reward_function(reward, columns={"reference": "a goat"})


@pytest.mark.parametrize("name", ["unigram_f1", "exact_match"])
def test_they_are_rewards_by_name(name):
    reward = resolve(f"textgym.tasks.scoring:{name}")
    assert reward([""], ["goat"], reference=["goat"]) == [1.0]
