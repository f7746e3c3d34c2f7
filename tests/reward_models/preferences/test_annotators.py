"""Simulated annotators against the closed form of their own description."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from scipy.stats import binomtest

from reward_models.preferences import Pair, SimulatedAnnotator
from reward_models.preferences.annotators import PERSONAS, persona


def quality(prompts, completions, **columns):
    """A hidden score that is written in the text."""
    return [float(text) for text in completions]


def pairs_of_difference(difference, number):
    return [
        Pair(pair_id=f"{difference}/{i}", prompt="p", a=str(difference), b="0.0")
        for i in range(number)
    ]


@pytest.mark.parametrize("flip", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("difference", [-0.3, 0.0, 0.2, 2.0])
def test_the_share_of_answers_is_the_model_s_probability(difference, flip):
    """(1 - flip) p + flip (1 - p), inside a 99.99 % interval around 4,000 answers."""
    annotator = SimulatedAnnotator(score=quality, slope=4.0, flip=flip)
    answers = annotator.answer(pairs_of_difference(difference, 4000))
    chose_a = sum(answer.answer == "a" for answer in answers)
    p = 1 / (1 + math.exp(-4.0 * difference))
    expected = (1 - flip) * p + flip * (1 - p)
    assert binomtest(chose_a, 4000, expected).pvalue > 1e-4


def test_an_answer_depends_on_neither_order_nor_company():
    """An annotation that was interrupted and goes on gives the answers it would have given."""
    annotator = SimulatedAnnotator(score=quality, seed=3)
    pairs = pairs_of_difference(0.1, 50)
    whole = annotator.answer(pairs)
    in_parts = annotator.answer(pairs[30:]) + annotator.answer(pairs[:30])
    assert whole == in_parts[20:] + in_parts[:20]
    assert whole[::-1] == annotator.answer(pairs[::-1])


def test_another_seed_is_another_person():
    """Two annotators agree as often as independent coins of their probability do."""
    pairs = pairs_of_difference(0.1, 2000)
    one, two = (SimulatedAnnotator(score=quality, flip=0.0, seed=s).answer(pairs) for s in (0, 1))
    p = 1 / (1 + math.exp(-0.4))
    agree = sum(x.answer == y.answer for x, y in zip(one, two, strict=True))
    assert binomtest(agree, 2000, p**2 + (1 - p) ** 2).pvalue > 1e-4


def test_swapping_the_sides_keeps_the_statistics():
    """There is no bias for the side called a."""
    rng = np.random.default_rng(0)
    pairs = [
        Pair(pair_id=str(i), prompt="", a=str(a), b=str(b))
        for i, (a, b) in enumerate(rng.normal(size=(4000, 2)))
    ]
    chose_a = sum(x.answer == "a" for x in SimulatedAnnotator(score=quality).answer(pairs))
    assert binomtest(chose_a, 4000, 0.5).pvalue > 1e-4


def test_the_true_order_has_no_noise_and_no_ties():
    """It is what a reward model is measured against."""
    annotator = SimulatedAnnotator(score=quality, slope=0.0, flip=0.5)
    pairs = [
        Pair(pair_id="1", prompt="p", a="1.0", b="2.0"),
        Pair(pair_id="2", prompt="p", a="3.0", b="2.0"),
        Pair(pair_id="3", prompt="p", a="2.0", b="2.0"),
    ]
    order = annotator.true_order(pairs)
    assert [
        (preference.pair_id, preference.chosen, preference.rejected) for preference in order
    ] == [("1", "2.0", "1.0"), ("2", "3.0", "2.0")]


def test_extreme_differences_do_not_overflow():
    """math.exp(1e5) raises."""
    annotator = SimulatedAnnotator(score=quality, flip=0.0)
    pairs = pairs_of_difference(1e5, 1) + pairs_of_difference(-1e5, 1)
    assert [answer.answer for answer in annotator.answer(pairs)] == ["a", "b"]


def test_no_pair_needs_no_answer():
    """A reward function may not take an empty batch."""
    assert SimulatedAnnotator(score=lambda *_: 1 / 0).answer([]) == []


@pytest.mark.parametrize("flip", [-0.1, 0.6])
def test_a_flip_rate_beyond_a_half_is_refused(flip):
    """Over one half, the annotator says the opposite of what it thinks."""
    with pytest.raises(ValueError, match="turned answers"):
        SimulatedAnnotator(score=quality, flip=flip)


def test_likings_and_ties_have_the_shares_of_their_formula():
    """4,000 answers to one difference, on the left and on the right; both texts equally long."""
    annotator = SimulatedAnnotator(score=quality, flip=0.1, left=0.8, longer=1.0, ties=0.5)
    answers = annotator.answer(pairs_of_difference(0.2, 4000))
    for side, sign in (("a", 1), ("b", -1)):
        shown = [answer.answer for answer in answers if answer.shown_left == side]
        assert binomtest(len(shown), 4000, 0.5).pvalue > 1e-4
        z = 4.0 * 0.2 + sign * 0.8
        a, b = 1 / (1 + math.exp(-z + 0.5)), 1 / (1 + math.exp(z + 0.5))
        assert binomtest(shown.count("tie"), len(shown), 1 - a - b).pvalue > 1e-4
        assert binomtest(shown.count("a"), len(shown), 0.9 * a + 0.1 * b).pvalue > 1e-4


def test_a_liking_for_length_is_for_the_longer_text_on_either_side():
    """The same quality, 5 characters against 3: the log-odds are 8 times two eighths."""
    annotator = SimulatedAnnotator(score=quality, flip=0.0, longer=8.0)
    pairs = [Pair(pair_id=str(i), prompt="", a="1.000", b="1.0") for i in range(3000)]
    share = 1 / (1 + math.exp(-2))
    chose = sum(answer.answer == "a" for answer in annotator.answer(pairs))
    assert binomtest(chose, 3000, share).pvalue > 1e-4


def test_who_gets_tired_looks_less_and_less():
    """Of easy pairs a rested person misses none, and one after 2,000 answers about half."""
    annotator = SimulatedAnnotator(score=quality, flip=0.0, fatigue=1.0)
    pairs = pairs_of_difference(9, 2000)
    answers = annotator.answer(pairs)
    wrong = [answer.answer == "b" for answer in answers]
    expected = [(1 - math.exp(-n / 100)) / 2 for n in range(2000)]
    for start, end in ((0, 50), (50, 150), (150, 2000)):
        mean, spread = sum(expected[start:end]), math.sqrt(end - start) / 2
        assert abs(sum(wrong[start:end]) - mean) < 4 * spread
    assert sum(wrong[:20]) < sum(wrong[-20:])
    later = annotator.answer(pairs[1000:], answered=1000)
    assert answers[1000:] == later


def test_what_a_page_shows_is_answered_by_the_same_chances():
    """By sides, without a pair's name; the same pair again is another draw."""
    annotator = SimulatedAnnotator(score=quality, flip=0.0, left=1.0)
    said = [annotator.choose("p", "0.0", "0.2", number) for number in range(4000)]
    share = 1 / (1 + math.exp(4.0 * 0.2 - 1.0))
    assert binomtest(said.count("left"), 4000, share).pvalue > 1e-4
    assert said[7] == annotator.choose("p", "0.0", "0.2", 7)


