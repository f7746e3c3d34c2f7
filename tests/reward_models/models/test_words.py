"""The baseline of words: it learns what words tell, and nothing else."""

import math

import pytest

from reward_models.measuring.pairs import evaluate_reward
from reward_models.models.words import WordsReward
from reward_models.preferences import Preference, pairs_of_labels

FILLER = ("the", "film", "was", "a", "story", "with", "music", "that", "I", "saw", "start", "end")


def text(number, word):
    return " ".join([*(FILLER[number * (place + 3) % 12] for place in range(5)), word])


def preferences(numbers, probability=1.0):
    return [
        Preference(
            pair_id=str(n),
            prompt=f"p{n}",
            chosen=text(n, "great"),
            rejected=text(n + 7, "awful"),
            probability=probability,
        )
        for n in numbers
    ]


def test_it_orders_new_texts_by_the_word_that_decides():
    reward = WordsReward.fit(preferences(range(40)))
    assert evaluate_reward(reward, preferences(range(40, 80))).accuracy == 1.0
    assert reward([], []) == []
    fitted = [p.chosen for p in preferences(range(40))] + [
        p.rejected for p in preferences(range(40))
    ]
    assert sum(reward([""] * 80, fitted)) == pytest.approx(0, abs=1e-6)


def test_a_share_of_votes_is_the_probability_that_it_learns():
    """Three of four prefer great: with little regularisation, log-odds of log 3."""
    pairs = [
        Preference(pair_id="", prompt="", chosen="great", rejected="awful", probability=0.75)
    ] * 200
    reward = WordsReward.fit(pairs)
    great, awful = reward(["", ""], ["great", "awful"])
    assert great - awful == pytest.approx(math.log(3), abs=0.05)


def test_too_few_pairs_are_refused():
    with pytest.raises(ValueError, match="7 pairs are too few"):
        WordsReward.fit(preferences(range(7)))


def test_labels_become_pairs_of_one_good_and_one_bad_text():
    """Each text is used once; the seed decides who meets whom."""
    texts, labels = list("abcdefg"), [1, 0, 1, 0, 1, 0, 1]
    pairs = pairs_of_labels(texts, labels, seed=0)
    assert len(pairs) == 3
    assert len({p.chosen for p in pairs} & set("aceg")) == 3
    assert {p.rejected for p in pairs} == set("bdf")
    others = [pairs_of_labels(texts, labels, seed=seed) for seed in range(1, 5)]
    assert any(pairs != other for other in others)
    assert pairs == pairs_of_labels(texts, labels, seed=0)
