"""Curves that are worked out by hand, and curves of a known form that the fit must find again."""

import math

import numpy as np
import pytest

from textgym.statistics.overoptimisation import fit_learner, gamma, value_at_kl


def test_a_value_lies_on_the_line_over_the_root_of_kl():
    """From d = 1 to d = 3 the value goes from 10 to 20; at KL 4 d is 2."""
    assert value_at_kl([0.0, 1.0, 9.0], [0.0, 10.0, 20.0], 4.0) == pytest.approx(15.0)
    assert value_at_kl([0.0, 1.0, 9.0], [0.0, 10.0, 20.0], 9.0) == pytest.approx(20.0)


def test_a_kl_that_was_never_reached_has_no_value():
    assert math.isnan(value_at_kl([0.0, 1.0], [0.0, 1.0], 4.0))


def test_what_counts_is_when_it_was_first_reached():
    assert value_at_kl([-0.01, 4.0, 1.0, 4.0], [0.0, 2.0, 5.0, 9.0], 4.0) == pytest.approx(2.0)
    assert value_at_kl([2.0, 4.0], [7.0, 8.0], 1.0) == 7.0


@pytest.mark.parametrize(("alpha", "beta"), [(1.5, 0.7), (2.0, 1.0), (-0.5, 0.3)])
def test_the_fit_finds_the_form_again(alpha, beta):
    kl = np.array([0.0, 0.5, 1.0, 4.0, 9.0, 20.0])
    d = np.sqrt(kl[1:])
    found = fit_learner(kl, [0.0, *(d * (alpha - beta * np.log(d)))])
    assert (alpha, beta, 1.0) == pytest.approx((found.alpha, found.beta, found.r_squared))
    grid = np.linspace(0.001, 60, 600_000)
    peak = grid[np.argmax(grid * (alpha - beta * np.log(grid)))] ** 2
    assert found.peak_kl == pytest.approx(peak, rel=0.02)


def test_what_only_rises_has_no_peak_and_two_points_no_fit():
    assert fit_learner([0, 1, 4, 9], [0, 1, 3, 6]).peak_kl is None
    with pytest.raises(ValueError, match="cannot be fitted"):
        fit_learner([0, 1, 4], [0, 1, 2])


def test_gamma_is_the_area_between_over_the_gold_s():
    """Over d = 0, 1, 2 the proxy gains 0, 1, 2 and the gold 0, 1, 0: areas 1 and 1."""
    assert gamma([0, 1, 4], [5.0, 7.0, 9.0], [1.0, 4.0, 1.0]) == pytest.approx(1.0)
    assert gamma([0, 1, 4], [0, 1, 2], [0, 10, 20]) == pytest.approx(0.0)
    assert math.isnan(gamma([0, 1, 4], [0, 1, 2], [0, -1, -2]))
    assert math.isnan(gamma([0, 1], [0, 1], [0, 1]))


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="one each"):
        value_at_kl([0, 1], [0], 1)
