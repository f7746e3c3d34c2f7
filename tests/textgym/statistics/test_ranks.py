"""Ranks that noise has had a hand in: coverage by simulation, values against scipy."""

import numpy as np
import pytest
from scipy import stats

from textgym.statistics.ranks import rank_correlation, rank_intervals


def pairs(intervals):
    return [(each.low, each.high) for each in intervals]


def test_what_is_far_apart_has_one_rank_and_what_is_alike_shares_them():
    noise = np.random.default_rng(0).normal(scale=0.01, size=(4, 5))
    runs = np.array([[3.0], [0.0], [0.0], [-2.0]]) + noise
    assert pairs(rank_intervals(runs)) == [(1, 1), (2, 3), (2, 3), (4, 4)]


def test_a_method_with_too_few_runs_may_have_any_rank():
    runs = np.array([[5.0, 5.1, 4.9, 5.0], [0.0, 0.1, 0.05, 0.0], [np.nan, np.nan, 9.0, 9.1]])
    assert pairs(rank_intervals(runs)) == [(1, 2), (2, 3), (1, 3)]


@pytest.mark.parametrize("seeds", [3, 5])
def test_a_true_rank_is_inside_at_least_as_often_as_asked_for(seeds):
    """Means half a standard deviation apart, so that there is much to get wrong."""
    rng, held = np.random.default_rng(3), np.zeros(4)
    for _ in range(300):
        runs = np.array([[1.5], [1.0], [0.5], [0.0]]) + rng.normal(size=(4, seeds))
        found = rank_intervals(runs)
        held += [each.low <= rank <= each.high for rank, each in enumerate(found, start=1)]
    assert (held >= 0.93 * 300).all()


def test_plain_order_would_be_wrong_far_more_often():
    rng, wrong = np.random.default_rng(3), 0
    for _ in range(300):
        means = (np.array([[1.5], [1.0], [0.5], [0.0]]) + rng.normal(size=(4, 5))).mean(axis=1)
        wrong += list(np.argsort(-means)) != [0, 1, 2, 3]
    assert wrong > 0.3 * 300


def test_a_single_method_is_the_first():
    assert pairs(rank_intervals([[1.0, 2.0]])) == [(1, 1)]
    with pytest.raises(ValueError, match="a row a method"):
        rank_intervals([1.0, 2.0])


def test_the_correlation_is_scipys():
    rng = np.random.default_rng(0)
    x = rng.normal(size=9)
    y = x + rng.normal(size=9)
    found = rank_correlation(x, y)
    assert stats.spearmanr(x, y).statistic == pytest.approx(found.value)
    assert found.low < found.value < found.high


@pytest.mark.parametrize("items", [5, 8, 20])
def test_its_interval_holds_the_truth_about_as_often_as_it_says(items):
    """Of two normal figures with correlation .6 the rank correlation is 6/pi asin(.3) = .582."""
    rng, truth, held = np.random.default_rng(items), 6 / np.pi * np.arcsin(0.3), 0
    for _ in range(400):
        x = rng.normal(size=items)
        found = rank_correlation(x, 0.6 * x + 0.8 * rng.normal(size=items))
        held += found.low <= truth <= found.high
    assert held > 0.925 * 400


def test_a_perfect_order_of_few_items_is_not_taken_for_certain():
    found = rank_correlation([1, 2, 3, 4, 5], [2, 3, 5, 7, 11])
    assert found.value == pytest.approx(1.0)
    assert found.low < 0.8


def test_too_few_items_and_equal_ones_are_refused():
    with pytest.raises(ValueError, match="5 or more"):
        rank_correlation([1, 2, 3, 4], [1, 2, 3, 4])
    with pytest.raises(ValueError, match="nothing to rank"):
        rank_correlation([1, 1, 1, 1, 1], [1, 2, 3, 4, 5])


@pytest.mark.parametrize(("t", "first"), [(3.3, (1, 2)), (3.6, (1, 1))])
def test_a_level_is_shared_out_among_all_that_one_is_compared_with(t, first):
    """Of five pairs Student's bound is 2.78 for one comparison, and 3.50 for each of two."""
    apart = t / np.sqrt(5) + np.arange(-2, 3) * np.sqrt(0.4)  # of deviation 1
    best, *_ = rank_intervals([apart, np.zeros(5), np.full(5, -100.0)])
    assert (best.low, best.high) == first
    alone, _ = rank_intervals([apart, np.zeros(5)])
    assert (alone.low, alone.high) == (1, 1)
