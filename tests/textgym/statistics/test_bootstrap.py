"""Intervals that draw values or prompts: too narrow an interval is the error to keep away."""

import math

import numpy as np
import pytest
from scipy.stats import binom

from textgym.statistics.bootstrap import (
    bootstrap_interval,
    cluster_interval,
    cluster_mean_interval,
    weighted_interval,
)


def width(interval):
    return interval[1] - interval[0]


def test_it_is_the_bootstrap_of_prompts_not_of_rows():
    """100 prompts with 25 equal rows each say as much as 100 rows: 2 * 1.96 sd / sqrt(100)."""
    rng = np.random.default_rng(0)
    values = np.repeat(rng.normal(size=100), 25)
    prompts = np.repeat(np.arange(100), 25).tolist()
    expected = 2 * 1.96 * values.std() / 10
    actual = width(cluster_mean_interval(values, prompts, rng))
    assert actual == pytest.approx(expected, rel=0.05)
    by_row = width(cluster_mean_interval(values, list(range(2500)), rng))
    assert by_row == pytest.approx(expected / 5, rel=0.05)


def test_it_holds_the_truth_as_often_as_it_says():
    """400 worlds of 60 prompts with 1 to 5 alike rows each, whose mean is 0."""
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(400):
        sizes = rng.integers(1, 6, size=60)
        prompts = np.repeat(np.arange(60), sizes)
        values = rng.normal(size=60)[prompts] + 0.3 * rng.normal(size=sizes.sum())
        low, high = cluster_mean_interval(values, prompts.tolist(), rng, repetitions=300)
        held += low <= 0 <= high
    assert 0.90 < held / 400 < 0.98


def test_prompts_of_unequal_size_keep_their_weight():
    """The mean is over rows: one prompt with 3 ones and one with a zero, in 3 of 4 resamples."""
    rng = np.random.default_rng(2)
    low, high = cluster_mean_interval([1, 1, 1, 0], "aaab", rng, confidence=0.4)
    assert (low, high) == (0.75, 0.75)


def test_the_general_form_agrees_with_the_one_for_means():
    values = np.random.default_rng(3).normal(size=90)
    prompts = [number % 30 for number in range(90)]
    general = cluster_interval(
        lambda rows: float(values[rows].mean()), prompts, np.random.default_rng(4), 4000
    )
    mean = cluster_mean_interval(values, prompts, np.random.default_rng(5), 4000)
    np.testing.assert_allclose(mean, general, atol=0.03)


def test_the_same_seed_gives_the_same_interval():
    """Published intervals that cannot be had again are none."""
    pair = [cluster_mean_interval([1, 2, 4], "abc", np.random.default_rng(7)) for _ in range(2)]
    assert pair[0] == pair[1]


def test_resamples_without_a_value_are_left_out_and_none_at_all_is_an_error():
    """As a correlation has none among equal values."""

    def nan_if_same(rows):
        return np.nan if len(set(rows.tolist())) == 1 else 1.0

    assert cluster_interval(nan_if_same, "ab", np.random.default_rng(0)) == (1.0, 1.0)
    with pytest.raises(ValueError, match="no value in any resample"):
        cluster_interval(lambda rows: np.nan, "ab", np.random.default_rng(0))


@pytest.mark.parametrize(
    ("values", "prompts", "reason"),
    [([1, 2], "aa", "there are 1"), ([1, 2], "abc", "2 values came with 3 clusters")],
)
def test_what_gives_no_interval_is_refused(values, prompts, reason):
    with pytest.raises(ValueError, match=reason):
        cluster_mean_interval(values, prompts, np.random.default_rng(0))


def test_bootstrap_of_a_share_equals_the_binomial_quantiles():
    """The resampled mean of 10 zeros and 10 ones is Binomial(20, 1/2) / 20, exactly."""
    values = np.repeat([0.0, 1.0], 10)
    expected = binom.ppf([0.025, 0.975], 20, 0.5) / 20
    actual = bootstrap_interval(values, np.random.default_rng(0))
    np.testing.assert_allclose(actual, expected, atol=1e-12)


def test_bootstrap_of_a_mean_has_the_width_that_theory_gives_it():
    """For many values the interval is mean +- 1.96 sigma / sqrt(N)."""
    values = np.random.default_rng(0).normal(5, 2, size=4000)
    half = 1.959964 * values.std() / np.sqrt(4000)
    expected = (values.mean() - half, values.mean() + half)
    assert expected == pytest.approx(
        bootstrap_interval(values, np.random.default_rng(1)), abs=0.003
    )


def test_bootstrap_takes_any_statistic_and_a_seed_decides_it():
    """The maximum of resamples never exceeds the maximum; equal generators, equal intervals."""
    values = np.arange(10.0)
    first = bootstrap_interval(values, np.random.default_rng(3), np.max, repetitions=500)
    again = bootstrap_interval(values, np.random.default_rng(3), lambda row: sorted(row)[-1], 500)
    assert first[1] == 9.0
    assert first == again


def test_one_value_has_no_bootstrap_interval():
    """Every resample of one value is that value: an interval of width 0 would be a lie."""
    with pytest.raises(ValueError, match="2 or more values"):
        bootstrap_interval([1.0], np.random.default_rng(0))


def test_weights_give_the_interval_of_a_mean_that_clusters_give():
    """20 prompts with one row each: counts times values over 20, for two statistics at once."""
    values = np.random.default_rng(6).normal(size=(20, 2))
    low, high = weighted_interval(
        lambda counts: counts @ values / 20, 20, np.random.default_rng(7), 4000
    )
    assert (low.shape, high.shape) == ((2,), (2,))
    for column in range(2):
        expected = cluster_mean_interval(
            values[:, column], list(range(20)), np.random.default_rng(8), 4000
        )
        np.testing.assert_allclose(expected, (low[column], high[column]), atol=0.03)


def test_an_end_among_infinite_values_is_one_of_them():
    """Between two infinities there is no number: interpolation would give NaN."""

    def statistic(counts):
        return np.where(counts[:, 0] > 0, 1.0, math.inf)

    low, high = weighted_interval(statistic, 2, np.random.default_rng(0), interpolated=False)
    assert (float(low), float(high)) == (1.0, math.inf)


def test_weights_of_one_unit_or_without_a_value_are_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="two units or more"):
        weighted_interval(lambda counts: counts[:, 0], 1, rng)
    with pytest.raises(ValueError, match="no value in any resample"):
        weighted_interval(lambda counts: counts[:0, 0], 2, rng)