def test_orders_have_the_chances_of_plackett_and_luce():
    """Each of six orders, by drawing the best of those left three times, in 3,000 answers."""
    annotator = SimulatedAnnotator(score=quality, slope=2.0, flip=0.1, left=0.6, longer=1.5)
    texts = ["0.5", "0.10", "0.4"]
    said = Counter(tuple(annotator.rank("p", texts, number)) for number in range(3000))
    worth = [
        math.exp(2 * float(text) + 1.5 * len(text) / 10 - 0.6 * place / 2)
        for place, text in enumerate(texts)
    ]

    def chance(one, two, three):
        return worth[one] / sum(worth) * worth[two] / (worth[two] + worth[three])

    for order in itertools.permutations(range(3)):
        expected = 0.9 * chance(*order) + 0.1 * chance(*order[::-1])
        assert binomtest(said[order], 3000, expected).pvalue > 1e-4


def test_an_order_of_two_is_a_choice():
    annotator = SimulatedAnnotator(score=quality, flip=0.1, left=0.7, longer=1.0)
    first = sum(annotator.rank("p", ["0.0", "0.20"], n) == [0, 1] for n in range(3000))
    z = 4.0 * (0.0 - 0.2) + 1.0 * (3 - 4) / 7 + 0.7
    p = 1 / (1 + math.exp(-z))
    assert binomtest(first, 3000, 0.9 * p + 0.1 * (1 - p)).pvalue > 1e-4


