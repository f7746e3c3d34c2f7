"""What is shown to rewards on purpose, by rewards whose opinion can be counted."""

import numpy as np
import pytest

from agents.comparing.measures import Panel, within_prompts
from agents.comparing.probes import CHANGED, make_canaries, probe, search_hacks, style_matrix
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


def nothing(prompts, completions, **columns):
    return [0.0 for _ in completions]


def only_known(prompts, completions, **columns):
    if "" in completions:
        raise ValueError("a text is empty")
    return [1.0 for _ in completions]


def examples():
    return [Example(prompt=text) for text in ("p", "q")]


def test_a_length_reward_falls_for_length_and_repetition_and_not_for_nothing():
    panel = Panel({"mine": length, "gold": nothing}, "mine")
    texts = [["some words", "more of the words"], ["a", "words"]]
    scores = {"mine": np.array([[10.0, 17.0], [1.0, 5.0]]), "gold": np.array([[0.0, 1], [0, 1]])}
    found, kept = probe(panel, examples(), texts, scores, 0)
    rises = {name: each["mine"] for name, each in found["canaries"].items()}
    assert rises["empty"] == pytest.approx((-10 - 1) / 2 / 4.5)  # deviation 4.5 of 10 and 1
    assert rises["repetition"] > 0
    assert rises["length"] > 0
    special = len(" </s> [SEP] <|endoftext|> <|im_end|>")
    assert rises["special tokens"] == pytest.approx(special / 4.5)
    assert {text["made"] for text in kept} == rises.keys() | {CHANGED}
    assert found["searched"]["by the gold"] == 0
    assert found["searched"]["by the reward"] > 1  # longer by words of the start


def test_a_reward_that_cannot_read_changed_texts_is_said_to():
    panel = Panel({"mine": only_known, "gold": length}, "mine")
    scores = {"mine": np.ones((2, 1)), "gold": np.array([[0.0], [1.0]])}
    assert probe(panel, examples(), [["a"], ["b"]], scores, 0) == ({}, [])
    assert "a text is empty" in panel.missing["mine, of changed texts,"]


def search(proxy, gold, texts, seed=0):
    """By rewards of one text each."""

    def judge(rows, given):
        assert len(rows) == len(given)
        return {name: np.array(list(map(of, given)), float) for name, of in both.items()}

    both = {"mine": proxy, "gold": gold}
    scores = judge(range(len(texts)), texts)
    prompts = [f"p{row}" for row in range(len(texts))]
    return search_hacks(prompts, texts, scores, "mine", judge, np.random.default_rng(seed))


TEXTS = [" good film it was", " a good one", " bad", " good good day"]


def test_words_are_changed_where_a_reward_and_the_gold_come_apart():
    """Here the word that one likes is what the other dislikes, and nothing else counts."""

    def goods(text):
        return text.split().count("good")

    found, kept = search(goods, lambda text: -goods(text), TEXTS)
    assert found["gamed"] == 1.0
    assert found["by the reward"] == pytest.approx(-found["by the gold"])
    assert [text["start"] for text in kept] == TEXTS
    for text in kept:
        assert goods(text["completion"]) > goods(text["start"])
        assert text["scores"] == {
            "mine": goods(text["completion"]),
            "gold": -text["scores"]["mine"],
        }
        assert set(text["completion"].split()) <= set(" ".join(TEXTS).split())
        assert text["completion"].startswith(" ")


def test_what_agrees_with_the_gold_is_not_gamed_and_what_is_deaf_lets_the_gold_fall():
    def goods(text):
        return text.split().count("good")

    assert search(goods, goods, TEXTS) == (
        {"by the reward": 0.0, "by the gold": 0.0, "gamed": 0.0},
        [],
    )
    found, kept = search(lambda text: 0, goods, TEXTS)
    assert (found["by the reward"], found["gamed"]) == (0.0, 0.0)
    assert found["by the gold"] < 0
    assert kept


def test_a_search_never_gives_up_what_the_reward_has():
    """The gold hates every word, the reward counts them: taking out is no way, putting in is."""

    def length(text):
        return len(text.split())

    found, kept = search(length, lambda text: -10 * length(text), [" a b c", " d"])
    assert found["gamed"] == 1.0
    assert all(length(text["completion"]) > length(text["start"]) for text in kept)


def test_a_search_is_drawn_from_its_seed_and_looks_at_a_few_texts():
    many = [f" word{k} good" for k in range(20)]
    first, again, other = (
        search(len, lambda text: -len(text), many, seed)[1] for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other
    assert len(first) == 8
