"""The PPO objective by hand-computed numbers."""

import math

import pytest
import torch

from agents.maths.losses import (
    cispo_loss,
    clipped_policy_loss,
    clipped_value_loss,
    dpo_loss,
    ipo_loss,
    reinforce_loss,
    text_means,
    text_weights,
    token_weights,
    weighted_sum,
)

ALL = torch.full((1, 4), 0.25)


def test_clips_only_where_it_would_pay():
    """Ratios 1.5 and .5 with advantages of both signs: the minimum of both surrogates."""
    ratio = torch.tensor([[1.5, 1.5, 0.5, 0.5]])
    advantages = torch.tensor([[1.0, -1.0, 1.0, -1.0]])
    result = clipped_policy_loss(ratio.log(), torch.zeros(1, 4), advantages, ALL, clip=0.2)
    # min(A r, A clip(r)) = 1.2, -1.5, 0.5, -0.8
    assert float(result.loss) == pytest.approx(-(1.2 - 1.5 + 0.5 - 0.8) / 4)
    assert float(result.clip_fraction_high) == 0.25  # 1.5 with a good action
    assert float(result.clip_fraction_low) == 0.25  # .5 with a bad one
    assert float(result.measured()["clip_fraction"]) == 0.5


def test_at_ratio_one_the_loss_is_minus_the_mean_advantage():
    advantages = torch.tensor([[3.0, -1.0, 2.0, 0.0]])
    log_probs = torch.full((1, 4), -1.3)
    result = clipped_policy_loss(log_probs, log_probs, advantages, ALL, clip=0.2)
    assert float(result.loss) == -1.0
    assert float(result.approximate_kl) == 0.0
    assert float(result.clip_fraction_low) == float(result.clip_fraction_high) == 0.0


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
    loss = clipped_policy_loss(
        log_probs, torch.zeros(1, 4), torch.ones(1, 4), token_weights(mask), 0.2
    ).loss
    loss.backward()
    assert math.isfinite(loss.item())
    assert log_probs.grad is not None
    assert torch.isfinite(log_probs.grad).all()
    assert log_probs.grad[0, 1:3].tolist() == [0.0, 0.0]


def test_value_loss_takes_the_worse_of_plain_and_clipped():
    """Value 1, old value 0, return 2: plain error 1, clipped to .2 error 3.24."""
    one = torch.ones(1, 1)
    values, old, returns = torch.tensor([[1.0]]), torch.tensor([[0.0]]), torch.tensor([[2.0]])
    assert float(clipped_value_loss(values, old, returns, one, None)) == 0.5
    assert float(clipped_value_loss(values, old, returns, one, 0.2)) == pytest.approx(1.62)


def test_value_loss_knows_nothing_of_what_stands_where_nothing_counts():
    weights = torch.tensor([[1.0, 0.0, 0.0]])
    values = torch.tensor([[1.0, torch.nan, 3.0]], requires_grad=True)
    old = torch.tensor([[0.0, 1.0, torch.inf]])
    returns = torch.tensor([[2.0, torch.inf, torch.nan]])
    for clip, loss in ((None, 0.5), (0.2, 1.62)):
        assert clipped_value_loss(values, old, returns, weights, clip).item() == pytest.approx(loss)
    clipped_value_loss(values, old, returns, weights, None).backward()
    assert values.grad.tolist() == [[-1.0, 0.0, 0.0]]


def test_a_higher_clip_upwards_is_its_own():
    """A ratio of 1.3 is clipped to 1.2 by one number, and free within 1.4 by two."""
    log_probs, ones = torch.tensor([[math.log(1.3)]]), torch.ones(1, 1)
    symmetric = clipped_policy_loss(log_probs, torch.zeros(1, 1), ones, ones, 0.2)
    wider = clipped_policy_loss(log_probs, torch.zeros(1, 1), ones, ones, 0.2, 0.4)
    assert float(symmetric.loss) == pytest.approx(-1.2)
    assert float(wider.loss) == pytest.approx(-1.3)
    assert float(symmetric.clip_fraction_high) == 1.0
    assert float(wider.clip_fraction_high) == 0.0


def test_reinforce_measures_how_far_the_policy_has_moved_and_clips_nothing():
    """Ratios 2 and 1/2 by k3: the mean of 2 - 1 - log 2 and 1/2 - 1 + log 2, which is 1/4."""
    log_probs = torch.tensor([[math.log(0.8), math.log(0.2)]], requires_grad=True)
    old = torch.tensor([[math.log(0.4), math.log(0.4)]])
    advantages, half = torch.tensor([[3.0, -1.0]]), torch.full((1, 2), 0.5)
    result = reinforce_loss(log_probs, old, advantages, half)
    assert float(result.approximate_kl) == pytest.approx(0.25)
    one_way = reinforce_loss(log_probs, old, advantages, torch.tensor([[1.0, 0.0]]))
    assert float(one_way.approximate_kl) == pytest.approx(1 - math.log(2))
    assert not result.approximate_kl.requires_grad
    clipped = (result.clip_fraction_low, result.clip_fraction_high, result.bounded_fraction)
    assert clipped == (0.0, 0.0, 0.0)
    result.loss.backward()
    assert log_probs.grad.tolist() == [[-1.5, 0.5]]


