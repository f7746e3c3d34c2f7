"""sb3-contrib's MaskablePPO chooses how a text goes on; the environment says what is legal.

The candidates are the likeliest next letters, so the agent chooses among four, not among all ids.

Run it: ``python examples/maskable_ppo.py``. It needs the extra ``baselines`` (sb3-contrib) and
takes about twenty seconds on one core.
"""

import torch
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.evaluation import evaluate_policy
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import Logger

import textgym  # noqa: F401 - registers the ids


def main():
    torch.set_num_threads(1)
    kwargs = {"num_choices": 5, "completion_tokens": 4}
    envs = make_vec_env("TextGym/Alphabet-Choose-v0", n_envs=8, seed=0, env_kwargs=kwargs)
    agent = MaskablePPO(
        "MlpPolicy",
        envs,
        n_steps=64,
        batch_size=128,
        learning_rate=2e-3,
        seed=0,
        device="cpu",
    )
    agent.set_logger(Logger(None, []))  # by itself it makes a folder in /tmp
    before, _ = evaluate_policy(agent, envs, n_eval_episodes=100, deterministic=False)
    agent.learn(12_000)
    after, _ = evaluate_policy(agent, envs, n_eval_episodes=100, deterministic=False)
    print(f"mean score: {before:.2f} before, {after:.2f} after (the optimum is 1)")


if __name__ == "__main__":
    main()
