"""Stable-Baselines3's PPO, with the network that it makes by itself."""

from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import Logger

from textgym.wrappers import OneHotObservation


def main(steps=8_000):
    name = "textgym:TextGym/Alphabet-v0"
    shown = {"wrapper_class": OneHotObservation, "env_kwargs": {"dense": True}}
    envs = make_vec_env(name, n_envs=16, seed=0, **shown)
    settings = {"n_steps": 32, "batch_size": 128, "learning_rate": 3e-3, "ent_coef": 0.02}
    agent = PPO("MlpPolicy", envs, gamma=1.0, seed=0, device="cpu", **settings)
    agent.set_logger(Logger(None, []))  # by itself it makes a folder in /tmp
    before, _ = evaluate_policy(agent, envs, n_eval_episodes=100, deterministic=False)
    agent.learn(steps)
    after, _ = evaluate_policy(agent, envs, n_eval_episodes=100, deterministic=False)
    return before, after


if __name__ == "__main__":
    print("mean score: {:.2f} before, {:.2f} after (the optimum is 1)".format(*main()))
