"""Every learner that collects texts reaches the optimum of the bandit, from five random starts."""

import pytest

from agents.dpo import DPO, DPOConfig
from agents.grpo import GRPO, GRPOConfig
from agents.measuring.baselines import policy_baseline
from agents.models.policy import TransformerPolicy
from agents.ppo import PPO, PPOConfig
from agents.reinforce import Reinforce, ReinforceConfig
from agents.rloo import RLOO, RLOOConfig
from tests.agents.toys import make_model, make_toy
from textgym.tasks.value_iteration import optimal_return

pytestmark = pytest.mark.learning

FREE = {"kl_coefficient": 0.0}
LEARNERS = {
    "ppo": (PPO, PPOConfig, {**FREE, "lam": 0.95, "value_weight": 0.5}),
    "grpo": (GRPO, GRPOConfig, {**FREE, "group_size": 8}),
    "rloo": (RLOO, RLOOConfig, {**FREE, "group_size": 8}),
    "rloo, clipped": (RLOO, RLOOConfig, {**FREE, "group_size": 8, "clip": 0.2}),
    "reinforce": (Reinforce, ReinforceConfig, FREE),
    "dpo": (DPO, DPOConfig, {"beta": 0.5}),
}


@pytest.mark.parametrize("learner", LEARNERS)
@pytest.mark.parametrize("seed", range(5))
def test_the_likeliest_letter_becomes_the_best_there_is(learner, seed):
    """What value iteration finds is the most that any agent could score; chance is 0.35."""
    kind, settings, own = LEARNERS[learner]
    config = settings(
        **own,
        iterations=25,
        epochs=4,
        minibatches=2,
        learning_rate=3e-3,
        temperature=1.0,
        seed=seed,
    )
    envs = make_toy("Bandit", rows=64)
    policy = TransformerPolicy(make_model(vocabulary=envs.tokenizer.vocab_size, seed=seed))
    agent = kind(policy, envs, config)
    written = [agent.step()[0]["reward"] for _ in range(config.iterations)]
    likeliest = policy_baseline(envs, policy, example_ids=[0] * 64, seed=seed)
    assert written[0] < 0.6
    assert written[-1] > 0.8
    assert optimal_return(envs.task) == pytest.approx(float(likeliest.scores.mean()))
