"""Planned numbers of answers against the field's rule of thumb and against drawn experiments."""

import numpy as np
import pytest

from textgym.statistics.sample_sizes import (
    answers_for_difference,
    answers_for_width,
    detectable_win_rate,
)


def test_five_points_need_385_answers():
    assert answers_for_width(0.05) == 385
    assert answers_for_width(0.05, ties=0.5) == 193


@pytest.mark.parametrize(("rate", "ties"), [(0.6, 0.0), (0.6, 0.4), (0.4, 0.0), (0.55, 0.2)])
def test_so_many_answers_have_the_power_that_was_asked_for(rate, ties):
    """Of 20,000 drawn experiments, four in five are significant by a test of the mean."""
    number = answers_for_difference(rate, ties=ties)
    rng = np.random.default_rng(0)
    wins = rate - ties / 2
    counts = rng.multinomial(number, [wins, ties, 1 - wins - ties], size=20_000)
    means = (counts[:, 0] + counts[:, 1] / 2) / number
    squares = (counts[:, 0] + counts[:, 1] / 4) / number
    errors = np.sqrt((squares - means**2) / number)
    assert (np.abs(means - 0.5) > 1.96 * errors).mean() == pytest.approx(0.8, abs=0.02)


def test_the_least_difference_that_is_seen_is_the_number_turned_round():
    rate = detectable_win_rate(200, ties=0.3)
    assert answers_for_difference(rate, ties=0.3) <= 200
    assert answers_for_difference(rate - 0.001, ties=0.3) > 200
    assert detectable_win_rate(2) is None


@pytest.mark.parametrize(
    "call",
    [
        lambda: answers_for_difference(0.5),
        lambda: answers_for_difference(0.9, ties=0.5),
        lambda: answers_for_difference(0.6, power=1.0),
        lambda: answers_for_width(0.0),
        lambda: detectable_win_rate(0),
    ],
)
def test_impossible_plans_are_refused(call):
    with pytest.raises(ValueError, match=r"give|show nothing"):
        call()
