"""Rewards without training."""

import sys

import pytest

from reward_models import metrics


def test_vader_orders_praise_above_blame_and_gives_zero_to_neither():
    """The compound score of known sentences, in [-1, 1]."""
    pytest.importorskip("vaderSentiment")
    praise, neither, blame = metrics.vader(
        ["", "", ""], ["a wonderful, great film", "a table", "a horrible, stupid film"]
    )
    assert 1 >= praise > 0.5
    assert neither == 0.0
    assert -0.5 > blame >= -1


def test_vader_reads_completions_only():
    """A prompt is not the agent's doing, so it earns nothing."""
    pytest.importorskip("vaderSentiment")
    assert metrics.vader(["wonderful great lovely"], ["a table"], label=[1]) == [0.0]


def test_a_missing_vader_names_the_extra(monkeypatch):
    """A stack trace that ends in "No module named vaderSentiment" tells nobody what to do."""
    for module in ("vaderSentiment", "vaderSentiment.vaderSentiment"):
        monkeypatch.setitem(sys.modules, module, None)
    metrics._vader_analyzer.cache_clear()
    with pytest.raises(ModuleNotFoundError, match=r'pip install "textgym\[tasks\]"'):
        metrics.vader([""], ["text"])


def test_length_counts_hundreds_of_words():
    """Any whitespace separates words; no text has no words."""
    assert metrics.length(["", "", ""], ["", " a  b\nc", "w " * 100]) == [0.0, 0.03, 1.0]


@pytest.mark.parametrize("reward", [metrics.vader, metrics.length])
def test_scripted_rewards_take_an_empty_batch_and_any_column(reward):
    """An environment may have no finished row in a step, and tasks have fields of their own."""
    if reward is metrics.vader:
        pytest.importorskip("vaderSentiment")
    assert reward([], [], label=[], reference=[]) == []
