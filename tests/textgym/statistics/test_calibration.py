"""Calibration against tables worked by hand, closed forms and drawn labels."""

import math

import numpy as np
import pytest

from textgym.statistics.bootstrap import cluster_interval
from textgym.statistics.calibration import (
    brier,
    calibration_error,
    chance_calibration_error,
    cross_fitted,
    fit_temperature,
    negative_log_likelihood,
    probabilities,
    reliability,
    reliability_part,
)


def drawn_leads(rng, number, sharpness=1.0):
    """Leads of the chosen one where the labels are drawn from scores that are then sharpened."""
    difference = rng.normal(size=number)
    first_is_chosen = rng.random(number) < 1 / (1 + np.exp(-difference))
    return sharpness * np.where(first_is_chosen, difference, -difference)


def test_calibration_error_equals_a_table_worked_by_hand():
    """Two bins of two: confidences .6 and .9, accuracies 1/2 and 1, so (.1 + .1) / 2."""
    given = [0.6, 0.4, 0.9, 0.9]
    assert math.isclose(0.1, calibration_error(given, bins=2), abs_tol=1e-12)


def test_bins_of_unequal_size_count_by_their_pairs():
    """Three pairs in two bins, two and one: (2 * |1 - .65| + 1 * |0 - .9|) / 3."""
    parts = reliability([0.6, 0.7, 0.1], bins=2)
    assert [part.pairs for part in parts] == [2, 1]
    assert [part.accuracy for part in parts] == [1.0, 0.0]
    np.testing.assert_allclose([0.65, 0.9], [part.confidence for part in parts])
    assert math.isclose((0.7 + 0.9) / 3, calibration_error([0.6, 0.7, 0.1], bins=2))


def test_a_calibrated_reward_has_a_small_error_and_an_overconfident_one_a_large_one():
    """Labels drawn from the scores' own probabilities, then scores blown up five-fold."""
    rng = np.random.default_rng(0)
    leads = drawn_leads(rng, 20_000)
    assert calibration_error(probabilities(leads)) < 0.02
    assert calibration_error(probabilities(5 * leads)) > 0.15


def test_the_error_of_a_calibrated_reward_is_what_chance_alone_gives():
    """The docstring's rule, .37 sqrt(bins / N), on 200 sets whose confidence is .7 throughout."""
    rng = np.random.default_rng(1)
    given = np.where(rng.random((200, 600)) < 0.7, 0.7, 0.3)
    mean = np.mean([calibration_error(row) for row in given])
    assert mean == pytest.approx(0.37 * math.sqrt(15 / 600), rel=0.05)


def test_chance_gives_a_calibrated_reward_what_it_says():
    """Whatever the confidences: of 1,000 sets drawn, one in twenty is above the bound."""
    rng = np.random.default_rng(2)
    confidence = rng.uniform(0.5, 1, size=400)
    mean, high = chance_calibration_error(confidence, rng, repetitions=1000)
    drawn = np.where(rng.random((1000, 400)) < confidence, confidence, 1 - confidence)
    errors = np.array([calibration_error(row) for row in drawn])
    assert mean == pytest.approx(errors.mean(), rel=0.05)
    assert 0.03 < np.mean(errors > high) < 0.08


def test_a_tie_is_half_right_and_without_confidence():
    (only,) = reliability([0.5])
    assert (only.pairs, only.confidence, only.accuracy) == (1, 0.5, 0.5)


def test_likelihood_and_brier_score_of_a_coin_and_of_certainty():
    """Log 2 and a quarter; and leads of thousands neither overflow nor warn."""
    assert math.isclose(math.log(2), negative_log_likelihood([0.0, 0.0]))
    assert brier(probabilities([0.0])) == 0.25
    assert negative_log_likelihood([5000.0]) == 0.0
    assert negative_log_likelihood([-5000.0]) == 5000.0
    assert brier(probabilities([-5000.0])) == 1.0


@pytest.mark.parametrize("sharpness", [0.2, 1.0, 5.0])
def test_the_temperature_is_found_again(sharpness):
    """Scores sharpened by s have the temperature s, at any scale."""
    leads = drawn_leads(np.random.default_rng(2), 40_000, sharpness)
    temperature = fit_temperature(leads)
    assert temperature == pytest.approx(sharpness, rel=0.05)
    assert calibration_error(probabilities(leads, temperature)) < 0.02


def test_the_temperature_of_two_leads_equals_its_closed_form():
    """Three leads of +1 and one of -1: sigmoid(1 / T) = 3/4, so T = 1 / log 3."""
    assert fit_temperature([1.0, 1.0, 1.0, -1.0]) == pytest.approx(1 / math.log(3), rel=1e-6)


def test_the_temperature_keeps_its_unit():
    """Scores a million times larger have a temperature a million times larger."""
    leads = drawn_leads(np.random.default_rng(3), 500)
    assert fit_temperature(1e6 * leads) == pytest.approx(1e6 * fit_temperature(leads), rel=1e-5)


@pytest.mark.parametrize(
    ("leads", "reason"),
    [
        ([1.0, 0.0, 2.0], "none of 3 pairs is in the wrong order"),
        ([1.0, -3.0], "does not agree with the labels"),
        ([1.0, -1.0], "does not agree with the labels"),
        ([], "no comparison"),
    ],
)
def test_where_there_is_no_best_temperature_the_message_says_why(leads, reason):
    """The search would run to its bound and return it as if it had been found."""
    with pytest.raises(ValueError, match=reason):
        fit_temperature(leads)


def test_each_half_has_the_temperature_of_the_other():
    """Half of the prompts have leads four times as large; they get the small ones' temperature."""
    odds = np.array([2.0, 2.0, 2.0, -2.0])
    leads = np.outer(odds, [1, 4]).ravel()
    prompts = ["small", "large"] * 4
    scaled, temperature = cross_fitted(leads, prompts)
    own = 2 / math.log(3)  # three of four right: sigmoid(lead / own) is 3/4
    assert scaled == pytest.approx(np.where(np.arange(8) % 2, leads / own, leads / (4 * own)))
    assert temperature == pytest.approx(2 * own)


def test_pairs_of_one_prompt_are_halved_one_by_one():
    leads = np.array([1.0, 2.0, -1.0, -2.0, 1.0, 2.0, 1.0, 2.0])
    one, two = (cross_fitted(leads, prompts)[0] for prompts in ([""] * 8, list("abababab")))
    assert one == pytest.approx(two)


@pytest.mark.slow
def test_a_difference_of_reliability_is_as_it_is_and_its_interval_holds_it():
    """Of calibration errors none of 120 did: a calibrated model beside a sharpened one."""
    rng = np.random.default_rng(0)

    def leads(pairs):
        odds = rng.normal(0, 1.5, pairs)
        return odds * np.where(rng.random(pairs) < 1 / (1 + np.exp(-odds)), 1, -1)

    def difference(lead):
        return reliability_part(probabilities(lead)) - reliability_part(probabilities(1.6 * lead))

    truth = difference(leads(1_000_000))
    worlds, held, estimates = 200, 0, []
    for _ in range(worlds):
        lead = leads(1000)
        low, high = cluster_interval(
            lambda rows, lead=lead: difference(lead[rows]), range(1000), rng, repetitions=100
        )
        held += low <= truth <= high
        estimates.append(difference(lead))
    assert np.mean(estimates) == pytest.approx(truth, rel=0.1)
    assert held / worlds == pytest.approx(0.95, abs=0.03)
