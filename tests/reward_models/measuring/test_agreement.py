"""Agreement: the literature's example, closed forms, and why a number does not exist."""

import krippendorff
import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from reward_models.measuring.agreement import (
    answer_table,
    cohen_kappa,
    fleiss_kappa,
    kappa_interval,
    krippendorff_alpha,
    krippendorff_interval,
    majority_credits,
    mean_pairwise_kappa,
    pair_agreements,
    percent_agreement,
    with_majority,
)

_ = None
CLASSIC = [  # Krippendorff 2011: four observers, twelve units
    [1, 2, 3, 3, 2, 1, 4, 1, 2, _, _, _],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, _, 3],
    [_, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, _],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, _],
]


@pytest.mark.parametrize(
    ("level", "expected"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)]
)
def test_alpha_of_the_classic_matrix(level, expected):
    """As published, to the digits that were published."""
    assert expected == round(krippendorff_alpha(CLASSIC, level), 3)


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval"])
def test_alpha_is_that_of_an_independent_package(level):
    rng = np.random.default_rng(0)
    table = rng.integers(1, 5, size=(5, 40)).astype(float)
    table[rng.random(table.shape) < 0.3] = np.nan
    ours = [[None if np.isnan(a) else int(a) for a in row] for row in table]
    theirs = krippendorff.alpha(reliability_data=table, level_of_measurement=level)
    assert krippendorff_alpha(ours, level) == pytest.approx(theirs)


def test_alpha_does_not_depend_on_the_order_of_people_items_or_names():
    renamed = [[None if a is None else f"answer {a}" for a in row[::-1]] for row in CLASSIC[::-1]]
    assert krippendorff_alpha(renamed) == pytest.approx(krippendorff_alpha(CLASSIC))


def test_kappa_of_cohen_s_form_worked_by_hand():
    """Ten items, 7 equal, both say a six times: p_e = .36 + .16, kappa = .18 / .48."""
    first = "aaaaaabbbb"
    second = "aaaabbbbba"
    assert sum(x == y for x, y in zip(first, second, strict=True)) == 7
    p_e = 0.6 * 0.5 + 0.4 * 0.5
    assert cohen_kappa(first, second) == pytest.approx((0.7 - p_e) / (1 - p_e))


def test_kappa_of_a_table_from_a_textbook():
    """50 applications, 20 both yes, 15 both no, 5 and 10 split: kappa .4."""
    first = ["yes"] * 25 + ["no"] * 25
    second = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert cohen_kappa(first, second) == pytest.approx(0.4)


def test_kappa_leaves_out_what_one_of_the_two_left_out():
    assert cohen_kappa(["a", "b", None, "a"], ["a", "b", "a", None]) == pytest.approx(1.0)


def test_chance_has_no_agreement_beyond_chance():
    """Five coins on 4,000 items: half agree, and nothing is left."""
    table = np.random.default_rng(0).integers(0, 2, size=(5, 4000)).tolist()
    assert percent_agreement(table) == pytest.approx(0.5, abs=0.01)
    assert krippendorff_alpha(table) == pytest.approx(0, abs=0.02)
    assert mean_pairwise_kappa(table) == pytest.approx(0, abs=0.02)
    assert with_majority(table) == pytest.approx(0.5, abs=0.01)


def test_percent_agreement_counts_pairs_of_answers():
    """Items aab, ab and a lone a: one of three pairs, none of one, nothing: 1 of 4."""
    assert percent_agreement([["a", "a", "a"], ["a", "b", None], ["b", None, None]]) == 0.25


def test_agreement_with_the_majority_leaves_one_s_own_answer_out():
    """aab: each a meets {a, b}, an even split, and gets a half; b meets {a, a}: 0."""
    assert with_majority([["a"], ["a"], ["b"]]) == pytest.approx((0.5 + 0.5 + 0) / 3)
    assert with_majority([["a"], ["a"], ["a"], ["b"]]) == pytest.approx(3 / 4)


def test_annotators_who_flip_a_share_agree_as_often_as_they_must():
    """Two people of the same truth, each wrong with .1: .9^2 + .1^2."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, size=20_000)
    table = [np.where(rng.random(20_000) < 0.1, 1 - truth, truth).tolist() for _ in range(3)]
    assert percent_agreement(table) == pytest.approx(0.82, abs=0.005)
    assert krippendorff_alpha(table) == pytest.approx(0.64, abs=0.01)


@pytest.mark.parametrize("measure", [percent_agreement, krippendorff_alpha, with_majority])
def test_nobody_to_agree_with_is_said(measure):
    with pytest.raises(ValueError, match="no item has two answers"):
        measure([["a", None], [None, "b"]])


def test_unanimity_is_no_number_but_a_reason():
    """0 / 0: neither 1 nor 0 would be true."""
    with pytest.raises(ValueError, match="all answers are 'a'"):
        krippendorff_alpha([["a", "a"], ["a", "a"]])
    with pytest.raises(ValueError, match="the same one answer"):
        cohen_kappa("aa", "aa")
    with pytest.raises(ValueError, match="none of the pairs among 2"):
        mean_pairwise_kappa([["a", None], [None, "b"]])
    with pytest.raises(ValueError, match="needs numbers"):
        krippendorff_alpha([["a", "b"], ["a", "a"]], "ordinal")


def test_answers_are_laid_out_and_the_last_one_counts():
    answers = [("y", "2", "b"), ("x", "1", "a"), ("y", "2", "tie")]
    table, annotators, items = answer_table(answers)
    assert table == [["a", None], [None, "tie"]]
    assert (annotators, items) == (["x", "y"], ["1", "2"])


def test_an_outsider_is_held_against_the_same_answers_as_people_are():
    """Items aab and bb: it says a, then cannot decide, which is half of each."""
    table = [["a", "b"], ["a", "b"], ["b", None]]
    outsider = [{"a": 1.0}, {"a": 0.5, "b": 0.5}]
    assert pair_agreements(table, outsider) == ([1, 1, 0, 0.5, 0.5], [0, 0, 0, 1, 1])
    # Without one a the others are a and b, half a point; without b they are a and a.
    assert majority_credits(table, outsider) == ([0.5, 0.5, 1, 0.5, 0.5], [0, 0, 0, 1, 1])


def test_an_outsider_who_answers_like_a_person_agrees_like_one():
    """Four people who know the truth with .8, one of whom is not counted among them."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, size=20_000)
    people = [np.where(rng.random(20_000) < 0.2, 1 - truth, truth).tolist() for _ in range(4)]
    table, outsider = people[:3], [{answer: 1.0} for answer in people[3]]
    assert np.mean(majority_credits(table, outsider)[0]) == pytest.approx(
        with_majority(table), abs=0.01
    )
    assert np.mean(pair_agreements(table, outsider)[0]) == pytest.approx(0.68, abs=0.01)


