"""Peeking after every answer errs as rarely as it says, and an ordinary interval does not."""

import numpy as np
import pytest

from textgym.statistics.sequential import betting_capital, confidence_sequence, decide

STREAMS, ANSWERS = 2000, 400


def drawn(mean, ties=0.0, streams=STREAMS, answers=ANSWERS):
    rng = np.random.default_rng(0)
    values = (rng.random((streams, answers)) < mean).astype(float)
    return np.where(rng.random(values.shape) < ties, 0.5, values)


@pytest.mark.parametrize("ties", [0.0, 0.4])
def test_looking_after_every_answer_finds_a_difference_between_equals_once_in_twenty(ties):
    """At most; an interval made for one look finds one far more often."""
    values = drawn(0.5, ties)
    capital = betting_capital(values, [0.5])[:, 0]
    found = (capital.max(axis=1) >= 20).mean()
    assert found <= 0.05
    time = np.arange(1, ANSWERS + 1)
    means = values.cumsum(axis=1) / time
    once = np.abs(means - 0.5) > 1.96 * np.sqrt((1 - ties) / 4 / time)
    assert once[:, 20:].any(axis=1).mean() > 0.25


def test_the_capital_against_the_truth_is_fair():
    """Its mean stays 1 after any number of answers: exactly, over all eight ways of three."""
    ways = np.array([[a, b, c] for a in (0, 1) for b in (0, 1) for c in (0, 1)], float)
    for mean in (0.3, 0.5, 0.9):
        weight = np.prod(np.where(ways == 1, mean, 1 - mean), axis=1)
        capital = betting_capital(ways, [mean])[:, 0]
        assert (weight @ capital).tolist() == pytest.approx([1, 1, 1])


def test_a_difference_is_found_with_few_answers():
    """A share of .7 in most cases within 150, where a fixed number for power .8 is 47."""
    capital = betting_capital(drawn(0.7), [0.5])[:, 0]
    reached = (capital >= 20).argmax(axis=1)
    assert (capital.max(axis=1) >= 20).mean() > 0.99
    assert np.median(reached) < 150


@pytest.mark.parametrize("mean", [0.5, 0.8])
def test_the_interval_holds_the_mean_at_all_times_together(mean):
    values = drawn(mean, streams=60, answers=150)
    held = 0
    for stream in values:
        low, high = confidence_sequence(stream)
        assert (np.diff(low) >= 0).all()
        assert (np.diff(high) <= 0).all()
        held += bool(((low <= mean) & (mean <= high)).all())
    assert held >= 54


def test_it_is_decided_or_stays_open():
    better = drawn(0.75, streams=1, answers=300)[0]
    assert decide(better).said == "more"
    assert decide(1 - better).said == "less"
    assert decide(better[:5]).said == "open"
    equal = np.tile([0.0, 1.0], 400)
    assert decide(equal).said == "open"
    verdict = decide(equal, margin=0.1)
    assert (verdict.said, verdict.answers) == ("even", 800)
    assert 0.4 <= verdict.low <= 0.5 <= verdict.high <= 0.6


def test_what_is_no_answer_is_refused():
    with pytest.raises(ValueError, match="outside"):
        confidence_sequence([0.5, 2.0])
    with pytest.raises(ValueError, match="1 or more values"):
        confidence_sequence([])
    with pytest.raises(ValueError, match="confidence"):
        confidence_sequence([1.0], confidence=95)
