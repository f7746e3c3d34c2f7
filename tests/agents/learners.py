"""The smallest learner that ``drive`` accepts: PPO on a toy, with a counter and greedy actions."""

import numpy as np
import torch

from agents.decoding import action_log_probs
from agents.policy import TransformerPolicy
from agents.ppo import PPO, PPOConfig
from tests.agents.models import make_model, make_toy


class ToyLearner:
    """Counts its actions; predicts with the policy that it trains."""

    def __init__(self, rows=8, seed=0, task="Alphabet", **settings):
        envs = make_toy(task, rows=rows)
        config = PPOConfig(kl_coefficient=0.0, temperature=1.0, seed=seed, **settings)
        policy, reference = (
            TransformerPolicy(make_model(vocabulary=envs.tokenizer.vocab_size)) for _ in "pr"
        )
        self.ppo = PPO(policy, reference, envs, config)
        self.envs = envs
        self.num_timesteps = 0

    def step(self):
        metrics, rollout = self.ppo.step()
        self.num_timesteps += int(rollout.mask.sum())
        return metrics, rollout

    def save(self, folder):
        self.ppo.save(folder)

    def restore(self, folder):
        self.ppo.load(folder)

    @torch.no_grad()
    def predict(self, observation, *, deterministic=False):
        tokens = torch.as_tensor(np.atleast_2d(observation))
        ends = (tokens != self.envs.tokenizer.pad_id).sum(dim=1) - 1
        policy = self.ppo.policy
        hidden = policy.trunk(tokens)[torch.arange(len(tokens)), ends]
        logits = policy.model.get_output_embeddings()(hidden)
        log_probs = action_log_probs(logits, self.envs.action_masks()[0], 1.0)
        if deterministic:
            return log_probs.argmax(dim=-1).numpy(), None
        return torch.multinomial(log_probs.exp(), 1).squeeze(1).numpy(), None
