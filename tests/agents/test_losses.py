"""The PPO objective by hand-computed numbers."""

import math

import pytest
import torch

from agents.losses import clipped_policy_loss, clipped_value_loss

ALL = torch.ones(1, 4, dtype=torch.bool)


def test_clips_only_where_it_would_pay():
    """Ratios 1.5 and .5 with advantages of both signs: the minimum of both surrogates."""
    ratio = torch.tensor([[1.5, 1.5, 0.5, 0.5]])
    advantages = torch.tensor([[1.0, -1.0, 1.0, -1.0]])
    result = clipped_policy_loss(ratio.log(), torch.zeros(1, 4), advantages, ALL, clip=0.2)
    # min(A r, A clip(r)) = 1.2, -1.5, 0.5, -0.8
    assert float(result.loss) == pytest.approx(-(1.2 - 1.5 + 0.5 - 0.8) / 4)
    assert float(result.clip_fraction) == 0.5


def test_at_ratio_one_the_loss_is_minus_the_mean_advantage():
    advantages = torch.tensor([[3.0, -1.0, 2.0, 0.0]])
    log_probs = torch.full((1, 4), -1.3)
    result = clipped_policy_loss(log_probs, log_probs, advantages, ALL, clip=0.2)
    assert float(result.loss) == -1.0
    assert float(result.approximate_kl) == 0.0
    assert float(result.clip_fraction) == 0.0


def test_the_gradient_pushes_towards_good_actions():
    """d loss / d log pi = -A / n at ratio 1."""
    log_probs = torch.zeros(1, 4, requires_grad=True)
    advantages = torch.tensor([[3.0, -1.0, 2.0, 0.0]])
    clipped_policy_loss(log_probs, torch.zeros(1, 4), advantages, ALL, 0.2).loss.backward()
    assert log_probs.grad is not None
    torch.testing.assert_close(-advantages / 4, log_probs.grad)


def test_masked_rubbish_gives_finite_loss_and_no_gradient():
    """Infinite log-probabilities at padding must not reach the gradient."""
    log_probs = torch.tensor([[0.1, -torch.inf, torch.nan, 0.2]], requires_grad=True)
    mask = torch.tensor([[True, False, False, True]])
    loss = clipped_policy_loss(log_probs, torch.zeros(1, 4), torch.ones(1, 4), mask, 0.2).loss
    loss.backward()
    assert math.isfinite(loss.item())
    assert log_probs.grad is not None
    assert torch.isfinite(log_probs.grad).all()
    assert log_probs.grad[0, 1:3].tolist() == [0.0, 0.0]


def test_value_loss_takes_the_worse_of_plain_and_clipped():
    """Value 1, old value 0, return 2: plain error 1, clipped to .2 error 3.24."""
    one = torch.ones(1, 1, dtype=torch.bool)
    values, old, returns = torch.tensor([[1.0]]), torch.tensor([[0.0]]), torch.tensor([[2.0]])
    assert float(clipped_value_loss(values, old, returns, one, None)) == 0.5
    assert float(clipped_value_loss(values, old, returns, one, 0.2)) == pytest.approx(1.62)
