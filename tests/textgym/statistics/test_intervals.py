"""Intervals against published tables, closed forms and each other."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from textgym.statistics.intervals import (
    Estimate,
    WinRate,
    bootstrap_interval,
    paired_difference,
    wilson_interval,
    win_rate,
)

# A busy machine is no counterexample.
PATIENT = settings(deadline=None, derandomize=True)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_equals_the_published_table(successes, trials, low, high):
    """Newcombe (1998), "Two-sided confidence intervals for the single proportion", table I."""
    assert (low, high) == pytest.approx(wilson_interval(successes, trials), abs=5e-5)


@PATIENT
@given(st.integers(1, 500), st.floats(0, 1), st.sampled_from([0.8, 0.95, 0.99]))
def test_wilson_equals_scipy_on_whole_counts(trials, share, confidence):
    """Our formula takes halves as well, which scipy's does not; on whole counts they agree."""
    successes = round(share * trials)
    expected = binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    actual = wilson_interval(successes, trials, confidence)
    assert (expected.low, expected.high) == pytest.approx(actual, abs=1e-12)


@PATIENT
@given(st.integers(1, 500), st.floats(0, 1))
def test_wilson_mirrors_and_holds_the_share(trials, share):
    """Counting failures instead turns the interval round; it lies in [0, 1] and holds the share."""
    successes = round(2 * share * trials) / 2
    low, high = wilson_interval(successes, trials)
    mirrored = wilson_interval(trials - successes, trials)
    assert (1 - high, 1 - low) == pytest.approx(mirrored, abs=1e-12)
    assert 0 <= low <= successes / trials <= high <= 1


@pytest.mark.parametrize(
    ("successes", "trials", "confidence"),
    [(0, 0, 0.95), (-1, 5, 0.95), (6, 5, 0.95), (float("nan"), 5, 0.95), (1, 5, 1), (1, 5, 95)],
)
def test_wilson_refuses_what_cannot_be(successes, trials, confidence):
    """Impossible counts, and a confidence in per cent."""
    with pytest.raises(ValueError, match="give"):
        wilson_interval(successes, trials, confidence)


def test_win_rate_counts_a_tie_as_half_a_win():
    """Two wins, one tie, one loss: 2.5 of 4, and Wilson's interval of that share by hand."""
    result = win_rate([3, 2, 1, 0], [1, 1, 1, 1])
    z = 1.959963984540054
    spread = z * (0.625 * 0.375 / 4 + z**2 / 64) ** 0.5
    expected = WinRate(
        rate=0.625,
        low=pytest.approx((0.625 + z**2 / 8 - spread) / (1 + z**2 / 4)),
        high=pytest.approx((0.625 + z**2 / 8 + spread) / (1 + z**2 / 4)),
        wins=2,
        ties=1,
        losses=1,
    )
    assert expected == result


def test_win_rate_turns_round_with_its_arguments():
    """What the candidate wins the baseline loses; against itself all is a tie."""
    rng = np.random.default_rng(0)
    candidate, baseline = rng.integers(0, 4, size=(2, 50))
    one, other = win_rate(candidate, baseline), win_rate(baseline, candidate)
    assert (one.wins, one.ties, one.losses) == (other.losses, other.ties, other.wins)
    assert 1 - one.rate == pytest.approx(other.rate)
    assert ((itself := win_rate(candidate, candidate)).rate, itself.ties) == (0.5, 50)


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


def test_paired_difference_sees_what_unpaired_noise_would_hide():
    """Prompts differ by 100, the candidate adds 1 to each: the interval is the point 1."""
    baseline = np.linspace(0, 100, 30)
    actual = paired_difference(baseline + 1, baseline, np.random.default_rng(0))
    assert pytest.approx((actual.value, actual.low, actual.high)) == (1.0, 1.0, 1.0)


def test_paired_difference_is_the_bootstrap_of_the_differences():
    """The same generator gives the same interval by either way."""
    candidate, baseline = np.random.default_rng(0).normal(size=(2, 40))
    low, high = bootstrap_interval(candidate - baseline, np.random.default_rng(7), repetitions=300)
    expected = Estimate(value=float(np.mean(candidate - baseline)), low=low, high=high)
    assert expected == paired_difference(candidate, baseline, np.random.default_rng(7), 300)


@pytest.mark.parametrize(
    ("candidate", "baseline", "message"),
    [
        ([1.0, 2.0], [1.0, 2.0, 3.0], "candidate has 2 values and baseline 3"),
        ([1.0, float("nan")], [1.0, 2.0], r"candidate\[1\] is nan"),
        ([[1.0], [2.0]], [1.0, 2.0], r"candidate has shape \(2, 1\)"),
        ([], [], r"candidate has shape \(0,\)"),
    ],
)
def test_pairs_that_do_not_fit_are_refused(candidate, baseline, message):
    """Broadcasting would silently compare every prompt with every other; NaN would be a loss."""
    with pytest.raises(ValueError, match=message):
        win_rate(candidate, baseline)
    with pytest.raises(ValueError, match=message):
        paired_difference(candidate, baseline, np.random.default_rng(0))


def test_one_value_has_no_bootstrap_interval():
    """Every resample of one value is that value: an interval of width 0 would be a lie."""
    with pytest.raises(ValueError, match="2 or more values"):
        bootstrap_interval([1.0], np.random.default_rng(0))
