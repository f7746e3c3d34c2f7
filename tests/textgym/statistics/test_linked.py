"""Rows that hang together: the sum over pairs of rows by hand, and how often intervals hold."""

import itertools

import numpy as np
import pytest
from scipy.special import expit

from textgym.statistics.bootstrap import cluster_interval, cluster_mean_interval
from textgym.statistics.linked import (
    Link,
    effective_trials,
    grouped,
    linked_draws,
    separate,
    variance_of_mean,
)
from textgym.statistics.proportions import clustered_wilson, share_interval, wilson_interval


def units_of(cluster):
    return set(cluster) if isinstance(cluster, Link) else {cluster}


@pytest.mark.parametrize(
    "clusters",
    [
        [Link("a", "b"), Link("b", "c"), Link("c", "a"), Link("a", "b"), Link("d", "e")],
        ["p", "q", "p", "r", "q"],
        ["p", Link("a", "b"), Link("b", "a"), "p", Link("b", "c")],
        list("abcde"),
    ],
)
def test_the_variance_is_the_sum_over_rows_that_share_something(clusters):
    """Each pair of rows once, whether they share one text or both."""
    values = np.array([3.0, 1.0, 0.0, 1.0, 6.0])
    off = values - values.mean()
    pairs = itertools.product(range(5), repeat=2)
    total = sum(off[i] * off[j] for i, j in pairs if units_of(clusters[i]) & units_of(clusters[j]))
    count = len(set().union(*map(units_of, clusters)))
    each = sum(len(units_of(cluster)) for cluster in clusters) / 5
    assert total > 0
    expected = total / 25 * count / (count - each**2)
    assert variance_of_mean(values, clusters) == pytest.approx(expected)


def test_what_cannot_be_told_is_refused():
    """Two texts, however often they were compared, are one comparison."""
    for clusters in (["p", "p"], [Link("a", "b"), Link("b", "a")]):
        with pytest.raises(ValueError, match="more texts or prompts to draw from than"):
            variance_of_mean([0, 1], clusters)
        assert effective_trials([0, 1], clusters) == 1
    assert variance_of_mean([1, 1], ["p", "q"]) == 0


def test_small_sets_are_drawn_whole_and_a_tournament_is_not():
    sets = [Link(f"{n} a", f"{n} b") for n in range(30) for _ in range(2)]
    values = np.random.default_rng(0).normal(size=60)
    assert separate(list("aab")) == list("aab")
    expected = cluster_mean_interval(values, np.repeat(range(30), 2), np.random.default_rng(1))
    assert expected == cluster_mean_interval(values, sets, np.random.default_rng(1))
    ring = [Link(n, (n + 1) % 60) for n in range(60)]
    assert separate(ring) is None
    assert set(grouped(ring)) == {0}
    assert separate([*sets, *ring]) is None


def test_a_row_comes_as_often_as_the_product_of_its_texts():
    """Of two rows that share a text, the mean number is that of the draws: E[c c'] = 1 - 1/U."""
    clusters = [Link("a", "b"), Link("b", "c"), "p", "p"]
    rng = np.random.default_rng(0)
    drawn = itertools.islice(linked_draws(clusters, rng), 4000)
    counts = np.array([np.bincount(rows, minlength=4) for rows in drawn])
    np.testing.assert_allclose(counts.mean(axis=0), [0.75, 0.75, 1, 1], atol=0.1)
    assert (counts[:, 2] == counts[:, 3]).all()


def test_a_share_of_independent_rows_is_wilsons_and_of_equal_ones_of_as_many_as_there_are():
    values = np.arange(40) % 4 > 0
    assert clustered_wilson(values, list(range(40))) == pytest.approx(
        wilson_interval(30, 40), abs=0.01
    )
    low, high = clustered_wilson(np.repeat(values, 25), np.repeat(range(40), 25).tolist())
    assert (low, high) == pytest.approx(wilson_interval(30, 40), abs=0.01)
    assert effective_trials([1] * 30, [Link(n % 6, (n + 1) % 6) for n in range(30)]) == 3
    assert effective_trials([0] * 30, list("abc") * 10) == 3
    assert effective_trials([0, 1, 1], ["p"] * 3) == 1
    with pytest.raises(ValueError, match="no rows"):
        clustered_wilson([], [])