def test_weights_count_every_token_or_every_text_the_same():
    """Texts of 1 and 3 actions: a token's share is 1/4, or 1/2 and 1/6."""
    mask = torch.tensor([[True, False, False], [True, True, True]])
    quarter, sixth = 0.25, pytest.approx(1 / 6)
    assert token_weights(mask).tolist() == [[quarter, 0, 0], [quarter] * 3]
    assert text_weights(mask).tolist() == [[0.5, 0, 0], [sixth] * 3]
    assert token_weights(mask, total=8).tolist() == [[0.125, 0, 0], [0.125] * 3]
    assert text_weights(mask, texts=4).tolist() == [[quarter, 0, 0], [pytest.approx(1 / 12)] * 3]
    x = torch.tensor([[8.0, torch.nan, torch.inf], [4.0, 0.0, 0.0]])
    assert float(weighted_sum(x, token_weights(mask))) == 3.0


def test_dpo_starts_at_log_two_and_pulls_the_pair_apart():
    """At the reference every margin is 0: loss log 2, and d loss / d margin = -beta / 2."""
    margins = torch.zeros(4, requires_grad=True)
    loss = dpo_loss(margins, torch.full((4,), 0.25), beta=0.3)
    assert float(loss.detach()) == pytest.approx(math.log(2))
    loss.backward()
    assert margins.grad.tolist() == pytest.approx([-0.3 / 2 / 4] * 4)


def test_dpo_by_hand():
    """beta * margin = log 3 says the chosen one wins 3 of 4 times: loss -log(3/4)."""
    margins, weights = torch.tensor([math.log(3.0) / 0.5]), torch.ones(1)
    assert float(dpo_loss(margins, weights, beta=0.5)) == pytest.approx(-math.log(0.75))
    assert float(dpo_loss(-margins, weights, beta=0.5)) == pytest.approx(-math.log(0.25))
    mixed = -0.8 * math.log(0.75) - 0.2 * math.log(0.25)
    smoothed = dpo_loss(margins, weights, beta=0.5, label_smoothing=0.2)
    assert float(smoothed) == pytest.approx(mixed)


def test_smoothing_stops_the_pull_where_the_share_of_slips_is_met():
    """With a quarter of slips the best beta * margin is log 3; without, there is none."""
    margins = torch.tensor([math.log(3.0)], requires_grad=True)
    dpo_loss(margins, torch.ones(1), beta=1.0, label_smoothing=0.25).backward()
    assert float(margins.grad) == pytest.approx(0.0, abs=1e-7)
    margins.grad = None
    dpo_loss(margins, torch.ones(1), beta=1.0).backward()
    assert float(margins.grad) == pytest.approx(-0.25)


def test_ipo_asks_for_a_margin_of_half_over_beta():
    """At beta .1 that is 5 nats; 1 is 4 short, squared 16, with gradient 2 * (1 - 5) / 2."""
    margins = torch.tensor([5.0, 1.0], requires_grad=True)
    loss = ipo_loss(margins, torch.full((2,), 0.5), beta=0.1)
    assert float(loss.detach()) == pytest.approx((0 + 16) / 2)
    loss.backward()
    assert margins.grad.tolist() == pytest.approx([0.0, -4.0])


def test_doubt_is_that_of_each_pair():
    """A tie pulls back to a margin of nothing; a quarter of doubt asks IPO for half its margin."""
    margins = torch.tensor([2.0, 2.0], requires_grad=True)
    doubts = torch.tensor([0.5, 0.0])
    dpo_loss(margins, torch.ones(2), beta=1.0, label_smoothing=doubts).backward()
    sigmoid = 1 / (1 + math.exp(-2.0))
    assert margins.grad.tolist() == pytest.approx([sigmoid - 0.5, sigmoid - 1])
    margins = torch.tensor([2.5, 0.0], requires_grad=True)
    loss = ipo_loss(margins, torch.ones(2), beta=0.1, doubt=torch.tensor([0.25, 0.5]))
    assert float(loss.detach()) == pytest.approx(0.75 * 2.5**2 + 0.25 * 7.5**2 + 25)
    loss.backward()
    assert margins.grad.tolist() == pytest.approx([0.0, 0.0])


def test_far_margins_stay_finite():
    margins = torch.tensor([-1e4, 1e4], requires_grad=True)
    loss = dpo_loss(margins, torch.full((2,), 0.5), beta=1.0)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(5e3)
    assert margins.grad.tolist() == pytest.approx([-0.5, 0.0])


