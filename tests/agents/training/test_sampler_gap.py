"""The sampler's gap, by hand; and importance weights that make up for it."""

import math

import pytest
import torch

from agents.dpo import DPO, DPOConfig
from agents.grpo import GRPO, GRPOConfig
from agents.models.policy import TransformerPolicy
from agents.ppo import PPO, PPOConfig
from agents.reinforce import Reinforce, ReinforceConfig
from agents.rloo import RLOO, RLOOConfig
from agents.training.distributed import Processes
from agents.training.guards import GuardError, require_unit_ratio
from agents.training.sampler_gap import SamplerGap
from tests.agents.toys import make_model, make_toy

FIGURES = {"sampler_gap", "sampler_gap_max", "importance_clipped", "importance_ess"}
LEARNERS = [(PPO, PPOConfig), (GRPO, GRPOConfig), (RLOO, RLOOConfig), (Reinforce, ReinforceConfig)]


@pytest.mark.parametrize("cap", [None, 1.5])
def test_figures_by_hand(cap):
    """Four actions in two parts, with weights 1, 3, 1/2 and 1; what is masked may be anything."""
    gap = SamplerGap(cap, torch.device("cpu"))
    gap.add(torch.tensor([[0.0, math.log(3)]]), torch.tensor([[True, True]]))
    gap.add(torch.tensor([[-math.log(2), 0.0, 50.0]]), torch.tensor([[True, True, False]]))
    weights = [1.0, 3.0 if cap is None else 1.5, 0.5, 1.0]
    figures = gap.figures(Processes())
    assert set(figures) == FIGURES
    assert figures["sampler_gap"] == pytest.approx((math.log(3) + math.log(2)) / 4)
    assert figures["sampler_gap_max"] == pytest.approx(math.log(3))
    assert figures["importance_clipped"] == 0.25
    ess = sum(weights) ** 2 / sum(each**2 for each in weights) / 4
    assert figures["importance_ess"] == pytest.approx(ess)


def test_without_an_action_there_are_no_figures():
    assert SamplerGap(None, torch.device("cpu")).figures(Processes()) == {}


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize(("kind", "settings"), LEARNERS)
def test_every_learner_measures_it_in_both_precisions(kind, settings, bf16):
    """In float32 too, where it is rounding."""
    config = settings(bf16=bf16, minibatches=2)
    learner = kind(TransformerPolicy(make_model()), make_toy(rows=16), config)
    metrics, _ = learner.step()
    assert set(metrics) >= FIGURES
    most = 0.05 if bf16 else 1e-4
    assert 0 < metrics["sampler_gap"] <= metrics["sampler_gap_max"] < 10 * most
    assert metrics["sampler_gap"] < most
    assert metrics["importance_ess"] == pytest.approx(1, abs=most)


def _drift(learner, by):
    """Makes the sampler another function: its log-probabilities are off by so much."""
    collect = learner.collect

    def drifted(*args, **kwargs):
        rollout = collect(*args, **kwargs)
        rollout.log_probs.sub_(by(rollout))
        return rollout

    learner.collect = drifted


@pytest.mark.parametrize("updates", [1, 2], ids=["one_update", "two"])
@pytest.mark.parametrize(("kind", "settings"), LEARNERS)
def test_a_gradient_is_weighed_by_what_the_sampler_did(kind, settings, updates):
    """All actions likelier in the update than in the sampler by one factor: so is the gradient.

    Without a price of KL it is that of the policy's loss alone; texts have one action.
    """
    extra = {"value_weight": 0.0} if kind is PPO else {}
    gradients = {}
    for cap in (None, 1.05, 1e6):
        config = settings(
            bf16=True,
            kl_coefficient=0.0,
            importance_cap=cap,
            max_gradient_norm=None,
            epochs=updates,
            **extra,
        )
        envs = make_toy(rows=16, completion_tokens=1)
        learner = kind(TransformerPolicy(make_model()), envs, config)
        # No guard must stop what is meant to be off.
        _drift(learner, lambda rollout: torch.full_like(rollout.log_probs, 0.09))
        found = []
        learner.optimizer.register_step_pre_hook(
            lambda *_, found=found, learner=learner: found.append(
                torch.cat([p.grad.flatten() for p in learner.policy.model.parameters()])
            )
        )
        metrics, _ = learner.step()
        gradients[cap] = found[0]
        assert metrics["importance_clipped"] == (1.0 if cap == 1.05 else 0.0)
    for cap, factor in ((1.05, 1.05), (1e6, math.exp(0.09))):
        torch.testing.assert_close(gradients[cap], gradients[None] * factor, atol=2e-3, rtol=2e-2)
        assert float(gradients[cap].norm() / gradients[None].norm()) == pytest.approx(
            factor, rel=0.02
        )


@pytest.mark.parametrize("cap", [0.5, float("nan")])
def test_a_cap_below_one_is_refused(cap):
    with pytest.raises(ValueError, match="importance_cap"):
        PPOConfig(importance_cap=cap)


def test_a_cap_where_there_are_no_ratios_is_refused():
    with pytest.raises(ValueError, match="importance_cap is of learners by probability ratios"):
        DPOConfig(importance_cap=2.0)


def test_one_odd_action_in_a_hundred_is_no_broken_run():
    """Rounding has long tails; what is wrong moves more than that, or is no number."""
    old, mask = torch.zeros(2, 100), torch.ones(2, 100, dtype=torch.bool)
    new = old.clone()
    new[0, 0], new[1, 5] = 3.0, -3.0
    require_unit_ratio(new, old, mask, bf16=True)
    new[1, 7] = 3.0
    with pytest.raises(GuardError, match=r"off 1 by 0\.95 and more in 1 % of actions"):
        require_unit_ratio(new, old, mask, bf16=True)
    mask[1, 7] = False
    new[1, 7] = torch.nan
    mask[0, 1] = False  # two of 198
    require_unit_ratio(new[:, 2:], old[:, 2:], mask[:, 2:], bf16=True)
    mask[1, 7] = True
    with pytest.raises(GuardError, match="nan"):
        require_unit_ratio(new, old, mask, bf16=True)


@pytest.mark.parametrize("minibatches", [1, 2])
@pytest.mark.parametrize(
    ("kind", "settings"),
    [(PPO, {"kl_in": "loss"}), (GRPO, {}), (RLOO, {}), (Reinforce, {}), (DPO, {"group_size": 2})],
    ids=["ppo", "grpo", "rloo", "reinforce", "dpo"],
)
def test_in_bfloat16_an_unmoved_policy_is_no_nat_from_its_reference(kind, settings, minibatches):
    """One kind of forward pass for both, however many updates follow: it was another for one."""
    config = kind.config_type(bf16=True, minibatches=minibatches, learning_rate=1e-30, **settings)
    learner = kind(TransformerPolicy(make_model(width=64)), make_toy(rows=32), config)
    metrics, _ = learner.step()
    assert metrics["kl"] == 0.0
    for name in ("kl_k3", "kl_loss", "margin"):
        assert metrics.get(name, 0.0) == 0.0
