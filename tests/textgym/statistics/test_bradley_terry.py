"""Ratings against closed forms and another package's, their ranks against drawn tournaments."""

import math

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from textgym.statistics.bradley_terry import (
    expected_score,
    fit_ratings,
    maximum_likelihood,
    rank_sets,
)


def tournament(rng, strengths, games, ties=0.0):
    """Every two meet equally often; returns names, outcomes and one cluster a game."""
    names = [f"p{number}" for number in range(len(strengths))]
    first, second, outcomes = [], [], []
    for i in range(len(names)):
        for j in range(i):
            half = (strengths[i] - strengths[j]) / 2
            shares = np.array([math.exp(half), ties, math.exp(-half)])
            drawn = rng.choice([1, 0.5, 0], size=games, p=shares / shares.sum())
            first += [names[i]] * games
            second += [names[j]] * games
            outcomes += drawn.tolist()
    return first, second, outcomes


def test_two_players_have_davidson_s_closed_form():
    """The odds are the ratio of wins, and nu is ties over the root of their product."""
    first, second = ["x"] * 60, ["y"] * 60
    outcomes = [1] * 32 + [0] * 18 + [0.5] * 10
    found = fit_ratings(first, second, outcomes, range(60), np.random.default_rng(0), 200)
    assert found.players == ["x", "y"]
    difference = found.ratings[0].value - found.ratings[1].value
    assert difference == pytest.approx(math.log(32 / 18), abs=1e-3)
    assert found.ties == pytest.approx(10 / math.sqrt(32 * 18), abs=1e-3)
    score = float(expected_score(difference, found.ties))
    assert score == pytest.approx((32 + 5) / 60, abs=1e-3)
    assert found.comparisons == [60, 60]


def test_without_ties_the_ratings_are_a_logistic_regression_s():
    rng = np.random.default_rng(0)
    first, second, outcomes = tournament(rng, [0.0, 0.4, 1.0, 1.5], 50)
    design = np.zeros((len(first), 4))
    for row, (one, other) in enumerate(zip(first, second, strict=True)):
        design[row, int(one[1])], design[row, int(other[1])] = 1, -1
    theirs = LogisticRegression(C=1e6, fit_intercept=False, tol=1e-9).fit(design, outcomes).coef_[0]
    found = fit_ratings(first, second, outcomes, range(len(first)), rng, 50)
    ours = {name: each.value for name, each in zip(found.players, found.ratings, strict=True)}
    expected = theirs - theirs.mean()
    assert [ours[f"p{n}"] for n in range(4)] == pytest.approx(expected.tolist(), abs=2e-3)
    assert found.ties == 0


def test_many_tables_at_once_are_each_by_itself():
    rng = np.random.default_rng(1)
    wins = rng.integers(1, 20, size=(6, 3, 3)).astype(float) * (1 - np.eye(3))
    ties = np.triu(rng.integers(1, 5, size=(6, 3, 3)), 1).astype(float)
    ties += ties.transpose(0, 2, 1)
    together = maximum_likelihood(wins, ties)
    for table in range(6):
        alone = maximum_likelihood(wins[table : table + 1], ties[table : table + 1])
        assert together[0][table] == pytest.approx(alone[0][0])
        assert together[1][table] == pytest.approx(alone[1][0])


def test_intervals_and_rank_sets_hold_the_truth_as_often_as_they_say():
    """Of 120 drawn tournaments, two of whose four players are equal."""
    strengths = np.array([0.0, 0.5, 0.5, 1.2])
    true = strengths - strengths.mean()
    rng = np.random.default_rng(0)
    inside, ranked = 0, 0
    for _repetition in range(120):
        first, second, outcomes = tournament(rng, strengths, 40, ties=0.5)
        found = fit_ratings(first, second, outcomes, range(len(first)), rng, 200)
        for name, rating, (best, worst) in zip(
            found.players, found.ratings, found.ranks, strict=True
        ):
            player = int(name[1])
            inside += rating.low <= true[player] <= rating.high
            least = 1 + int((strengths > strengths[player]).sum())
            most = int((strengths >= strengths[player]).sum())
            ranked += not (best <= least and most <= worst)
    assert 0.91 < inside / 480 < 0.985
    assert ranked <= 120 * 0.12  # sets that miss; two misses of one tournament count twice


def test_who_never_lost_has_a_finite_rating():
    found = fit_ratings(["x"] * 9, ["y"] * 9, [1] * 9, range(9), np.random.default_rng(0), 50)
    assert 2 < found.ratings[0].value < 10


def test_ranks_of_players_far_apart_are_certain_and_of_equals_open():
    rng = np.random.default_rng(0)
    centre = np.array([2.0, 0.0, 0.0])
    ranks = rank_sets(centre, centre + rng.normal(0, 0.2, size=(500, 3)))
    assert ranks == [(1, 1), (2, 3), (2, 3)]


@pytest.mark.parametrize(
    ("first", "second", "outcomes", "said"),
    [
        (["a", "c"], ["b", "d"], [1, 0], r"no comparison joins \{a, b\} with \{c, d\}"),
        (["a", "a"], ["b", "b"], [1, 2], "an outcome is 1"),
        (["a", "a"], ["b", "a"], [1, 0], "compared with itself"),
        ([], [], [], "two players or more"),
    ],
)
def test_what_has_no_ratings_says_why(first, second, outcomes, said):
    with pytest.raises(ValueError, match=said):
        fit_ratings(first, second, outcomes, range(len(first)), np.random.default_rng(0))


def test_one_prompt_has_no_interval():
    with pytest.raises(ValueError, match="two prompts or more"):
        fit_ratings(["a", "a"], ["b", "b"], [1, 0], ["p", "p"], np.random.default_rng(0))


def test_extreme_differences_do_not_overflow():
    assert expected_score([1e5, -1e5, 0.0], 1.0).tolist() == [1.0, 0.0, 0.5]
