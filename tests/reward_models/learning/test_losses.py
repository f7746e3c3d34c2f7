"""Preference losses against their definitions, their symmetries and finite differences."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reward_models.learning.losses import (
    bradley_terry,
    centring,
    noisy_bradley_terry,
    plackett_luce,
    rao_kupper,
    rating_cross_entropy,
    rating_differences,
    rating_error,
    soft_label_bradley_terry,
)

# A busy machine is no counterexample.
PATIENT = settings(deadline=None, derandomize=True)
scores = st.lists(st.floats(-20, 20), min_size=2, max_size=2).map(
    lambda values: torch.tensor(values, dtype=torch.float64)
)


def test_bradley_terry_equals_numbers_worked_by_hand():
    """-log sigmoid(0) = log 2, and -log sigmoid(log 3) = -log(3 / 4)."""
    loss = bradley_terry(torch.tensor([1.0, math.log(3)]), torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(torch.tensor([math.log(2), -math.log(0.75)]), loss)


def test_a_margin_moves_the_point_of_indifference():
    """With a margin of m, a lead of m is worth a coin toss; a margin may differ by pair."""
    margin = torch.tensor([0.5, 2.0])
    loss = bradley_terry(torch.tensor([0.5, 2.0]), torch.zeros(2), margin)
    torch.testing.assert_close(torch.full((2,), math.log(2)), loss)


@PATIENT
@given(scores)
def test_the_two_answers_to_a_pair_have_probabilities_that_sum_to_one(pair):
    """Antisymmetry: exp(-loss(a over b)) + exp(-loss(b over a)) = 1."""
    a, b = pair[:1], pair[1:]
    total = torch.exp(-bradley_terry(a, b)) + torch.exp(-bradley_terry(b, a))
    torch.testing.assert_close(torch.ones(1, dtype=torch.float64), total)


@PATIENT
@given(scores, st.floats(-100, 100))
def test_a_shift_of_both_scores_changes_no_loss_but_centring(pair, shift):
    """Only differences of scores mean anything, so the level needs a penalty of its own."""
    a, b = pair[:1], pair[1:]
    torch.testing.assert_close(
        bradley_terry(a, b), bradley_terry(a + shift, b + shift), rtol=1e-6, atol=1e-9
    )
    torch.testing.assert_close((a + b) ** 2, centring(a, b))


@PATIENT
@given(scores)
def test_the_gradient_equals_finite_differences(pair):
    """Of all losses, in both scores."""
    chosen, rejected = (pair[i : i + 1].clone().requires_grad_() for i in (0, 1))
    for loss in (
        lambda c, r: bradley_terry(c, r, 0.3),
        lambda c, r: soft_label_bradley_terry(c, r, torch.tensor([0.7], dtype=torch.float64)),
        lambda c, r: noisy_bradley_terry(c, r, 0.2),
        centring,
    ):
        assert torch.autograd.gradcheck(loss, (chosen, rejected), eps=1e-6, atol=1e-5)


@pytest.mark.parametrize("difference", [-1e4, -200.0, 200.0, 1e4])
def test_extreme_scores_give_finite_losses_and_gradients(difference):
    """log(sigmoid(x)) written out overflows: -log(1 + exp(1e4)) is -inf in float32."""
    chosen = torch.tensor([difference], requires_grad=True)
    for loss in (
        bradley_terry(chosen, torch.zeros(1)),
        noisy_bradley_terry(chosen, torch.zeros(1), 0.1),
        soft_label_bradley_terry(chosen, torch.zeros(1), torch.tensor([0.5])),
    ):
        (gradient,) = torch.autograd.grad(loss.sum(), chosen)
        assert torch.isfinite(loss).all()
        assert torch.isfinite(gradient).all()


@PATIENT
@given(scores)
def test_certain_soft_labels_reduce_to_bradley_terry(pair):
    """p = 1 is a choice of the first, p = 0 of the second."""
    a, b = pair[:1], pair[1:]
    one = torch.ones(1, dtype=torch.float64)
    torch.testing.assert_close(bradley_terry(a, b), soft_label_bradley_terry(a, b, one))
    torch.testing.assert_close(bradley_terry(b, a), soft_label_bradley_terry(a, b, one - 1))


def test_a_tie_pulls_the_scores_together():
    """At p = .5 the loss is lowest at equal scores, and its gradient there is zero."""
    a = torch.zeros(1, requires_grad=True)
    half = torch.tensor([0.5])
    loss = soft_label_bradley_terry(a, torch.zeros(1), half)
    (gradient,) = torch.autograd.grad(loss.sum(), a)
    assert gradient.item() == 0.0
    assert loss.item() < soft_label_bradley_terry(a + 0.1, torch.zeros(1), half).item()


@PATIENT
@given(scores)
def test_no_noise_is_bradley_terry(pair):
    """The noise-aware loss has the plain one as its limit."""
    a, b = pair[:1], pair[1:]
    torch.testing.assert_close(bradley_terry(a, b), noisy_bradley_terry(a, b, 0.0))


def test_noise_bounds_the_loss_of_an_absurd_answer():
    """With 20 % coin tosses, no answer is less likely than 10 %."""
    loss = noisy_bradley_terry(torch.tensor([-50.0]), torch.tensor([50.0]), 0.2)
    torch.testing.assert_close(torch.tensor([-math.log(0.1)]), loss)


@pytest.mark.parametrize("noise", [-0.1, 1.0])
def test_an_impossible_share_of_noise_is_refused(noise):
    """At noise 1 the answers say nothing, and log(1 - noise) is infinite."""
    with pytest.raises(ValueError, match=r"lies in \[0, 1\)"):
        noisy_bradley_terry(torch.zeros(1), torch.zeros(1), noise)


TIE, NO_TIE = torch.tensor([True]), torch.tensor([False])
groups = st.lists(st.floats(-10, 10), min_size=4, max_size=4).map(
    lambda values: torch.tensor([values], dtype=torch.float64)
)
ALL = torch.ones(1, 4, dtype=torch.bool)
THREE = torch.tensor([[True, True, True, False]])
RATINGS = torch.tensor([[0.9, 0.1, 0.5, 0.3]], dtype=torch.float64)


@PATIENT
@given(scores, st.floats(0.01, 20))
def test_a_win_a_loss_and_a_tie_have_probabilities_that_sum_to_one(pair, threshold):
    """The three outcomes of Rao and Kupper's model; a tie is the same from both sides."""
    a, b = pair[:1], pair[1:]
    eta = torch.tensor(threshold, dtype=torch.float64)
    outcomes = [
        rao_kupper(a, b, NO_TIE, eta),
        rao_kupper(b, a, NO_TIE, eta),
        rao_kupper(a, b, TIE, eta),
    ]
    total = sum(torch.exp(-loss) for loss in outcomes)
    torch.testing.assert_close(torch.ones(1, dtype=torch.float64), total)
    torch.testing.assert_close(rao_kupper(b, a, TIE, eta), outcomes[2])


