"""RLlib's PPO in one process; ``make libraries`` runs it, as Ray's pin of Gymnasium is its own."""

import gymnasium as gym
import ray
from ray.rllib.algorithms.ppo import PPOConfig
from ray.tune.registry import register_env

from textgym.wrappers import OneHotObservation


def make(_config):
    # The prefix imports textgym in Ray's workers as well, which have not done so.
    return OneHotObservation(gym.make("textgym:TextGym/Alphabet-v0", dense=True))


def main(iterations=12):
    register_env("alphabet", make)
    rates = {"lr": 3e-3, "gamma": 1.0, "entropy_coeff": 0.02, "num_epochs": 6}
    config = (
        PPOConfig()
        .environment("alphabet")
        .env_runners(num_env_runners=0, num_envs_per_env_runner=16)
        .training(train_batch_size_per_learner=2048, minibatch_size=256, **rates)
        .debugging(seed=0, log_level="ERROR")
    )
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    agent = config.build_algo()
    means = [agent.train()["env_runners"]["episode_return_mean"] for _ in range(iterations)]
    agent.stop()
    ray.shutdown()
    return means[0], means[-1]


if __name__ == "__main__":
    print("mean score: {:.2f} before, {:.2f} after (the optimum is 1)".format(*main()))
