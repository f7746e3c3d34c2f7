"""A policy and its critic learn apart: gradients, limits and rates of their own."""

import pytest
import torch

from agents.models.policy import TransformerPolicy
from agents.ppo import PPO, PPOConfig
from agents.training.optimizers import usual_rate
from tests.agents.learners import only_gradient
from tests.agents.toys import make_model, make_toy

ONE_UPDATE = {"epochs": 1, "minibatches": 1, "kl_coefficient": 0.0, "seed": 3}


def _learner(factor=1.0, critic=True, **settings):
    """PPO on a reward by the number of different letters, times ``factor``."""

    def reward(prompts, completions, **_):
        return [factor * len(set(text)) for text in completions]

    policy = TransformerPolicy(make_model(), make_model(seed=1) if critic else None)
    with torch.no_grad():  # values that tell states apart, as after a while
        policy.value_head.weight.normal_(std=0.1, generator=torch.Generator().manual_seed(5))
    envs = make_toy(rows=16, reward=reward)
    return PPO(policy, envs, PPOConfig(**ONE_UPDATE, **settings))


def _moved(learner, part="model"):
    """How far some weights move in an iteration, (M,)."""
    names = [name for name, _ in learner.policy.named_parameters() if name.startswith(part)]
    weights = dict(learner.policy.named_parameters())
    before = torch.cat([weights[name].detach().flatten().clone() for name in names])
    learner.step()
    return torch.cat([weights[name].detach().flatten() for name in names]) - before


@pytest.mark.parametrize("factor", [100.0, 10_000.0])
def test_the_size_of_rewards_does_not_reach_a_policy_with_a_critic_of_its_own(factor):
    """Values start at 0 here, so whitened advantages are the same; the critic's errors are not."""
    plain, large = _learner(), _learner(factor)
    for each in (plain, large):
        each.policy.value_head.weight.data.zero_()
    torch.testing.assert_close(_moved(large), _moved(plain), atol=1e-6, rtol=1e-3)


def test_what_large_rewards_do_to_a_shared_trunk_and_what_holds_it():
    """One gradient, of which the value loss takes nearly all; scaled rewards take their share."""
    cosines = {}
    policy_alone = _moved(_learner(critic=False, value_weight=0.0))
    for scale in (False, True):
        for factor in (1.0, 10_000.0):
            moved = _moved(_learner(factor, critic=False, scale_rewards=scale))
            cosine = torch.cosine_similarity(moved, policy_alone, dim=0)
            cosines[scale, factor] = float(cosine)
    assert cosines[False, 10_000.0] < 0.5 * cosines[True, 10_000.0]
    assert cosines[True, 10_000.0] == pytest.approx(cosines[True, 1.0], abs=0.02)


def test_both_norms_are_logged_and_each_is_limited_by_itself():
    learner = _learner(100.0, max_gradient_norm=1e-3)
    limited, metrics = only_gradient(learner)
    whole, raw = only_gradient(_learner(100.0, max_gradient_norm=None))
    parts = {
        "gradient_norm": [name for name in whole if name.startswith("model")],
        "critic_gradient_norm": [name for name in whole if not name.startswith("model")],
    }
    assert {name.split(".")[0] for name in whole} == {"model", "critic", "value_head"}
    for figure, names in parts.items():
        norm = float(torch.cat([whole[name].flatten() for name in names]).norm())
        assert raw[figure] == pytest.approx(norm, rel=1e-5)
        assert metrics[figure] == pytest.approx(norm, rel=1e-5)
        assert norm > 1e-3
        after = torch.cat([limited[name].flatten() for name in names]).norm()
        assert float(after) == pytest.approx(1e-3, rel=1e-2)


def test_a_shared_trunk_has_one_norm():
    metrics, _ = _learner(critic=False).step()
    assert metrics["gradient_norm"] > 0
    assert "critic_gradient_norm" not in metrics


@pytest.mark.parametrize("critic", [False, True])
def test_the_critics_rate_moves_what_gives_values_alone(critic):
    """Adam's first step is the rate, for every weight whose gradient is not tiny."""
    valuing = "critic" if critic else "value_head"
    usual, other = _learner(critic=critic), _learner(critic=critic, critic_learning_rate=1e-5)
    assert float(_moved(usual, valuing).abs().max()) == pytest.approx(4e-4, rel=0.05)
    assert float(_moved(other, valuing).abs().max()) == pytest.approx(1e-5, rel=0.05)
    again = _learner(critic=critic), _learner(critic=critic, critic_learning_rate=1e-5)
    assert torch.equal(_moved(again[0]), _moved(again[1]))
    rates = [group["lr"] for group in other.optimizer.param_groups]
    assert rates == pytest.approx([4e-4, 1e-5])


def test_a_long_warm_up_of_a_critic_is_no_broken_run():
    """The policy has no gradient in it, which is what was asked for."""
    learner = _learner(critic_warmup=12)
    start = {name: p.clone() for name, p in learner.policy.model.named_parameters()}
    for _ in range(12):
        metrics, _ = learner.step()
        assert metrics["gradient_norm"] == 0.0
        assert metrics["critic_gradient_norm"] > 0.0
    assert all(torch.equal(start[name], p) for name, p in learner.policy.model.named_parameters())
    assert learner.step()[0]["gradient_norm"] > 0.0


def _usual_rate(weights):
    """Of so many weights that learn, beside as many that do not."""
    with torch.device("meta"):
        model = torch.nn.ParameterList([torch.empty(weights), torch.empty(weights)])
    model[1].requires_grad_(requires_grad=False)
    return usual_rate(model)


@pytest.mark.parametrize(
    ("weights", "rate"),
    [(30_000, 4e-4), (4_000_000, 4e-4), (124_000_000, 1e-5), (10**9, 3e-6)],
)
def test_the_usual_rate_goes_through_what_was_published(weights, rate):
    assert _usual_rate(weights) == pytest.approx(rate)


def test_the_usual_rate_falls_with_every_weight_more():
    """By one straight line beyond the last point: a factor of 8 lowers it as 8 before does."""
    rates = [_usual_rate(count) for count in (10**7, 5 * 10**7, 5 * 10**8, 2 * 10**9, 8 * 10**9)]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(3e-6**2 / _usual_rate(10**9 // 8), rel=1e-6)


def test_without_a_rate_a_learner_takes_the_usual_one_of_what_learns():
    assert _learner().learning_rates == pytest.approx((4e-4, 4e-4))
    assert _learner(critic_learning_rate=1e-3).learning_rates == pytest.approx((4e-4, 1e-3))
    learner = _learner(learning_rate=1e-2)
    assert learner.learning_rates == (1e-2, 1e-2)
    rates = [learner.step()[0]["learning_rate"] for _ in range(2)]
    assert rates == [1e-2, pytest.approx(1e-2 * (1 - 0.9 / 36))]
