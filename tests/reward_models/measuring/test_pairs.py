"""Pair accuracy and calibration, against numbers from outside."""

import pytest

from reward_models.measuring.pairs import evaluate_reward
from reward_models.preferences import Preference


def preference(chosen, rejected):
    return Preference(pair_id=f"{chosen}/{rejected}", prompt="", chosen=chosen, rejected=rejected)


def as_number(prompts, completions, **columns):
    """A reward that is written in the text."""
    return [float(text) for text in completions]


def test_accuracy_counts_a_tie_as_half():
    """Three right, one wrong, one tie out of five; 'chosen >= rejected' would say four."""
    pairs = [("1", "0"), ("5", "2"), ("3", "-3"), ("0", "1"), ("2", "2")]
    report = evaluate_reward(as_number, [preference(*pair) for pair in pairs])
    assert (report.pairs, report.ties, report.accuracy) == (5, 1, 0.7)
    assert report.low < 0.7 < report.high


def test_the_brier_score_of_even_scores_is_that_of_a_coin():
    """(1 - .5)^2; and a certain right answer costs nothing."""
    assert evaluate_reward(as_number, [preference("1", "1")]).brier == 0.25
    assert evaluate_reward(as_number, [preference("900", "0")]).brier == 0.0


def test_no_comparison_is_an_error():
    """A mean over nothing is NaN, and NaN passes every threshold that is written the wrong way."""
    with pytest.raises(ValueError, match="at least one"):
        evaluate_reward(as_number, [])
