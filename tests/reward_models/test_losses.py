"""Preference losses against their definitions, their symmetries and finite differences."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reward_models.losses import (
    bradley_terry,
    centring,
    noisy_bradley_terry,
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
