"""The bounds of a run, and the collapse that a gold judge alone would let through."""

import math

import pytest

from agents.reports.gates import Gate, all_passed, quickstart_gates, verdict

GOOD = {
    "gold_gain": 0.366,
    "kl": 12.0,
    "distinct_2_ratio": 0.523,
    "repeated_bigrams": 0.051,
    "accuracy_noisy": 0.615,
    "accuracy_true": 0.684,
}


def _failed(measures):
    return [gate.name for gate in quickstart_gates(**measures) if not gate.passed]


def test_a_sound_run_passes():
    """Numbers of a run whose text is varied and whose judge is pleased."""
    assert _failed(GOOD) == []
    assert verdict(quickstart_gates(**GOOD)) == "passed"
    assert all_passed(quickstart_gates(**GOOD))


def test_a_collapsed_run_fails_although_gold_loves_it():
    """Numbers of a run at a KL coefficient of .05: gold .995, and the same phrase everywhere."""
    collapsed = GOOD | {
        "gold_gain": 0.45,
        "kl": 48.0,
        "distinct_2_ratio": 0.24,
        "repeated_bigrams": 0.114,
    }
    assert _failed(collapsed) == ["KL", "diversity", "repetition"]
    assert verdict(quickstart_gates(**collapsed)) == "failed: KL, diversity, repetition"
    assert not all_passed(quickstart_gates(**collapsed))


@pytest.mark.parametrize(
    ("measure", "bound", "outwards"),
    [
        ("gold_gain", 0.25, -math.inf),
        ("kl", 15.0, math.inf),
        ("distinct_2_ratio", 0.5, -math.inf),
        ("repeated_bigrams", 0.06, math.inf),
        ("accuracy_noisy", 0.60, -math.inf),
        ("accuracy_true", 0.66, -math.inf),
    ],
)
def test_each_bound_passes_itself_and_nothing_beyond(measure, bound, outwards):
    """The next float beyond the bound fails, and fails one gate only."""
    assert _failed(GOOD | {measure: bound}) == []
    assert len(_failed(GOOD | {measure: math.nextafter(bound, outwards)})) == 1


@pytest.mark.parametrize("at_least", [True, False])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_never_passes(value, at_least):
    """``not value < bound`` lets NaN through, and a division by zero gives an infinite gain."""
    assert not Gate(name="x", value=value, bound=0.0, at_least=at_least).passed


def test_no_gates_is_no_success():
    """``all([])`` is true; a run that was never measured has not passed."""
    assert not all_passed(())
    assert verdict(()) == "not judged"
