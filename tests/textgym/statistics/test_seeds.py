"""What few runs say: against scipy's own routines, closed forms, and simulations of coverage."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from textgym.statistics.seeds import (
    improvement,
    interquartile_mean,
    profile,
    seed_interval,
    smallest_difference,
)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8, 11])
def test_the_interquartile_mean_is_scipys_trimmed_mean(count):
    values = np.random.default_rng(count).normal(size=count)
    assert stats.trim_mean(values, 0.25) == pytest.approx(interquartile_mean(values))


def test_of_three_runs_the_interval_is_students():
    """There the interquartile mean is the mean; resamples have an error of a few in a hundred."""
    runs = [0.2, 0.5, 0.9]
    low, high = stats.t.interval(0.95, 2, np.mean(runs), stats.sem(runs))
    found = seed_interval([runs], np.random.default_rng(0), repetitions=20_000)
    assert (found.value, found.low, found.high) == pytest.approx((np.mean(runs), low, high), 0.02)


@pytest.mark.parametrize("counts", [(3,), (5,), (10,), (3, 3), (5, 5, 5)])
@pytest.mark.parametrize("draw", ["normal", "uniform"])
def test_the_interval_holds_the_truth_about_as_often_as_it_says(counts, draw):
    """Over 1,500 studies it was .92 (three uniform runs) to .98 (two by three normal ones)."""
    rng = np.random.default_rng(7)
    held = 0
    for _ in range(600):
        strata = [getattr(rng, draw)(size=count) for count in counts]
        found = seed_interval(strata, rng, repetitions=300)
        held += found.low <= {"normal": 0.0, "uniform": 0.5}[draw] <= found.high
    assert 0.9 * 600 < held < 0.995 * 600


def test_percentiles_alone_would_be_far_too_narrow():
    """What the interval above is there to avoid: seven cases in ten with three runs."""
    rng, held = np.random.default_rng(1), 0
    for _ in range(400):
        runs = rng.normal(size=3)
        means = runs[rng.integers(0, 3, (300, 3))].mean(axis=1)
        low, high = np.quantile(means, [0.025, 0.975])
        held += low <= 0 <= high
    assert held < 0.85 * 400


def test_equal_runs_have_an_interval_of_no_width():
    found = seed_interval([[1.0, 1.0, 1.0]], np.random.default_rng(0))
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)


def test_two_runs_have_no_interval():
    with pytest.raises(ValueError, match="3 or more"):
        seed_interval([[1.0, 2.0, 3.0], [1.0, 2.0]], np.random.default_rng(0))
    with pytest.raises(ValueError, match="no runs"):
        seed_interval([], np.random.default_rng(0))


@pytest.mark.parametrize("runs", [3, 5, 10])
def test_the_smallest_difference_is_found_in_four_studies_of_five(runs):
    """By simulation: scipy's own test of paired runs that differ by it."""
    rng = np.random.default_rng(runs)
    shift = smallest_difference(2.0, runs)
    studies = rng.normal(shift, 2.0, size=(4000, runs))
    found = stats.ttest_1samp(studies, 0.0, axis=1).pvalue < 0.05
    assert found.mean() == pytest.approx(0.8, abs=0.03)


def test_the_smallest_difference_grows_with_the_noise_and_needs_three_runs():
    assert smallest_difference(3.0, 5) == pytest.approx(3 * smallest_difference(1.0, 5))
    assert smallest_difference(0.0, 5) == 0
    for deviation, runs in ((1.0, 2), (math.nan, 5), (-1.0, 5)):
        with pytest.raises(ValueError, match="no smallest difference"):
            smallest_difference(deviation, runs)


