"""A target of KL is held whatever the sampler leaves out."""

import pytest
import torch

from agents import PPO, PPOConfig, Sampling, TransformerPolicy, collect
from agents.maths.kl import sequence_kl
from tests.agents.toys import make_model, make_toy

pytestmark = pytest.mark.learning


def pays_a(prompts, completions, **columns):
    """One for every a: a policy that collapses earns the most."""
    return [1.0 * text.count("a") for text in completions]


def true_kl(ppo):
    """Nats a text from the reference, of texts that are drawn without limits."""
    rollout = collect(
        make_toy(rows=256, reward=pays_a),
        ppo.policy,
        sampling=Sampling(),
        generator=torch.Generator().manual_seed(7),
    )
    with torch.no_grad():
        reference = ppo.reference.evaluate(rollout).log_probs
    return float(sequence_kl(rollout.log_probs - reference, rollout.mask))


@pytest.mark.parametrize("limits", [{}, {"top_p": 0.9}, {"top_p": 0.7}], ids=["none", "9", "7"])
def test_the_controller_holds_its_target(limits, seed):
    """It saw 0 under top-p, gave the price away, and the policy collapsed."""
    config = PPOConfig(
        iterations=150,
        learning_rate=3e-3,
        kl_target=6.0,
        kl_coefficient=0.05,
        temperature=1.0,
        seed=seed,
        **limits,
    )
    policy = TransformerPolicy(make_model(seed=seed))
    ppo = PPO(policy, make_toy(rows=128, reward=pays_a), config)
    prices = [ppo.step()[0]["kl_coefficient"] for _ in range(150)]
    assert true_kl(ppo) < 8.0
    assert prices[-1] > config.kl_coefficient
