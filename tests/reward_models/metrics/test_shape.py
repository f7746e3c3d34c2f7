"""Rewards that look at how a completion is built, by numbers worked out by hand."""

import pytest

from reward_models.metrics import Distinct, LengthWindow, Readability, Repetition
from reward_models.metrics.shape import syllables


@pytest.mark.parametrize(
    ("words", "score"),
    [(0, 0.0), (1, 0.2), (4, 0.8), (5, 1.0), (8, 1.0), (9, 0.8), (13, 0.0), (99, 0.0)],
)
def test_a_wanted_length_scores_1_and_others_less(words, score):
    reward = LengthWindow(low=5, high=8, slope=5)
    assert reward([""], ["w " * words]) == [pytest.approx(score)]


def test_a_length_may_be_in_characters():
    assert LengthWindow(low=2, high=3, slope=2, unit="characters")(["", ""], ["ab ", "abcd"]) == [
        1.0,
        0.5,
    ]


@pytest.mark.parametrize(
    ("text", "repeated", "distinct"),
    [
        ("a b a b a b", 3 / 5, 2 / 5),
        ("A b, a B!", 1 / 3, 2 / 3),
        ("one two three", 0.0, 1.0),
        ("one", 0.0, 0.0),
        ("", 0.0, 0.0),
        ("no no no no", 2 / 3, 1 / 3),
    ],
)
def test_bigrams_that_come_again(text, repeated, distinct):
    """Of the 5 bigrams in the first text, ab and ba are there once, and 3 come again."""
    assert Repetition(n=2)([""], [text]) == [pytest.approx(repeated)]
    assert Distinct(n=2)([""], [text]) == [pytest.approx(distinct)]


@pytest.mark.parametrize(
    ("text", "ease"),
    [
        # 6 words of one syllable in a sentence.
        ("The cat sat on the mat.", 206.835 - 1.015 * 6 - 84.6),
        ("The cat sat. On the mat!", 206.835 - 1.015 * 3 - 84.6),
        # 16 words, 23 syllables: Wikipedia's page on Flesch gives 69.
        (
            "This sentence, taken as a reading passage unto itself, "
            "is being used to prove a point.",
            206.835 - 1.015 * 16 - 84.6 * 23 / 16,
        ),
        ("no point 3.5 at the end", 206.835 - 1.015 * 7 - 84.6),
    ],
)
def test_reading_ease_is_flesch_s_formula(text, ease):
    assert Readability(clipped=False)([""], [text]) == [pytest.approx(ease / 100)]


def test_reading_ease_is_cut_to_0_and_1():
    hard = "Internationalization necessitates institutional responsibilities."
    assert Readability()(["", "", ""], ["The cat sat.", hard, "?!"]) == [1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("word", "count"),
    [
        ("the", 1),
        ("make", 1),
        ("table", 2),
        ("walked", 1),
        ("wanted", 2),
        ("horses", 2),
        ("churches", 2),
        ("cakes", 1),
        ("syllable", 3),
        ("beautiful", 3),
        ("being", 2),
        ("Readability", 5),
        ("rhythm", 1),
        ("pst", 1),
    ],
)
def test_syllables_are_groups_of_vowels_without_a_silent_e(word, count):
    assert count == syllables(word)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LengthWindow(low=3, high=2), "low <= high must hold, got low=3, high=2"),
        (lambda: LengthWindow(low=-1, high=2), "low <= high must hold"),
        (lambda: LengthWindow(low=1, high=2, slope=0), "slope must be positive"),
        (lambda: LengthWindow(low=1, high=2, unit="tokens"), "unknown unit 'tokens'; known: words"),
        (lambda: Repetition(n=0), "n must be positive, got 0"),
        (lambda: Distinct(n=0), "n must be positive, got 0"),
    ],
)
def test_settings_that_mean_nothing_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "reward", [LengthWindow(low=1, high=2), Repetition(), Distinct(), Readability()]
)
def test_what_is_no_text_is_named(reward):
    with pytest.raises(TypeError, match="completion 1 is 3; it must be a text"):
        reward(["", ""], ["a", 3])
