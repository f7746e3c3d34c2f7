"""sb3-contrib's MaskablePPO, where every illegal action raises: the environment has the masks."""

from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.evaluation import evaluate_policy
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import Logger

from textgym.wrappers import OneHotObservation


def main(steps=8_000):
    name, kwargs = "textgym:TextGym/Alphabet-v0", {"invalid_action": "raise", "dense": True}
    shown = {"wrapper_class": OneHotObservation, "env_kwargs": kwargs}
    envs = make_vec_env(name, n_envs=16, seed=0, **shown)
    settings = {"n_steps": 32, "batch_size": 128, "learning_rate": 3e-3, "ent_coef": 0.02}
    agent = MaskablePPO("MlpPolicy", envs, gamma=1.0, seed=0, device="cpu", **settings)
    agent.set_logger(Logger(None, []))  # by itself it makes a folder in /tmp
    before, _ = evaluate_policy(agent, envs, n_eval_episodes=100, deterministic=False)
    agent.learn(steps)
    after, _ = evaluate_policy(agent, envs, n_eval_episodes=100, deterministic=False)
    return before, after


if __name__ == "__main__":
    print("mean score: {:.2f} before, {:.2f} after (the optimum is 1)".format(*main()))
