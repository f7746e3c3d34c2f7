"""A report on annotators: what was planted is found, and what nothing tells is None."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from reward_models.measuring.annotators import latest, quality_report, swapped_repeats
from reward_models.preferences import Answer

SIDES = ("a", "b")


def answered(rng, name, pairs, *, leaning=0.0, slips=0.1, seconds=8.0, number=1):
    """Somebody who finds ``a`` better, errs, and with a share looks no further than the left."""
    answers = []
    for pair in range(pairs):
        left = SIDES[pair % 2]
        says = "a" if rng.random() >= slips else "b"
        says = left if rng.random() < leaning else says
        answers.append(
            Answer(
                pair_id=str(pair),
                annotator=name,
                answer=says,
                shown_left=left,
                served_at=100.0,
                voted_at=100.0 + seconds * rng.lognormal(0, 0.3),
                round=number,
            )
        )
    return answers


def test_what_was_planted_is_reported():
    rng = np.random.default_rng(0)
    answers = [
        *answered(rng, "steady", 400),
        *answered(rng, "leaning", 400, leaning=0.5, seconds=2.0),
        *answered(rng, "third", 400),
    ]
    report = quality_report(answers, rng, 200)
    leaning, steady, third = report.annotators
    assert [r.annotator for r in report.annotators] == ["leaning", "steady", "third"]
    # Half of the time left, else a with .9, on either side.
    assert leaning.left.low < 0.75 < leaning.left.high
    assert leaning.left.low > 0.5
    assert steady.left.low < 0.5 < steady.left.high
    assert leaning.majority.high < third.majority.low
    assert leaning.seconds.value == pytest.approx(2, rel=0.15)
    assert steady.seconds.low < 8 < steady.seconds.high
    assert (report.pairs, report.overlapping) == (400, 400)
    assert report.everybody.answers == 1200


def test_repeats_are_pairs_that_were_seen_again_with_their_sides_changed():
    first = Answer(pair_id="1", annotator="x", answer="a", shown_left="a")
    same = replace(first, round=2, shown_left="b")
    corrected = replace(first, round=3, shown_left="b", answer="b")
    assert swapped_repeats([corrected, first, same]) == [(first, same)]
    assert latest([first, corrected, same]) == [corrected]
    skipped = replace(same, answer="skip")
    assert swapped_repeats([first, skipped]) == []


def test_self_consistency_is_the_share_of_repeats_with_the_same_answer():
    """Wrong with .1 each time: .82 of 500, and one who takes the left contradicts itself."""
    rng = np.random.default_rng(0)
    once, again = (answered(rng, "x", 500, number=number) for number in (1, 2))
    swapped = [
        replace(b, shown_left=SIDES[a.shown_left == "a"]) for a, b in zip(once, again, strict=True)
    ]
    (report,) = quality_report(once + swapped, rng, 50).annotators
    assert report.repeats == 500
    low, high = binom.interval(0.9999, 500, 0.82)
    assert low <= report.consistency.value * 500 <= high
    lefts = [replace(a, answer=a.shown_left) for a in once + swapped]
    assert quality_report(lefts, rng, 50).annotators[0].consistency.value == 0


def test_what_nothing_tells_is_none_with_a_reason():
    alone = Answer(pair_id="1", annotator="x", answer="skip")
    report = quality_report([alone], np.random.default_rng(0))
    (person,) = report.annotators
    assert person.shares == {"a": 0, "b": 0, "tie": 0, "both_bad": 0, "skip": 1}
    assert (person.left, person.consistency, person.majority, person.seconds) == (None,) * 4
    assert (report.alpha, report.kappa, report.agreement) == (None, None, None)
    assert "no item has two answers" in report.why
    with pytest.raises(ValueError, match="no answer to measure"):
        quality_report([], np.random.default_rng(0))


def test_the_report_is_json():
    said = quality_report(answered(np.random.default_rng(0), "x", 3), np.random.default_rng(0))
    assert said.as_json()["annotators"][0]["left"]["low"] >= 0
