"""Intervals that draw prompts: too narrow an interval is the error to keep away."""

import numpy as np
import pytest

from textgym.statistics.bootstrap import cluster_interval, cluster_mean_interval


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