def test_rao_kupper_equals_numbers_worked_by_hand():
    """At a lead of 0 and a threshold of log 3: a win 1/4, a tie 1 - 2/4."""
    eta, zero = torch.tensor(math.log(3)), torch.zeros(2)
    losses = rao_kupper(zero, zero, torch.tensor([False, True]), eta)
    torch.testing.assert_close(torch.tensor([math.log(4), math.log(2)]), losses)


@PATIENT
@given(scores)
def test_a_threshold_of_zero_is_bradley_terry(pair):
    """Where nothing can be a tie, an answer is worth what it is without ties."""
    a, b = pair[:1], pair[1:]
    none = torch.zeros((), dtype=torch.float64)
    torch.testing.assert_close(bradley_terry(a, b), rao_kupper(a, b, NO_TIE, none))


@PATIENT
@given(scores, st.floats(0.05, 5))
def test_the_threshold_has_the_gradient_of_finite_differences(pair, threshold):
    eta = torch.tensor(threshold, dtype=torch.float64, requires_grad=True)
    chosen, rejected = (pair[i : i + 1].clone().requires_grad_() for i in (0, 1))
    for tie in (TIE, NO_TIE):
        assert torch.autograd.gradcheck(
            lambda c, r, e, tie=tie: rao_kupper(c, r, tie, e), (chosen, rejected, eta)
        )


@PATIENT
@given(scores)
def test_a_ranking_of_two_is_a_pair(pair):
    """Plackett and Luce's model with K = 2, the last place known or not."""
    expected = bradley_terry(pair[:1], pair[1:])
    both = torch.ones(1, 2, dtype=torch.bool)
    for places in (1, 2):
        torch.testing.assert_close(expected, plackett_luce(pair.unsqueeze(0), both, places))


