"""Two scores of each prompt: wins by hand, and differences by another route."""

import numpy as np
import pytest

from textgym.statistics.bootstrap import Estimate, bootstrap_interval
from textgym.statistics.comparisons import WinRate, paired_difference, win_rate


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