def test_alpha_s_interval_holds_alpha_and_narrows_with_items():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, size=1600)
    table = [np.where(rng.random(1600) < 0.1, 1 - truth, truth).tolist() for _ in range(3)]
    wide = krippendorff_interval([row[:100] for row in table], rng)
    narrow = krippendorff_interval(table, rng)
    assert narrow[0] < 0.64 < narrow[1]
    assert narrow[1] - narrow[0] == pytest.approx((wide[1] - wide[0]) / 4, rel=0.35)
    with pytest.raises(ValueError, match="two items"):
        krippendorff_interval([["a"], ["b"]], rng)


FLEISS = [  # fourteen people put ten patients into five classes; kappa is given as .210
    [0, 0, 0, 0, 14],
    [0, 2, 6, 4, 2],
    [0, 0, 3, 5, 6],
    [0, 3, 9, 2, 0],
    [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0],
    [3, 2, 6, 3, 0],
    [2, 5, 3, 2, 2],
    [6, 5, 2, 1, 0],
    [0, 2, 2, 3, 7],
]


def fleiss_table():
    items = [np.repeat(np.arange(5), counts).tolist() for counts in FLEISS]
    return [list(row) for row in zip(*items, strict=True)]


def test_kappa_of_fleiss_is_the_published_one_and_alpha_s_neighbour():
    """Without gaps the two differ by how chance draws: with or without replacement."""
    table = fleiss_table()
    kappa = fleiss_kappa(table)
    assert round(kappa, 3) == 0.210
    answers = 14 * 10
    assert 1 - krippendorff_alpha(table) == pytest.approx((1 - kappa) * (answers - 1) / answers)


def test_kappa_of_cohen_is_that_of_an_independent_package():
    one, other = np.random.default_rng(1).integers(0, 3, size=(2, 60))
    other = np.where(np.arange(60) % 2, one, other)
    ours = cohen_kappa(one.tolist(), other.tolist())
    assert ours == pytest.approx(cohen_kappa_score(one, other))


def test_kappa_needs_whole_tables_and_more_than_one_answer():
    with pytest.raises(ValueError, match="equally many answers"):
        fleiss_kappa([["a", "b"], ["a", None], ["b", "b"]])
    with pytest.raises(ValueError, match="equally many answers"):
        fleiss_kappa([["a", "b"], ["a", None]])
    with pytest.raises(ValueError, match="all answers are the same"):
        fleiss_kappa([["a", "a"], ["a", "a"]])
    with pytest.raises(ValueError, match="two items"):
        kappa_interval([["a"], ["b"], ["a"]], np.random.default_rng(0))


def truth_with_slips(rng, people, items, slips, classes=2):
    """What people say who are each wrong in a share of the cases, and then say any other thing."""
    truth = rng.integers(0, classes, size=items)
    wrong = rng.random((people, items)) < slips
    shift = rng.integers(1, classes, size=(people, items)) if classes > 2 else 1
    return np.where(wrong, (truth + shift) % classes, truth).tolist()


@pytest.mark.parametrize(
    ("interval", "people", "level"),
    [
        (krippendorff_interval, 3, "nominal"),
        (krippendorff_interval, 3, "ordinal"),
        (kappa_interval, 2, None),
        (kappa_interval, 4, None),
    ],
)
def test_an_interval_of_agreement_holds_the_truth_as_often_as_it_says(interval, people, level):
    """Two of the same truth with slips of .1 agree .82, so beyond chance .64, in 200 drawn sets.

    Of equally frequent pairs of numbers all levels are the same.
    """
    rng = np.random.default_rng(people)
    kwargs = {} if level is None else {"level": level}
    held = 0
    for _repetition in range(200):
        low, high = interval(truth_with_slips(rng, people, 120, 0.1), rng, 300, **kwargs)
        held += low <= 0.64 <= high
    assert 0.89 < held / 200 < 0.99


def test_an_interval_of_ranks_is_wider_than_none():
    rng = np.random.default_rng(0)
    table = truth_with_slips(rng, 3, 200, 0.2, classes=5)
    low, high = krippendorff_interval(table, rng, level="ordinal")
    assert low < krippendorff_alpha(table, "ordinal") < high
