"""Ratings are measured without pairs, and their intervals hold the truth."""

import itertools

import numpy as np
import pytest

from reward_models.measuring.ratings import evaluate_ratings, order_share
from reward_models.preferences import Rating, decided_pairs


def test_the_share_in_order_is_that_of_all_pairs():
    rng = np.random.default_rng(0)
    for scores, ratings in (
        (rng.integers(0, 6, 40), rng.integers(0, 3, 40)),
        (rng.normal(size=40), rng.integers(0, 2, 40)),
        (np.ones(40), rng.integers(0, 2, 40)),
    ):
        pairs = [
            (np.sign((scores[i] - scores[j]) * (ratings[i] - ratings[j])) + 1) / 2
            for i, j in itertools.combinations(range(40), 2)
            if ratings[i] != ratings[j]
        ]
        assert order_share(scores * 1.0, ratings * 1.0) == pytest.approx(np.mean(pairs))
    assert np.isnan(order_share(np.arange(3.0), np.ones(3)))


@pytest.mark.slow
def test_intervals_hold_the_truth_as_often_as_they_say():
    """An interval over pairs as if they were independent held it in 27 % of the worlds."""
    rng = np.random.default_rng(0)

    def world(texts):
        ratings = rng.integers(0, 2, texts).astype(float)
        return ratings + rng.normal(size=texts), ratings

    far = evaluate_ratings(*world(100_000), range(100_000), rng, repetitions=2)
    held = np.zeros(2)
    worlds = 300
    for _ in range(worlds):
        report = evaluate_ratings(*world(100), range(100), rng, repetitions=200)
        for number, name in enumerate(("correlation", "order")):
            estimate = getattr(report, name)
            held[number] += estimate.low <= getattr(far, name).value <= estimate.high
    assert held / worlds == pytest.approx(0.95, abs=0.02)


def test_a_text_that_several_people_rated_is_drawn_whole():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=50)
    ratings = scores + rng.normal(size=50)
    once = evaluate_ratings(scores, ratings, range(50), np.random.default_rng(1))
    thrice = evaluate_ratings(
        np.tile(scores, 3), np.tile(ratings, 3), [*range(50)] * 3, np.random.default_rng(1)
    )
    widths = [one.correlation.high - one.correlation.low for one in (once, thrice)]
    assert widths[0] == pytest.approx(widths[1], rel=0.05)


def test_ratings_without_prompts_make_as_many_pairs_as_half_the_texts():
    """All pairs were a million for two thousand thumbs; each text is in one pair at most."""
    ratings = [Rating(prompt="", completion=f"text {n}", rating=n % 2) for n in range(2000)]
    pairs = decided_pairs(ratings)
    assert 400 < len(pairs) < 600
    texts = [text for pair in pairs for text in (pair.chosen, pair.rejected)]
    assert len(set(texts)) == len(texts)
    assert all(int(pair.chosen.split()[1]) % 2 for pair in pairs)
    assert pairs == decided_pairs(ratings)
