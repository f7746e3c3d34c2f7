"""An update learns from its own minibatch, in the precision asked for, whoever makes it."""

import pytest
import torch

from agents.dpo import DPO, DPOConfig
from agents.grpo import GRPO, GRPOConfig
from agents.models.episodes import evaluate_grown
from agents.models.policy import TransformerPolicy
from agents.ppo import PPO, PPOConfig
from agents.reinforce import Reinforce, ReinforceConfig
from agents.rloo import RLOO, RLOOConfig
from agents.training.updates import Updates
from tests.agents.toys import make_model, make_toy

BY_TEXTS = {
    "grpo": (GRPO, GRPOConfig, {"group_size": 4, "weigh": "texts"}),
    "rloo": (RLOO, RLOOConfig, {"group_size": 4}),
    "rloo with a clip": (RLOO, RLOOConfig, {"group_size": 4, "clip": 0.2}),
    "reinforce++": (Reinforce, ReinforceConfig, {"weigh": "texts"}),
    "reinforce++ with a price in the loss": (
        Reinforce,
        ReinforceConfig,
        {"weigh": "texts", "group_size": 4, "kl_in": "loss"},
    ),
    "dpo": (DPO, DPOConfig, {"sft_weight": 0.3}),
}
BY_TOKENS = {
    "ppo": (PPO, PPOConfig, {"entropy_coefficient": 0.1}),
    "grpo": (GRPO, GRPOConfig, {"group_size": 4, "weigh": "tokens"}),
    "reinforce++": (Reinforce, ReinforceConfig, {"weigh": "tokens"}),
}
CASES = [(*case, False) for case in BY_TEXTS.values()]
CASES += [(*case, True) for case in BY_TOKENS.values()]
NAMES = [*(f"{name} by texts" for name in BY_TEXTS), *(f"{name} by tokens" for name in BY_TOKENS)]


def _gradients(monkeypatch, kind, config, settings, minibatches):
    """The gradient of each minibatch of one epoch in which nothing moves, and what it is of."""
    policy, reference = (TransformerPolicy(make_model(seed=seed)) for seed in range(2))
    kept = {"learning_rate": 1e-30, "max_gradient_norm": 1e9, "seed": 3, "micro_batch_tokens": 60}
    learner = kind(
        policy,
        make_toy(rows=8),
        config(episodes=24, epochs=1, minibatches=minibatches, **kept, **settings),
        reference=reference,
    )
    dealt, gradients, deal = [], [], Updates.minibatches

    def noted(self, count):
        for minibatch in deal(self, count):
            dealt.append(minibatch)
            yield minibatch

    def note(*_):
        gradients.append(
            torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None])
        )

    monkeypatch.setattr(Updates, "minibatches", noted)
    learner.optimizer.register_step_pre_hook(note)
    learner.step()
    monkeypatch.undo()
    return gradients, dealt, learner.collected.mask


@pytest.mark.parametrize(("kind", "config", "settings", "by_tokens"), CASES, ids=NAMES)
def test_a_minibatch_is_a_mean_of_its_own(monkeypatch, kind, config, settings, by_tokens):
    """Three of them, weighed by their sizes, have the gradient of the whole, and no third of it.

    Adam does not care for a gradient's size, so that no run that learns would notice.
    """
    (whole,), _, _ = _gradients(monkeypatch, kind, config, settings, 1)
    own, dealt, mask = _gradients(monkeypatch, kind, config, settings, 3)
    assert len(own) == 3
    sizes = [int(mask[rows].sum()) if by_tokens else len(rows) for rows in dealt]
    mean = sum(size * gradient for size, gradient in zip(sizes, own, strict=True)) / sum(sizes)
    assert float(whole.norm()) > 1e-3
    torch.testing.assert_close(mean, whole, atol=1e-5 * float(whole.norm()), rtol=1e-3)


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize(
    ("kind", "config"),
    [
        (PPO, PPOConfig),
        (GRPO, GRPOConfig),
        (RLOO, RLOOConfig),
        (Reinforce, ReinforceConfig),
        (DPO, DPOConfig),
    ],
)
def test_every_pass_of_an_update_is_in_the_precision_that_is_asked_for(
    monkeypatch, kind, config, bf16
):
    """Those of the old policy, of the update and of the reference: weights would not show it."""
    policy, reference = (TransformerPolicy(make_model(seed=seed)) for seed in range(2))
    settings = (
        config(bf16=bf16, minibatches=2, epochs=2, kl_coefficient=0.1)
        if (kind is not DPO)
        else config(bf16=bf16, minibatches=2)
    )
    learner = kind(policy, make_toy(rows=8), settings, reference=reference)
    evaluated = []

    def noted(policy, *args, **kwargs):
        is_narrow = torch.is_autocast_enabled("cpu")
        evaluated.append((policy.model is reference.model, torch.is_grad_enabled(), is_narrow))
        return evaluate_grown(policy, *args, **kwargs)

    monkeypatch.setattr("agents.models.policy.evaluate_grown", noted)
    learner.step()
    assert {narrow for *_, narrow in evaluated} == {bf16}
    of_whom = {tuple(who) for *who, _ in evaluated}
    assert {(True, False), (False, True)} <= of_whom  # the reference, and what is learned from


def test_bfloat16_is_computed_in_eight_bits():
    """Log-probabilities by autocast are those of float32 to two or three digits, and no more."""
    policy = TransformerPolicy(make_model())
    learner = PPO(policy, make_toy(rows=8), PPOConfig())
    rollout = learner.collect()
    wide, narrow = (
        policy.evaluate(rollout, bf16=bf16).log_probs.detach() for bf16 in (False, True)
    )
    off = (wide - narrow).abs()[rollout.mask]
    assert 1e-5 < float(off.mean()) < 0.05
