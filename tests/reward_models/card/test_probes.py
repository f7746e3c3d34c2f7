"""The changes do what they say, and steadiness sees a reward that is not steady."""

import numpy as np
import pytest

from reward_models.card.probes import (
    CHANGES,
    batch_difference,
    changed_texts,
    neighbour_difference,
    standardised_effects,
    truncated,
)

BY_NAME = {change.name: change for change in CHANGES}
TEXT = " one two  three\nfour five six"


def change(name, texts, prompts=None):
    return changed_texts(BY_NAME[name], prompts or [str(i) for i in range(len(texts))], texts, 0)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("said twice", " one two  three\nfour five six one two  three\nfour five six"),
        ("first half only", " one two  three"),
        ("blanks appended", " one two  three\nfour five six   \n\n"),
        ("special tokens appended", TEXT + " [SEP] </s> <|im_end|> <|endoftext|>"),
        ("capitals", " ONE TWO  THREE\nFOUR FIVE SIX"),
        ("last words thrice more", TEXT + " two three four five six" * 3),
    ],
)
def test_each_change_is_the_one_that_it_is_called(name, expected):
    assert change(name, [TEXT]) == [expected]


def test_shuffling_keeps_the_words_and_repeats_itself():
    (shuffled,) = change("words shuffled", [TEXT])
    assert sorted(shuffled.split()) == sorted(TEXT.split())
    assert shuffled.startswith(" ")
    assert shuffled.split() != TEXT.split()
    assert change("words shuffled", [TEXT]) == [shuffled]


def test_the_text_appended_is_of_another_prompt():
    """A text of the same prompt would be relevant."""
    changed = change("another text appended", [" a", " b", " c"], ["p", "p", "q"])
    assert changed == [" a c", " b c", " c a"]


def test_nothing_to_change_is_said():
    with pytest.raises(ValueError, match="none of 2 texts changes"):
        change("capitals", ["123", "!?"])


@pytest.mark.parametrize(
    ("share", "expected"), [(1.0, " a  b c d"), (0.5, " a  b"), (0.01, " a"), (0.75, " a  b c")]
)
def test_truncating_keeps_the_spaces_between_words_and_one_word_at_least(share, expected):
    assert truncated(" a  b c d", share) == expected


def test_truncating_finds_each_word_behind_the_one_before():
    """The first "a" is in "banana" already."""
    assert truncated("banana a nan x", 0.5) == "banana a"
    assert truncated("", 0.5) == ""


def test_effects_are_in_standard_deviations_of_the_scores_before():
    effects = standardised_effects(np.array([0.0, 4.0]), np.array([2.0, 4.0]))
    assert effects.tolist() == [1.0, 0.0]
    with pytest.raises(ValueError, match="the same score"):
        standardised_effects(np.array([1.0, 1.0]), np.array([2.0, 3.0]))


def steady(prompts, completions):
    return np.array([float(len(text)) for text in completions])


def padded(prompts, completions):
    """What a reward does whose pads leak into the score: .001 for each pad."""
    longest = max(len(text) for text in completions)
    return np.array([len(text) + 0.001 * (longest - len(text)) for text in completions])


TEXTS = ["x" * (1 + i % 9) for i in range(20)]


def test_a_steady_reward_has_no_difference_at_all():
    assert batch_difference(steady, TEXTS, TEXTS, 7) == 0
    assert neighbour_difference(steady, TEXTS, TEXTS) == 0


def test_a_leak_of_padding_is_seen():
    """Alone a text of length 1 has no pads, and 8 in the whole batch."""
    assert batch_difference(padded, TEXTS, TEXTS, 1) == pytest.approx(0.008)
    # 9 letters against 8 times as many and the 7 spaces between them: 70 pads.
    assert neighbour_difference(padded, TEXTS, TEXTS) == pytest.approx(0.001 * (9 * 7 + 7))