@pytest.mark.parametrize("score", ["0.2", "0.5", "-1.0"])
def test_ratings_have_the_chances_of_their_formula(score):
    annotator = SimulatedAnnotator(score=quality, slope=3.0, flip=0.1, middle=0.4)
    said = Counter(annotator.rate("p", score, number) for number in range(3000))
    z = 3.0 * (float(score) - 0.4)
    edges = [0.0, *(1 / (1 + math.exp(z - math.log(k / (5 - k)))) for k in range(1, 5)), 1.0]
    share = [high - low for low, high in itertools.pairwise(edges)]
    assert set(said) <= {1, 2, 3, 4, 5}
    for grade in range(1, 6):
        expected = 0.9 * share[grade - 1] + 0.1 * share[5 - grade]
        assert binomtest(said[grade], 3000, expected).pvalue > 1e-4


def test_words_are_marked_as_often_as_their_worth_says():
    """Of ``one two three four`` the second lifts the score by .3, the fourth costs .1."""
    worth = {"two": 0.3, "four": -0.1}

    def score(prompts, completions, **columns):
        return [sum(worth.get(word, 0.0) for word in text.split()) for text in completions]

    annotator = SimulatedAnnotator(score=score, slope=5.0, flip=0.1)
    text = " one two\nthree  four"
    said = Counter(
        (text[start:end], mark)
        for number in range(2000)
        for start, end, mark in annotator.mark("p", text, number)
    )
    assert {word for word, _ in said} == {"two", "four"}
    for word, right, wrong in (("two", "good", "bad"), ("four", "bad", "good")):
        chance = math.tanh(5.0 * abs(worth[word]) / 2)
        assert binomtest(said[word, right], 2000, 0.9 * chance).pvalue > 1e-4
        assert binomtest(said[word, wrong], 2000, 0.1 * chance).pvalue > 1e-4


def test_a_long_text_is_marked_by_stretches_and_an_empty_one_not_at_all():
    annotator = SimulatedAnnotator(score=lambda _, texts: [-len(t) for t in texts], flip=0.0)
    text = "word " * 1001
    found = annotator.mark("p", text)
    assert len(found) == 91
    assert "".join(text[start:end].replace(" ", "") for start, end, _ in found) == "word" * 1001
    assert {mark for _, _, mark in found} == {"bad"}
    assert annotator.mark("p", " \n") == []


def test_who_looks_at_nothing_answers_by_chance_whatever_is_asked():
    """And asks no score for it; another time is another draw, the same time the same."""
    annotator = SimulatedAnnotator(score=lambda *_: 1 / 0, flip=0.0, lapse=1.0)
    orders = Counter(tuple(annotator.rank("p", ["x", "y", "z"], n)) for n in range(1200))
    grades = Counter(annotator.rate("p", "x", n) for n in range(1200))
    marks = Counter(tuple(annotator.mark("p", "one two three", n)) for n in range(1200))
    for counts, number in ((orders, 6), (grades, 5), (marks, 6)):
        assert len(counts) == number
        for times in counts.values():
            assert binomtest(times, 1200, 1 / number).pvalue > 1e-5
    assert annotator.rank("p", ["x", "y", "z"], 7) == annotator.rank("p", ["x", "y", "z"], 7)


def test_sheets_of_extreme_scores_do_not_overflow():
    annotator = SimulatedAnnotator(score=quality, flip=0.0)
    assert annotator.rank("p", ["-1e9", "1e9", "0"]) == [1, 2, 0]
    assert [annotator.rate("p", score) for score in ("-1e9", "1e9")] == [1, 5]


def test_kinds_of_people_are_made_by_name():
    one = persona("careless?flip=0.2", quality, seed=3)
    assert (one.lapse, one.flip, one.name, one.seed) == (0.5, 0.2, "careless 3", 3)
    assert persona("wordy", quality, seed=0, name="x").name == "x"
    for kind in PERSONAS:
        persona(kind, quality, seed=0)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("carless", "did you mean careless"),
        ("average?lazy=1", "unknown number 'lazy'"),
        ("average?left=much", "is no number"),
        ("average?lapse=2", "share of answers lies in"),
        ("average?ties=-1", "give 0 or more"),
    ],
)
def test_what_is_no_kind_of_person_is_said(line, said):
    with pytest.raises(ValueError, match=said):
        persona(line, quality, seed=0)
