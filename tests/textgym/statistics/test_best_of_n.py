"""Best of n against brute force, and the form that is fitted against curves made from it."""

import itertools
import math

import numpy as np
import pytest

from textgym.statistics.best_of_n import (
    best_of_n,
    best_of_n_by_prompt,
    best_of_n_curve,
    default_ns,
    fit_overoptimisation,
    kl_bound,
    peak_interval,
)


def brute_force(proxy, gold, n):
    """Mean over all subsets of what the best by the proxy is worth; a tie is drawn evenly."""
    worth = []
    for subset in itertools.combinations(range(len(proxy)), n):
        top = max(proxy[i] for i in subset)
        worth.append(np.mean([gold[i] for i in subset if proxy[i] == top]))
    return float(np.mean(worth))


@pytest.mark.parametrize("n", range(1, 10))
def test_it_is_the_mean_over_all_subsets(n):
    rng = np.random.default_rng(0)
    proxy, gold = rng.normal(size=9), rng.normal(size=9)
    assert best_of_n(proxy, gold, n) == pytest.approx(brute_force(proxy, gold, n), abs=1e-12)


@pytest.mark.parametrize("n", range(1, 9))
def test_ties_of_the_proxy_are_drawn_evenly_not_by_the_order_of_the_samples(n):
    """A stable sort would take the last of them."""
    proxy = [1, 0, 2, 2, 0, 1, 2, 1]
    gold = [5, 1, 0, 8, 2, 3, 1, 7]
    expected = brute_force(proxy, gold, n)
    assert best_of_n(proxy, gold, n) == pytest.approx(expected, abs=1e-12)
    assert best_of_n(proxy[::-1], gold[::-1], n) == pytest.approx(expected, abs=1e-12)


def test_it_is_unbiased():
    """From 12 samples, the best of 8 normal ones has the mean that 200,000 draws of 8 have."""
    rng = np.random.default_rng(1)
    samples = rng.normal(size=(4000, 12))
    expected = rng.normal(size=(200_000, 8)).max(axis=1).mean()
    actual = best_of_n_by_prompt(samples, samples, [8]).mean()
    assert actual == pytest.approx(expected, abs=0.03)


def test_binomials_that_overflow_are_no_problem():
    """C(5000, 2500) has 1,504 digits; the best of all is the best of all."""
    values = np.random.default_rng(2).normal(size=5000)
    assert best_of_n(values, values, 5000) == pytest.approx(values.max())
    assert best_of_n(values, values, 1) == pytest.approx(values.mean())
    ranks = np.arange(1, 5001)
    # The mean highest rank of n out of N is n (N + 1) / (n + 1).
    assert best_of_n(ranks, ranks, 2500) == pytest.approx(2500 * 5001 / 2501, rel=1e-9)


def test_the_kl_is_what_the_formula_says_and_bounds_a_true_one():
    """Two outputs at random, one better: the best of n is it with 1 - 2^-n."""
    np.testing.assert_allclose([0, math.log(4) - 3 / 4], kl_bound([1, 4]))
    for n in (2, 8, 40):
        good = 1 - 0.5**n
        true = good * math.log(good / 0.5) + (1 - good) * math.log((1 - good) / 0.5)
        assert true < kl_bound(n)


def test_the_default_ns_end_with_all_samples():
    assert default_ns(1) == [1]
    assert default_ns(8) == [1, 2, 4, 8]
    assert default_ns(11) == [1, 2, 4, 8, 11]


def test_a_form_that_was_put_in_comes_out():
    """alpha 2, beta .5: the peak is at d = 2, so at KL 4, and is worth 2."""
    kl = kl_bound(default_ns(1024))
    distance = np.sqrt(kl)
    fit = fit_overoptimisation(kl, 7 + distance * (2 - 0.5 * distance))
    np.testing.assert_allclose(
        [2, 0.5, 1, 4, 2], [fit.alpha, fit.beta, fit.r_squared, fit.peak_kl, fit.peak_gain]
    )


