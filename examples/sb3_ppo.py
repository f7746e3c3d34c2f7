"""Stable-Baselines3's PPO on a text environment: tokens are embedded, not read as magnitudes.

Run it: ``python examples/sb3_ppo.py``. It takes about ten seconds on one core.
"""

import torch
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

import textgym  # noqa: F401 - registers the ids


class TokenEmbedding(BaseFeaturesExtractor):
    """Looks up a vector for each place's token; SB3 hands the ids over as floats."""

    def __init__(self, observation_space, width=16):
        places, last = observation_space.shape[0], int(observation_space.high.max())
        super().__init__(observation_space, places * width)
        self.embed = torch.nn.Embedding(last + 1, width)

    def forward(self, observations):
        return self.embed(observations.long()).flatten(1)


def main():
    torch.set_num_threads(1)
    envs = make_vec_env("TextGym/Bandit-v0", n_envs=8, seed=0)
    agent = PPO(
        "MlpPolicy",
        envs,
        n_steps=32,
        batch_size=64,
        learning_rate=3e-3,
        policy_kwargs={"features_extractor_class": TokenEmbedding},
        seed=0,
        device="cpu",
    )
    agent.set_logger(Logger(None, []))  # by itself it makes a folder in /tmp
    before, _ = evaluate_policy(agent, envs, n_eval_episodes=200, deterministic=False)
    agent.learn(6000)
    after, _ = evaluate_policy(agent, envs, n_eval_episodes=200, deterministic=False)
    print(f"mean score: {before:.2f} before, {after:.2f} after (the optimum is 1)")


if __name__ == "__main__":
    main()
