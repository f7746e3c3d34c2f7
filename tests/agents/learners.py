"""A small learner: PPO on a toy."""

from agents.policy import TransformerPolicy
from agents.ppo import PPO, PPOConfig
from tests.agents.models import make_model, make_toy


def toy_learner(rows=8, seed=0, task="Alphabet", **settings):
    """Makes one."""
    envs = make_toy(task, rows=rows)
    config = PPOConfig(kl_coefficient=0.0, temperature=1.0, seed=seed, **settings)
    policy = TransformerPolicy(make_model(vocabulary=envs.tokenizer.vocab_size))
    return PPO(policy, envs, config)
