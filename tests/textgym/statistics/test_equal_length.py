"""A win rate without what length explains: a judge of length alone has none left."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from textgym.statistics.equal_length import equal_length_win_rate


def compared(rng, number, better, by_length, longer=1.0):
    """The first text is ``longer`` spreads longer, and liked for it and for what it says."""
    off = rng.normal(longer, 1.0, size=number)
    pressed = np.tanh(off / np.sqrt((off**2).mean()))
    share = 1 / (1 + np.exp(-(better + by_length * pressed)))
    return (rng.random(number) < share).astype(float), off


def test_who_wins_by_length_alone_does_not_win_at_equal_length():
    rng = np.random.default_rng(0)
    won, off = compared(rng, 2000, 0.0, 2.0)
    found = equal_length_win_rate(won, off, range(2000), rng, 300)
    assert found.raw.low > 0.6
    assert found.equal.low < 0.5 < found.equal.high
    assert found.slope == pytest.approx(2.0, abs=0.35)
    assert found.longer > 0.8


def test_the_rate_is_a_logistic_regression_s_constant():
    rng = np.random.default_rng(1)
    won, off = compared(rng, 400, 0.4, 1.0)
    found = equal_length_win_rate(won, off, range(400), rng, 50)
    pressed = np.tanh(off / np.sqrt((off**2).mean()))[:, None]
    model = LogisticRegression(C=1e6, tol=1e-9).fit(pressed, won)
    expected = 1 / (1 + np.exp(-model.intercept_[0]))
    assert found.equal.value == pytest.approx(expected, abs=1e-3)
    assert found.raw.value == won.mean()


def test_the_interval_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(2)
    true = 1 / (1 + np.exp(-0.5))
    held = 0
    for _repetition in range(150):
        won, off = compared(rng, 200, 0.5, 1.0, longer=0.5)
        found = equal_length_win_rate(won, off, range(200), rng, 200)
        held += found.equal.low <= true <= found.equal.high
    assert 0.89 < held / 150 < 0.995


def test_equal_lengths_change_nothing():
    won = np.array([1, 0, 1, 1, 0.5, 1, 0, 1] * 20)
    found = equal_length_win_rate(won, np.zeros(160), range(160), np.random.default_rng(0), 100)
    assert found.equal.value == pytest.approx(won.mean(), abs=1e-3)
    assert found.slope == 0
    assert found.longer == 0.5


def test_what_does_not_fit_together_is_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="give one each"):
        equal_length_win_rate([1, 0], [1, 2, 3], range(2), rng)
    with pytest.raises(ValueError, match="two units"):
        equal_length_win_rate([1, 0], [1, 2], ["p", "p"], rng)
