"""Rewards that look at which words a completion has."""

import sys

import pytest

from reward_models import metrics
from reward_models.metrics import Constant, Keywords, lexical


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
    lexical._vader_analyzer.cache_clear()
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


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("a slow, quiet film", 2 / 3),
        ("SLOW", 1 / 3),
        ("slowly quieter", 0.0),
        ("not  too\nlong and not too long", 1 / 3),
        ("quiet: slow not too long!", 1.0),
        ("", 0.0),
    ],
)
def test_keywords_count_once_as_whole_words(text, share):
    reward = Keywords(keywords=("slow", "quiet", "not too long"))
    assert reward([""], [text]) == [pytest.approx(share)]


def test_keywords_may_come_from_a_column_of_texts_or_lists():
    scores = Keywords()(
        ["", ""], ["a c++ film", "a film"], keywords=["c++", ["film", "a", "b", "d"]]
    )
    assert scores == [1.0, 0.5]


@pytest.mark.parametrize("words", [(), "film", ("film", ""), ("film", 3)])
def test_keywords_that_are_none_are_refused(words):
    with pytest.raises(ValueError, match="keywords must be a list of at least one word"):
        Keywords(keywords=words)


def test_a_constant_is_the_same_for_every_text():
    assert Constant(value=-2)(["", ""], ["a", ""]) == [-2.0, -2.0]


@pytest.mark.parametrize("reward", [metrics.length, Constant(), Keywords(keywords=("a",))])
def test_what_is_no_text_is_named(reward):
    with pytest.raises(TypeError, match="completion 1 is None; it must be a text"):
        reward(["", ""], ["a", None])
