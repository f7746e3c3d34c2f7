"""What is measured of rewards in a cell, worked out by hand."""

import math

import numpy as np
import pytest

from agents.comparing.contenders import Budget, _config
from agents.comparing.measures import Panel, best_of_n_snapshots, finite, predictors, summary
from textgym.rewards import RewardError
from textgym.types import Example

MINE = np.array([[0.0, 1.0, 1.0], [5.0, 4.0, 6.0]])
GOLD = np.array([[0.0, 1.0, 2.0], [0.0, 0.0, 3.0]])


def snapshots(golds, mine):
    return [
        {"kl": kl, "scores": {"gold": {"mean": g}, "mine": {"mean": m}}}
        for kl, g, m in zip((0.0, 1.0), golds, mine, strict=True)
    ]


def test_what_is_known_beforehand_by_hand():
    """Of five pairs that the gold tells apart four are right and one is a tie.

    The gold tells three of them apart by 2 or less, the tie among them.
    """
    found = predictors(MINE, GOLD, snapshots((1.0, 2.5), (3.0, 4.0)), "mine")
    assert found["accuracy"] == pytest.approx(4.5 / 5)
    assert found["hard accuracy"] == pytest.approx(2.5 / 3)
    assert found["best-of-n gain"] == pytest.approx(1.5 / math.sqrt(8 / 6))
    whole = 79 / 6 - (17 / 6) ** 2
    assert found["spread"] == pytest.approx(math.sqrt((2 / 9 + 2 / 3) / 2 / whole))


def test_a_reward_that_is_turned_round_is_wrong_where_it_was_right():
    found = predictors(-MINE, GOLD, snapshots((1.0, 0.5), (3.0, 4.0)), "mine")
    assert found["accuracy"] == pytest.approx(0.5 / 5)
    assert found["best-of-n gain"] < 0


def test_a_gold_that_says_nothing_leaves_nothing_to_know():
    found = predictors(MINE, np.ones((2, 3)), snapshots((1.0, 1.0), (3.0, 4.0)), "mine")
    assert (found["accuracy"], found["hard accuracy"], found["best-of-n gain"]) == (None,) * 3


def test_the_best_of_two_is_the_reward_s_choice_and_the_gold_s_score_of_it():
    scores = {
        "mine": np.array([[1.0, 2.0], [4.0, 3.0]]),
        "gold": np.array([[5.0, 7.0], [0.0, 1.0]]),
    }
    one, two = best_of_n_snapshots(scores, "mine", 10.4)
    assert (one["n"], one["tokens"], one["kl"]) == (1, 10, 0.0)
    assert (two["n"], two["tokens"]) == (2, 21)
    assert two["kl"] == pytest.approx(math.log(2) - 1 / 2)
    means = [{name: each["mean"] for name, each in of["scores"].items()} for of in (one, two)]
    assert means == [{"mine": 2.5, "gold": 3.25}, {"mine": 3.0, "gold": 3.5}]


def test_a_summary_is_a_mean_and_a_deviation():
    found = summary({"mine": np.array([1.0, 3.0, 5.0])})
    assert found["mine"] == {"mean": 3.0, "deviation": pytest.approx(math.sqrt(8 / 3))}


def test_what_json_has_no_word_for_is_none():
    assert finite({"a": [math.nan, 1.0], "b": {"c": math.inf}, "d": "e"}) == {
        "a": [None, 1.0],
        "b": {"c": None},
        "d": "e",
    }


def fails(prompts, completions, **columns):
    raise RuntimeError("no judge is there")


def length(prompts, completions, **columns):
    return [float(len(text)) for text in completions]


@pytest.mark.parametrize("name", ["mine", "gold"])
def test_who_trains_and_who_judges_must_not_fail(name):
    specs = {"mine": length, "gold": length, "other": length, name: fails}
    with pytest.raises(RewardError, match="no judge is there"):
        Panel(specs, "mine").score([Example(prompt="p")], ["a"])


def test_another_reward_that_fails_is_missing_and_is_asked_no_more():
    panel = Panel({"mine": length, "gold": length, "other": fails}, "mine")
    examples = [Example(prompt="p"), Example(prompt="q")]
    for _ in range(2):
        assert panel.score(examples, ["a", "bc"]).keys() == {"mine", "gold"}
    assert (panel.calls, panel.texts) == (4, 8)
    assert panel.missing.keys() == {"other"}
    assert panel.score(examples, ["a", "bc"], only=["gold"]).keys() == {"gold"}


class Envs:
    num_envs, max_actions = 8, 5


def test_a_learner_has_the_cell_s_seed_and_iterations_for_its_tokens():
    """Of 8 texts of 5 tokens at most three are enough for 100, and not two."""
    budget = Budget(
        tokens=100, seed=7, seconds=None, policy="", settings={"epochs": 2}, deadline=0.0
    )
    config = _config("ppo", Envs, budget)
    assert (config.seed, config.epochs, config.iterations) == (7, 2, 3)