def leads(rng, pairs, true, score):
    """How far the scores put the text that people prefer above the other one, ``(N,)``."""
    first, second = pairs
    lead = score[first] - score[second]
    won = rng.random(len(first)) < expit(2 * (true[first] - true[second]))
    return np.where(won, lead, -lead)


def tournament(rng, texts, pairs):
    """Comparisons of texts whose scores are off by text, all linked."""
    first = rng.integers(0, texts, pairs)
    second = (first + rng.integers(1, texts, pairs)) % texts
    true = rng.normal(size=texts)
    lead = leads(rng, (first, second), true, true + rng.normal(size=texts))
    return list(map(Link, first.tolist(), second.tolist())), lead


@pytest.fixture(scope="module")
def everybody():
    """Leads of a million pairs of texts of their own: the truth."""
    rng = np.random.default_rng(7)
    true = rng.normal(size=2_000_000)
    pairs = np.arange(2_000_000).reshape(2, -1)
    return leads(rng, pairs, true, true + rng.normal(size=2_000_000))


@pytest.mark.slow
@pytest.mark.parametrize(("texts", "pairs"), [(100, 150), (100, 800)])
def test_the_interval_of_a_tournament_holds_the_truth_as_often_as_it_says(texts, pairs, everybody):
    """As if pairs were independent it held in 70 % of the worlds; Wilson's column did as well."""
    rng, truth = np.random.default_rng(2), (everybody > 0).mean()
    worlds, held = 600, np.zeros(3)
    for _ in range(worlds):
        links, lead = tournament(rng, texts, pairs)
        right = lead > 0
        ends = [
            share_interval(right, links, rng),
            cluster_mean_interval(right, links, rng),
            wilson_interval(right.sum(), pairs),
        ]
        held += [low <= truth <= high for low, high in ends]
    assert held[:2] / worlds == pytest.approx(0.95, abs=0.02)
    assert held[2] / worlds < (0.95 if pairs == 150 else 0.8)


@pytest.mark.slow
def test_what_is_no_mean_has_an_interval_that_holds_the_truth_at_least_as_often(everybody):
    """Of the median lead; texts are drawn, and a pair counts by the product of their counts."""
    rng, truth = np.random.default_rng(1), np.median(everybody)
    worlds, held = 200, 0
    for _ in range(worlds):
        links, lead = tournament(rng, 100, 800)
        low, high = cluster_interval(
            lambda rows, lead=lead: float(np.median(lead[rows])), links, rng, repetitions=100
        )
        held += low <= truth <= high
    assert 0.93 <= held / worlds <= 1


@pytest.mark.slow
def test_the_interval_over_prompts_holds_the_truth_as_often_as_it_says():
    """60 prompts with one to nine pairs each, which are alike; Wilson's of independent ones too."""
    rng = np.random.default_rng(0)
    worlds, held = 600, np.zeros(3)
    for _ in range(worlds):
        sizes = rng.integers(1, 10, 60)
        prompts = np.repeat(np.arange(60), sizes).tolist()
        right = rng.random(sizes.sum()) < np.repeat(rng.beta(2, 1, 60), sizes)
        ends = [
            share_interval(right, prompts, rng),
            clustered_wilson(right, prompts),
            wilson_interval(right.sum(), len(right)),
        ]
        held += [low <= 2 / 3 <= high for low, high in ends]
    assert held[:2] / worlds == pytest.approx(0.95, abs=0.02)
    assert held[2] / worlds < 0.85
