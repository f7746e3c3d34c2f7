"""Wilson's interval against published tables, closed forms and scipy."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from textgym.statistics.bootstrap import cluster_mean_interval
from textgym.statistics.proportions import share_interval, wilson_interval

ROOT = Path(__file__).parents[3]

# A busy machine is no counterexample.
PATIENT = settings(deadline=None, derandomize=True)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_equals_the_published_table(successes, trials, low, high):
    """Newcombe (1998), "Two-sided confidence intervals for the single proportion", table I."""
    assert (low, high) == pytest.approx(wilson_interval(successes, trials), abs=5e-5)


@PATIENT
@given(st.integers(1, 500), st.floats(0, 1), st.sampled_from([0.8, 0.95, 0.99]))
def test_wilson_equals_scipy_on_whole_counts(trials, share, confidence):
    """Our formula takes halves as well, which scipy's does not; on whole counts they agree."""
    successes = round(share * trials)
    expected = binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    actual = wilson_interval(successes, trials, confidence)
    assert (expected.low, expected.high) == pytest.approx(actual, abs=1e-12)


@PATIENT
@given(st.integers(1, 500), st.floats(0, 1))
def test_wilson_mirrors_and_holds_the_share(trials, share):
    """Counting failures instead turns the interval round; it lies in [0, 1] and holds the share."""
    successes = round(2 * share * trials) / 2
    low, high = wilson_interval(successes, trials)
    mirrored = wilson_interval(trials - successes, trials)
    assert (1 - high, 1 - low) == pytest.approx(mirrored, abs=1e-12)
    assert 0 <= low <= successes / trials <= high <= 1


@pytest.mark.parametrize(
    ("successes", "trials", "confidence"),
    [(0, 0, 0.95), (-1, 5, 0.95), (6, 5, 0.95), (float("nan"), 5, 0.95), (1, 5, 1), (1, 5, 95)],
)
def test_wilson_refuses_what_cannot_be(successes, trials, confidence):
    """Impossible counts, and a confidence in per cent."""
    with pytest.raises(ValueError, match="give"):
        wilson_interval(successes, trials, confidence)


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (7, 10), (10, 10), (684, 1000)])
def test_the_interval_equals_scipys(successes, trials):
    """Wilson without continuity correction."""
    expected = binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    actual = wilson_interval(successes, trials)
    np.testing.assert_allclose([expected.low, expected.high], actual, atol=1e-12)


@pytest.mark.parametrize(("successes", "trials"), [(-1, 10), (11, 10), (0, 0)])
def test_impossible_counts_are_refused(successes, trials):
    """More successes than trials is a bug of the caller."""
    with pytest.raises(ValueError, match="impossible"):
        wilson_interval(successes, trials)


def test_none_and_all_have_an_end_that_is_exact():
    """A picture's error bar below 0 or above 1 by a rounding error is refused by matplotlib."""
    for trials in range(1, 300):
        assert wilson_interval(0, trials)[0] == 0
        assert wilson_interval(trials, trials)[1] == 1


@pytest.mark.parametrize("clusters", [list("abcd"), list("aaaa")])
def test_rows_of_their_own_and_rows_of_one_cluster_have_wilsons_interval(clusters):
    """Nothing can be drawn of one cluster; that of independent rows is what there is to say."""
    rng = np.random.default_rng(0)
    assert wilson_interval(2.5, 4) == share_interval([1, 0.5, 1, 0], clusters, rng)


def test_rows_that_share_a_cluster_are_drawn_together():
    """40 prompts with 25 equal rows each are 40 answers, not 1,000."""
    values = np.repeat(np.arange(40) % 4 > 0, 25)
    clusters = np.repeat(np.arange(40), 25).tolist()
    low, high = share_interval(values, clusters, np.random.default_rng(0))
    assert (low, high) == cluster_mean_interval(values, clusters, np.random.default_rng(0))
    few, many = wilson_interval(30, 40), wilson_interval(750, 1000)
    assert high - low == pytest.approx(few[1] - few[0], rel=0.1)
    assert high - low > 4 * (many[1] - many[0])


def test_the_room_is_imported_without_scipy():
    """Which takes half a second, and most who import an interval's module draw none."""
    modules = [path.stem for path in (ROOT / "textgym/statistics").glob("[a-z]*.py")]
    code = "".join(f"import textgym.statistics.{module}\n" for module in modules)
    probe = f"{code}import sys; print([m for m in sys.modules if m.partition('.')[0] == 'scipy'])"
    result = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert result.stdout.strip() == "[]"
