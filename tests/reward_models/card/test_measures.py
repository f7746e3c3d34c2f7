"""A number with its interval, or the reason why there is none."""

import math

import pytest

from reward_models.card.measures import Sampling, measured, rank_correlation, undefined

SAMPLING = Sampling(seed=0, repetitions=200)


def fail():
    raise ValueError("too few")


def test_a_reason_takes_the_place_of_a_number_that_cannot_be_had():
    assert measured(fail).as_json() == {"value": None, "why": "too few"}
    assert measured(lambda: math.nan).as_json() == {"value": None, "why": "it comes out as nan"}


def test_a_number_stays_when_only_its_interval_cannot_be_had():
    assert measured(lambda: 2, fail).as_json() == {"value": 2.0, "why": "no interval: too few"}
    assert SAMPLING.mean([1, 2], "aa").value == 1.5
    assert "two prompts or more" in SAMPLING.mean([1, 2], "aa").why


def test_an_infinite_end_is_none_since_json_has_no_word_for_it():
    assert measured(lambda: 1, lambda: (0, math.inf)).as_json() == {
        "value": 1.0,
        "low": 0,
        "high": None,
    }


def test_what_is_undefined_is_listed_with_its_place():
    tree = {
        "a": {"value": 1.0},
        "rows": [{"name": "x", "f": {"value": None, "why": "no pairs"}}, {"f": {"value": 2.0}}],
    }
    assert undefined(tree) == ["rows x f: no pairs"]


def test_rank_correlation_is_that_of_ranks():
    """Ranks 1 2 3 4 against 1 3 2 4: 1 - 6 * 2 / (4 * 15) = .8; and a monotone map changes none."""
    assert rank_correlation([1, 2, 3, 4], [1, 9, 4, 100]) == pytest.approx(0.8)
    assert rank_correlation([1, 2, 3, 4], [-1, -8, -9, -100]) == pytest.approx(-1)


def test_a_correlation_with_a_constant_is_refused():
    """NumPy would warn and return NaN."""
    with pytest.raises(ValueError, match="all 3 values of the second"):
        rank_correlation([1, 2, 3], [5, 5, 5])


def test_no_interval_moves_another():
    """Each begins with the seed anew, so that a card with one figure more keeps the others."""
    first = SAMPLING.mean([1, 2, 4, 8], "abcd")
    SAMPLING.mean([5, 6, 7], "abc")
    assert first == SAMPLING.mean([1, 2, 4, 8], "abcd")


def test_a_statistic_without_a_value_in_some_resamples_has_an_interval_of_the_others():
    values = [1.0, 2.0, 3.0, 3.0]
    found = SAMPLING.statistic(
        lambda rows: rank_correlation([values[r] for r in rows], [-values[r] for r in rows]),
        "abcd",
    )
    assert (found.value, found.low, found.high) == pytest.approx((-1, -1, -1))