def test_the_probability_of_improvement_is_the_share_of_all_pairs():
    """Counted pair by pair, and by scipy's Mann-Whitney U over m n; strata count alike."""
    first, second = [[3.0, 1.0, 2.0], [5.0, 5.0, 7.0, 1.0]], [[2.0, 0.0, 1.0, 2.0], [5.0, 6.0, 0.0]]
    shares = []
    for x, y in zip(first, second, strict=True):
        wins = [1.0 if a > b else 0.5 if a == b else 0.0 for a, b in itertools.product(x, y)]
        shares.append(sum(wins) / len(wins))
        u = stats.mannwhitneyu(x, y, method="asymptotic").statistic
        assert shares[-1] == pytest.approx(u / (len(x) * len(y)))
    found = improvement(first, second)
    assert found.value == pytest.approx(sum(shares) / 2)
    back = improvement(second, first)
    assert (back.low, back.high) == pytest.approx((1 - found.high, 1 - found.low))


def test_an_improvement_of_five_runs_over_five_is_not_certain():
    """What Newcombe's method gives where all are above: 0 failures of 25 pairs, by hand.

    There (1 - p)^2 = z^2 p (1 - p) (1 + 4 (1 - p) / (2 - p) + 4 p / (1 + p)) / 25.
    """
    found = improvement([np.arange(5) + 9.0], [np.arange(5.0)])
    assert (found.value, found.high) == (1.0, 1.0)
    p, z = found.low, stats.norm.ppf(0.975)
    right = z**2 * p * (1 - p) * (1 + 4 * (1 - p) / (2 - p) + 4 * p / (1 + p)) / 25
    assert (1 - p) ** 2 == pytest.approx(right)
    assert 0.5 < found.low < 0.8


@pytest.mark.parametrize("shift", [0.0, 1.0, 2.0])
@pytest.mark.parametrize(("strata", "runs"), [(1, 3), (1, 5), (3, 5), (2, 10)])
def test_the_interval_of_an_improvement_holds_it(shift, strata, runs):
    """Of normal runs, a shift of d makes it Phi(d / sqrt 2)."""
    rng, held, studies = np.random.default_rng(3), 0, 400
    truth = stats.norm.cdf(shift / math.sqrt(2))
    for _ in range(studies):
        found = improvement(
            list(rng.normal(shift, size=(strata, runs))), list(rng.normal(size=(strata, runs)))
        )
        held += found.low <= truth <= found.high
    assert held > 0.91 * studies


def test_a_profile_is_the_share_of_runs_above_each_level():
    """Of 1, 2, 2, 4: counted; Wilson's ends of 1 of 4 are scipy's."""
    found = profile([[1.0, 2.0], [2.0, 4.0]], [0.0, 2.0, 4.0])
    assert [each.value for each in found] == [1.0, 0.25, 0.0]
    ends = stats.binomtest(1, 4).proportion_ci(method="wilson")
    assert (found[1].low, found[1].high) == pytest.approx((ends.low, ends.high))
    (few,) = profile([[1.0, 2.0]], [1.5])
    assert (few.value, few.low, few.high) == (0.5, 0.0, 1.0)


@pytest.mark.parametrize("truth", [0.5, 0.9])
def test_the_interval_of_a_profile_holds_the_share(truth):
    """Uniform runs are above a level as often as it lies below 1."""
    rng, studies = np.random.default_rng(5), 500
    held = 0
    for _ in range(studies):
        (found,) = profile(list(rng.random((3, 5))), [1 - truth])
        held += found.low <= truth <= found.high
    assert held > 0.91 * studies


def test_an_improvement_needs_three_runs_of_as_many_strata():
    with pytest.raises(ValueError, match="1 and 2 strata"):
        improvement([[1.0, 2.0, 3.0]], [[1.0, 2.0, 3.0]] * 2)
    with pytest.raises(ValueError, match="3 or more"):
        improvement([[1.0, 2.0]], [[1.0, 2.0, 3.0]])


def test_runs_are_drawn_inside_their_strata():
    """Those of each are alike, so that no draw inside them changes the middle."""
    found = seed_interval([[1.0] * 3, [5.0] * 3], np.random.default_rng(0))
    assert (found.low, found.value, found.high) == (3.0, 3.0, 3.0)
