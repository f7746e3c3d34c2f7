"""What two people said of one sheet is taken apart and compared as one does it by hand."""

import itertools

import numpy as np
import pytest

from reward_models.feedback.judged import contradiction, units_of
from reward_models.preferences import make_sheets
from reward_models.preferences.sheets import Judgement


def neighbours_swapped(one, other):
    """How often two neighbours have to change places to make one order of the other."""
    order, swaps = list(other), 0
    for _ in order:
        for at in range(len(order) - 1):
            if one.index(order[at]) > one.index(order[at + 1]):
                order[at], order[at + 1] = order[at + 1], order[at]
                swaps += 1
    return swaps


def test_orders_are_as_far_apart_as_neighbours_must_change_places():
    orders = list(itertools.permutations(range(4)))
    for one, other in itertools.product(orders, orders):
        assert neighbours_swapped(one, other) == contradiction("rank", list(one), list(other))


def test_ratings_contradict_from_two_steps_on():
    apart = [[contradiction("rate", one, other) for other in range(1, 6)] for one in range(1, 6)]
    assert apart == [
        [0, 0, 2, 3, 4],
        [0, 0, 0, 2, 3],
        [2, 0, 0, 0, 2],
        [3, 2, 0, 0, 0],
        [4, 3, 2, 0, 0],
    ]


@pytest.mark.parametrize("seed", range(20))
def test_marks_contradict_by_every_character_that_is_good_here_and_bad_there(seed):
    rng = np.random.default_rng(seed)

    def marked():
        ends = sorted(rng.choice(40, 8, replace=False).tolist())
        return [
            [start, end, str(rng.choice(["good", "bad"]))]
            for start, end in zip(ends[::2], ends[1::2], strict=True)
        ]

    one, other = marked(), marked()
    letters = []
    for spans in (one, other):
        text = ["-"] * 40
        for start, end, mark in spans:
            text[start:end] = mark[0] * (end - start)
        letters.append(text)
    opposed = sum({"g", "b"} == {a, b} for a, b in zip(*letters, strict=True))
    assert opposed == contradiction("spans", one, other) == contradiction("spans", other, one)


def test_a_judgement_is_taken_apart_into_what_two_people_can_agree_about():
    def units(question, said, texts):
        written = [("prompt", text, "") for text in texts]
        (sheet,) = make_sheets(written, question)
        judgement = Judgement(sheet_id=sheet.sheet_id, annotator="anna", said=said)
        return [
            (who, what.removeprefix(sheet.sheet_id), value)
            for who, what, value in units_of(sheet, judgement)
        ]

    assert units("rate", 4, ["x"]) == [("anna", "", 4)]
    assert units("rank", [2, 0, 1], "xyz") == [
        ("anna", "/0/1", True),
        ("anna", "/0/2", False),
        ("anna", "/1/2", False),
    ]
    assert units("spans", [[4, 9, "good"], [9, 13, "bad"]], ["one two three four"]) == [
        ("anna", "/0", ""),
        ("anna", "/1", "good"),
        ("anna", "/2", "good"),
        ("anna", "/3", ""),
    ]
