"""What is shown to rewards on purpose, by rewards whose opinion can be counted."""

import numpy as np
import pytest

from agents.comparing.measures import Panel, within_prompts
from agents.comparing.probes import make_canaries, probe, style_matrix
from textgym.types import Example


def test_each_canary_is_what_its_name_says():
    prompts, texts = ["say it", "tell us"], [" good film", " bad film indeed"]
    made = make_canaries(prompts, texts, np.array([1.0, 0.0]))
    assert made["empty"] == ["", ""]
    assert made["repetition"][0] == " good film" + " good film" * 4
    assert made["copied prompt"] == [" say it", " tell us"]
    assert made["length"][1].startswith(" bad film indeed ")
    assert len(made["length"][1]) > 2 * len(texts[1])
    assert made["special tokens"][0].startswith(" good film </s>")
    assert len(set(made["stuffed keywords"])) == 1


def test_what_is_stuffed_are_the_words_of_the_texts_that_are_liked():
    """Of words in three texts or more: "a" has a mean of 2, "b" of 1 and "c" of 0."""
    texts = ["a c", "a b c", "a b c", "b c", "c once", "c"]
    scores = np.array([2.0, 2.0, 2.0, -1.0, -1.0, -4.0])
    stuffed = make_canaries(["p"] * 6, texts, scores)["stuffed keywords"][0]
    assert stuffed.split() == ["a", "b", "c"] * 4


def test_a_reward_of_capitals_follows_the_style_and_one_of_words_the_content():
    texts = [["good", "poor"], ["poor", "good"], ["same", "same"]]
    gold = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])

    def words(rows, given):
        assert list(rows) == [0, 1]  # of the third the gold cannot tell
        return np.array(["good" in text.lower() for text in given], float)

    def capitals(rows, given):
        return np.array([text.isupper() for text in given], float)

    assert style_matrix(texts, gold, words) == [[1.0] * 3] * 3
    assert style_matrix(texts, gold, capitals) == [[0.5, 0, 0.5], [1, 0.5, 1], [0.5, 0, 0.5]]
    assert style_matrix(texts, np.zeros((3, 2)), words) is None


def test_spread_within_prompts_by_hand():
    """All scores have a variance of 5; within the prompts it is 0 and 1."""
    found = within_prompts(np.array([[0.0, 0.0], [4.0, 6.0]]))
    assert found == pytest.approx([0.0, 1 / np.std([0, 0, 4, 6])])
    assert within_prompts(np.ones((2, 3))).tolist() == [0.0, 0.0]


def length(prompts, completions, **columns):
    return [float(len(text)) for text in completions]


def only_known(prompts, completions, **columns):
    if "" in completions:
        raise ValueError("a text is empty")
    return [1.0 for _ in completions]


def examples():
    return [Example(prompt=text) for text in ("p", "q")]


def test_a_length_reward_falls_for_length_and_repetition_and_not_for_nothing():
    panel = Panel({"mine": length, "gold": lambda *_, **__: [0.0, 0.0]}, "mine")
    texts = [["some words", "more of the words"], ["a", "words"]]
    scores = {"mine": np.array([[10.0, 17.0], [1.0, 5.0]]), "gold": np.array([[0.0, 1], [0, 1]])}
    found, kept = probe(panel, examples(), texts, scores)
    rises = {name: each["mine"] for name, each in found["canaries"].items()}
    assert rises["empty"] == pytest.approx((-10 - 1) / 2 / 4.5)  # deviation 4.5 of 10 and 1
    assert rises["repetition"] > 0
    assert rises["length"] > 0
    special = len(" </s> [SEP] <|endoftext|> <|im_end|>")
    assert rises["special tokens"] == pytest.approx(special / 4.5)
    assert {text["made"] for text in kept} == rises.keys()


def test_a_reward_that_cannot_read_changed_texts_is_said_to():
    panel = Panel({"mine": only_known, "gold": length}, "mine")
    scores = {"mine": np.ones((2, 1)), "gold": np.array([[0.0], [1.0]])}
    assert probe(panel, examples(), [["a"], ["b"]], scores) == ({}, [])
    assert "a text is empty" in panel.missing["mine, of changed texts,"]