def test_a_ranking_equals_numbers_worked_by_hand():
    """Scores log 3, log 2, log 1: 3/6 for the first place, then 2/3."""
    row = torch.tensor([[3.0, 2.0, 1.0]]).log()
    there = torch.ones(1, 3, dtype=torch.bool)
    torch.testing.assert_close(torch.tensor([math.log(2)]), plackett_luce(row, there, 1))
    torch.testing.assert_close(torch.tensor([math.log(3)]), plackett_luce(row, there, 2))


@PATIENT
@given(groups, st.integers(1, 3))
def test_the_probabilities_of_all_rankings_sum_to_one(row, places):
    """Over the ordered choices of the first places, each counted once."""
    total = 0.0
    for first in itertools.permutations(range(4), places):
        rest = [i for i in range(4) if i not in first]
        total += plackett_luce(row[:, [*first, *rest]], ALL, places).neg().exp().item()
    assert total == pytest.approx(1.0)


@PATIENT
@given(groups)
def test_what_is_not_there_counts_for_nothing(row):
    """Padding of a ragged batch: neither in the loss nor in the gradient."""
    row = row.clone().requires_grad_()
    for loss, short in (
        (plackett_luce(row, THREE, 2), plackett_luce(row[:, :3], ALL[:, :3], 2)),
        (rating_error(row, RATINGS, THREE), rating_error(row[:, :3], RATINGS[:, :3], ALL[:, :3])),
        (
            rating_differences(row, RATINGS, THREE),
            rating_differences(row[:, :3], RATINGS[:, :3], ALL[:, :3]),
        ),
        (
            rating_cross_entropy(row, RATINGS, THREE),
            rating_cross_entropy(row[:, :3], RATINGS[:, :3], ALL[:, :3]),
        ),
    ):
        torch.testing.assert_close(short, loss)
        (gradient,) = torch.autograd.grad(loss.sum(), row)
        assert torch.isfinite(gradient).all()
        assert gradient[0, 3].item() == 0.0


@PATIENT
@given(groups, st.floats(-50, 50))
def test_a_shift_of_a_group_changes_neither_rankings_nor_differences(row, shift):
    """The level of a prompt's texts is free."""
    for loss in (
        lambda s: plackett_luce(s, ALL, 3),
        lambda s: rating_differences(s, RATINGS, ALL),
    ):
        torch.testing.assert_close(loss(row), loss(row + shift), rtol=1e-6, atol=1e-9)


@PATIENT
@given(groups)
def test_the_gradients_of_groups_equal_finite_differences(row):
    row = row.clone().requires_grad_()
    for loss in (
        lambda s: plackett_luce(s, THREE, torch.tensor([2])),
        lambda s: rating_differences(s, RATINGS, THREE),
        lambda s: rating_error(s, RATINGS, THREE),
        lambda s: rating_cross_entropy(s, RATINGS, THREE),
    ):
        assert torch.autograd.gradcheck(loss, (row,), atol=1e-5)


@PATIENT
@given(groups)
def test_rating_differences_are_what_their_definition_says(row):
    """The mean over the six pairs, written as a loop."""
    s, r = row[0].tolist(), RATINGS[0].tolist()
    pairs = list(itertools.combinations(range(4), 2))
    expected = sum(((s[i] - s[j]) - (r[i] - r[j])) ** 2 for i, j in pairs) / 6
    assert rating_differences(row, RATINGS, ALL).item() == pytest.approx(expected, abs=1e-9)


def test_rating_losses_equal_numbers_worked_by_hand():
    """Errors 1 and -1 have a mean square of 1; log-odds log 3 against certainty cost log(4/3)."""
    both = torch.ones(1, 2, dtype=torch.bool)
    s, r = torch.tensor([[2.0, 0.0]]), torch.tensor([[1.0, 1.0]])
    torch.testing.assert_close(torch.tensor([1.0]), rating_error(s, r, both))
    odds, sure = torch.tensor([[math.log(3), -math.log(3)]]), torch.tensor([[1.0, 0.0]])
    torch.testing.assert_close(
        torch.tensor([math.log(4 / 3)]), rating_cross_entropy(odds, sure, both)
    )
    alone = torch.tensor([[True, False]])
    assert rating_differences(s, r, alone).item() == 0.0