def test_a_curve_that_rises_has_no_peak_and_one_that_falls_has_it_at_the_start():
    kl = kl_bound(default_ns(64))
    rising = fit_overoptimisation(kl, np.sqrt(kl) * (1 + 0.1 * np.sqrt(kl)))
    falling = fit_overoptimisation(kl, -np.sqrt(kl))
    assert (rising.shape, rising.peak_kl, rising.peak_gain) == ("rises", None, None)
    assert (falling.shape, falling.peak_kl, falling.peak_gain) == ("falls", 0, 0)
    faster = fit_overoptimisation(kl, -np.sqrt(kl) - kl)
    assert (faster.shape, faster.peak_kl, faster.peak_gain) == ("falls", 0, 0)
    turning = fit_overoptimisation(kl, 2 * np.sqrt(kl) - kl)
    assert turning.shape == "turns"
    back = fit_overoptimisation(kl, -np.sqrt(kl) + kl)  # falls, and ends above the start
    assert (back.shape, back.peak_kl) == ("rises", None)
    low = fit_overoptimisation(kl, -np.sqrt(kl) + 0.1 * kl)
    assert (low.shape, low.peak_kl) == ("falls", 0)
    assert math.isnan(fit_overoptimisation(kl, np.ones(7)).r_squared)


def test_the_most_harmful_proxy_has_its_peak_at_no_optimising():
    """It was called a curve that need not turn, with a peak at infinity."""
    proxy = np.random.default_rng(0).normal(size=(40, 64))
    assert peak_interval(proxy, -proxy, np.random.default_rng(1), repetitions=200) == (0, 0)


def overoptimised(prompts, samples, seed):
    """Gold is what the proxy says until it says too much of it."""
    rng = np.random.default_rng(seed)
    proxy = rng.normal(size=(prompts, samples))
    gold = proxy - 3 * np.maximum(proxy - 1.0, 0) ** 2 + rng.normal(size=(prompts, 1))
    return proxy, gold


def test_a_gamed_gold_turns_over_while_the_proxy_rises():
    proxy, gold = overoptimised(40, 512, seed=0)
    curve = best_of_n_curve(proxy, gold, np.random.default_rng(1))
    assert np.all(np.diff(curve.proxy) > 0)
    peak = int(np.argmax(curve.gold))
    assert 0 < peak < len(curve.ns) - 1
    assert all(
        low < mean < high
        for low, mean, high in zip(curve.gold_low, curve.gold, curve.gold_high, strict=True)
    )
    low, high = peak_interval(proxy, gold, np.random.default_rng(1), repetitions=200)
    assert 0 < low <= fit_overoptimisation(curve.kl_bounds, curve.gold).peak_kl <= high < math.inf


def test_the_interval_is_that_of_prompts():
    """A prompt's own level moves all of its completions: 1.96 / sqrt(64) either way."""
    rng = np.random.default_rng(3)
    gold = np.repeat(rng.normal(size=(64, 1)), 200, axis=1)
    curve = best_of_n_curve(rng.normal(size=(64, 200)), gold, rng, ns=[1])
    half = (curve.gold_high[0] - curve.gold_low[0]) / 2
    assert half == pytest.approx(1.96 * gold[:, 0].std() / 8, rel=0.1)


def test_a_peak_that_may_not_exist_has_no_upper_end():
    proxy = np.random.default_rng(4).normal(size=(6, 64))
    _, high = peak_interval(proxy, proxy, np.random.default_rng(5), repetitions=100)
    assert high == math.inf


def test_one_prompt_has_a_curve_without_intervals():
    curve = best_of_n_curve([[1.0, 2.0]], [[3.0, 4.0]], np.random.default_rng(0))
    assert (curve.ns, curve.gold, curve.gold_low) == ([1, 2], [3.5, 4.0], None)
    with pytest.raises(ValueError, match="there is one"):
        peak_interval([[1.0, 2.0]], [[3.0, 4.0]], np.random.default_rng(0))


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda: best_of_n([1, 2], [1, 2], 3), "n is 3, but there are 2"),
        (lambda: best_of_n([1, 2], [1, 2], 0), "n is 0"),
        (lambda: best_of_n_by_prompt([[1, 2]], [[1, 2, 3]], [1]), "the same completions"),
        (lambda: best_of_n_by_prompt([[1, np.nan]], [[1, 2]], [1]), r"proxy\[0, 1\] is nan"),
        (lambda: best_of_n_by_prompt([1, 2], [1, 2], [1]), "a row for each prompt"),
        (lambda: kl_bound([0.5]), "at least one"),
        (lambda: fit_overoptimisation([0, 1], [0, 1]), "cannot be fitted"),
        (lambda: fit_overoptimisation([1, 2, 3], [0, 1, 2]), "cannot be fitted"),
    ],
)
def test_what_is_impossible_is_refused_with_the_reason(call, reason):
    with pytest.raises(ValueError, match=reason):
        call()