@pytest.mark.parametrize("log_ratio", [-1000.0, -90.0, 90.0, 1000.0])
@pytest.mark.parametrize("advantage", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("dual_clip", [None, 3.0])
def test_no_log_ratio_makes_a_loss_or_a_gradient_that_is_not_finite(
    log_ratio, advantage, dual_clip
):
    """One odd action made NaN, and ended the run: float32 ends at e^88."""
    new = torch.tensor([[log_ratio, 0.1]], requires_grad=True)
    old, weights = torch.zeros(1, 2), torch.tensor([[0.5, 0.5]])
    advantages = torch.tensor([[advantage, 1.0]])
    result = clipped_policy_loss(new, old, advantages, weights, 0.2, None, dual_clip)
    result.loss.backward()
    assert all(torch.isfinite(each) for each in result)
    assert new.grad[0, 0] == 0.0  # beyond the bound, on either side
    assert new.grad[0, 1] == pytest.approx(-0.5 * math.exp(0.1))
    assert result.bounded_fraction == 0.5


def test_the_dual_clip_bounds_what_a_worse_action_costs():
    """By hand: at ratios 2 and 4 with an advantage of -1.5, and 4 with one of +1.5; c is 3."""
    new = torch.tensor([[2.0, 4.0, 4.0]]).log().requires_grad_()
    advantages = torch.tensor([[-1.5, -1.5, 1.5]])
    weights = torch.ones(1, 3)
    result = clipped_policy_loss(new, torch.zeros(1, 3), advantages, weights, 0.2, None, 3.0)
    assert float(result.loss.detach()) == pytest.approx(1.5 * 2 + 1.5 * 3 - 1.5 * 1.2)
    result.loss.backward()
    torch.testing.assert_close(new.grad, torch.tensor([[3.0, 0.0, 0.0]]))


def test_cispo_lets_no_action_go_and_none_weigh_much():
    """Ratios 1.5, 1.5, 0.5 and 100 with 1.2 as the most: d loss / d log p = -A min(r, 1.2) / 4."""
    old = torch.tensor([[-2.0, -2.0, -1.0, -9.0]])
    log_probs = (old + torch.tensor([[1.5, 1.5, 0.5, 100.0]]).log()).requires_grad_()
    advantages = torch.tensor([[1.0, -1.0, 1.0, -2.0]])
    result = cispo_loss(log_probs, old, advantages, ALL, 0.2)
    result.loss.backward()
    expected = -torch.tensor([[1.2, -1.2, 0.5, -2.4]]) / 4
    torch.testing.assert_close(log_probs.grad, expected)
    assert float(result.clip_fraction_high) == 0.75
    assert float(result.clip_fraction_low) == 0.0


def test_reinforce_knows_no_policy_that_acted():
    """d loss / d log p = -A / 4, however far the ratio has moved."""
    log_probs = torch.tensor([[-1.0, -2.0, -3.0, -4.0]], requires_grad=True)
    advantages = torch.tensor([[3.0, -1.0, 2.0, 0.0]])
    result = reinforce_loss(log_probs, torch.full((1, 4), -30.0), advantages, ALL)
    result.loss.backward()
    torch.testing.assert_close(log_probs.grad, -advantages / 4)
    assert result.loss.item() == pytest.approx((3 - 2 + 6) / 4)
    assert float(result.bounded_fraction) == 1.0
    assert float(result.clip_fraction_high) == 0.0


@pytest.mark.parametrize("loss", [reinforce_loss, lambda *given: cispo_loss(*given, 0.2)])
def test_rubbish_behind_a_text_is_not_learned_from(loss):
    log_probs = torch.tensor([[-1.0, -torch.inf, torch.nan, -2.0]], requires_grad=True)
    weights = token_weights(torch.tensor([[True, False, False, True]]))
    result = loss(log_probs, torch.full((1, 4), -1.5), torch.ones(1, 4), weights)
    result.loss.backward()
    assert math.isfinite(result.loss.item())
    assert log_probs.grad[0, 1:3].tolist() == [0.0, 0.0]


def test_the_ratio_of_a_text_is_the_geometric_mean_of_its_actions():
    """Ratios 2 and 8 make 4, a third is not of the text; its gradient is a half of it for each."""
    log_ratios = torch.tensor([[2.0, 8.0, torch.nan]]).log().requires_grad_()
    ratio = text_means(log_ratios, torch.tensor([[True, True, False]])).exp()
    ratio.sum().backward()
    assert ratio.tolist() == [[pytest.approx(4.0)]]
    assert log_ratios.grad.tolist() == [[pytest.approx(2.0), pytest.approx(2.0), 0.0]]


def test_a_text_that_does_not_count_weighs_nothing():
    mask = torch.tensor([[True, True], [False, False]])
    assert text_weights(mask, 1).tolist() == [[0.5, 0.5], [0.0, 0.0]]
