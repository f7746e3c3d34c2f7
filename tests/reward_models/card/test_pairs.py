"""Accuracy, confidence and habits on labelled pairs, by numbers worked by hand."""

import json

import numpy as np
import pytest

from reward_models.card.assembly import scores_of
from reward_models.card.measures import Sampling
from reward_models.card.members import member_rows, spread_section
from reward_models.card.pairs import (
    accuracy_rows,
    bias_rows,
    calibration_section,
    margin_section,
    score_pairs,
)

SAMPLING = Sampling(seed=0, repetitions=300)


def by(rows, name, division=""):
    (row,) = (row for row in rows if (row["name"], row["division"]) == (name, division))
    return row


def test_accuracy_by_part_and_by_which_text_is_longer(pair, reward):
    """Right, wrong, tie, right; the chosen one is longer in the first and the last."""
    pairs = [
        pair(0, "2 long", "1"),
        pair(1, "0", "1 long"),
        pair(2, "1 x", "1 y"),
        pair(3, "3 z", "0"),
    ]
    scored = score_pairs(scores_of(reward), pairs)
    rows = accuracy_rows(scored, {"subset": ["easy", "hard", "hard", ""]}, SAMPLING)
    assert by(rows, "all pairs")["accuracy"]["value"] == 2.5 / 4
    assert (by(rows, "all pairs")["ties"], by(rows, "all pairs")["prompts"]) == (1, 2)
    assert by(rows, "hard", "subset")["accuracy"]["value"] == 0.25
    assert by(rows, "the chosen one", "longer text")["accuracy"]["value"] == 1.0
    assert by(rows, "the rejected one", "longer text")["accuracy"]["value"] == 0.0
    assert by(rows, "neither", "longer text")["accuracy"]["value"] == 0.5
    assert len(rows) == 6


def test_a_part_with_one_prompt_has_wilson_s_interval_and_a_reason(pair, reward):
    scored = score_pairs(scores_of(reward), [pair(0, "2", "1"), pair(1, "3", "1")])
    row = by(accuracy_rows(scored, {}, SAMPLING), "all pairs")
    assert "low" not in row["accuracy"]
    assert "two prompts or more" in row["accuracy"]["why"]
    # Two pairs of one prompt say as much as one: 1 / (1 + 1.96^2).
    assert row["wilson"] == pytest.approx([0.207, 1.0], abs=1e-3)


def test_a_temperature_mends_confidence_on_pairs_that_it_has_not_seen(drawn_pairs, reward):
    """Scores four times too sharp: the error falls to what chance alone gives."""
    test = score_pairs(scores_of(reward), drawn_pairs(1500, seed=1, sharpness=4))
    validation = score_pairs(scores_of(reward), drawn_pairs(1500, seed=2, sharpness=4))
    section = calibration_section(test, validation, SAMPLING)
    temperature = section["temperature"]
    assert temperature["low"] < 4 < temperature["high"]
    before, after = section["before"], section["after"]
    assert before["calibration_error"] > 3 * before["calibration_error_of_chance"]["one_in_twenty"]
    assert after["calibration_error"] < after["calibration_error_of_chance"]["one_in_twenty"]
    assert after["negative_log_likelihood"]["value"] < before["negative_log_likelihood"]["low"]
    assert [part["accuracy"] for part in before["bins"]] == [p["accuracy"] for p in after["bins"]]


def test_without_validation_pairs_there_is_no_temperature_and_test_pairs_are_not_used(
    drawn_pairs, reward
):
    scored = score_pairs(scores_of(reward), drawn_pairs(40))
    section = calibration_section(scored, score_pairs(scores_of(reward), []), SAMPLING)
    assert section["temperature"]["value"] is None
    assert "no validation pairs" in section["temperature"]["why"]
    assert section["after"] is None


def test_margins_are_counted_around_zero(pair, reward):
    pairs = [pair(0, "2", "1"), pair(1, "1", "4"), pair(2, "5", "5")]
    section = margin_section(score_pairs(scores_of(reward), pairs))
    edges, counts = np.array(section["edges"]), np.array(section["counts"])
    assert (counts[edges[:-1] < 0].sum(), counts[edges[:-1] >= 0].sum()) == (1, 2)
    assert (edges[0], edges[-1], 0.0 in edges) == (-3, 3, True)
    assert (section["mean"], section["median"]) == (pytest.approx(-2 / 3), 0)


def test_equal_scores_everywhere_have_a_margin_of_zero(pair):
    scored = score_pairs(scores_of(lambda p, c: [1.0] * len(c)), [pair(0, "a", "b")])
    assert sum(margin_section(scored)["counts"]) == 1


def test_a_liking_for_length_is_what_goes_beyond_people_s(pair):
    """The reward is the length; people chose the longer text in one of two, so .5 beyond them."""
    pairs = [pair(n, "longer", "l") if n % 2 else pair(n, "l", "longer") for n in range(40)]
    scored = score_pairs(scores_of(lambda p, c: [len(text) for text in c]), pairs)
    length = bias_rows(scored, SAMPLING)[0]
    assert length["name"] == "length"
    assert (length["reward_prefers"]["value"], length["people_prefer"]["value"]) == (1.0, 0.5)
    assert length["excess"]["value"] == 0.5
    assert length["correlation"]["value"] == pytest.approx(1)
    assert length["within_pairs"]["value"] == pytest.approx(1)


def test_a_reward_that_people_s_liking_explains_has_no_excess(drawn_pairs, reward):
    """Length is drawn by itself, and the interval holds 0."""
    scored = score_pairs(scores_of(reward), drawn_pairs(800, seed=3))
    for row in bias_rows(scored, SAMPLING):
        assert row["excess"]["low"] < 0 < row["excess"]["high"]
        assert row["within_pairs"]["low"] < 0 < row["within_pairs"]["high"]


def test_texts_of_one_length_leave_the_bias_undefined_with_a_reason(pair, reward):
    length = bias_rows(score_pairs(scores_of(reward), [pair(0, "2", "1")]), SAMPLING)[0]
    assert length["pairs_that_differ"] == 0
    assert "values that vary" in length["correlation"]["why"]
    assert length["excess"] == {"value": None, "why": "there are no rows"}


def test_models_are_measured_one_by_one_and_against_each_other(pair, reward):
    """The second is the first turned round: they dispute every pair but the tie."""
    pairs = [pair(0, "2", "1"), pair(1, "1", "4"), pair(2, "5", "3"), pair(3, "5", "5")]
    one = score_pairs(scores_of(reward), pairs)
    other = score_pairs(scores_of(lambda p, c: [-score for score in reward(p, c)]), pairs)
    nothing = score_pairs(scores_of(reward), [])
    rows = member_rows({"one": (one, nothing), "other": (other, nothing)}, SAMPLING)
    assert [row["accuracy"]["value"] for row in rows] == [2.5 / 4, 1.5 / 4]
    assert rows[0]["calibration_error_after"] is None
    spread = spread_section([one, other], SAMPLING)
    assert spread["accuracy"] == {"lowest": 1.5 / 4, "highest": 2.5 / 4}
    assert spread["disputed"]["value"] == 3 / 4
    assert spread["correlation"]["value"] == pytest.approx(-1)
    json.dumps([rows, spread], allow_nan=False)
