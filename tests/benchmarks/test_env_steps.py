"""Steps a second of the native batch beside Gymnasium's batch of single environments.

Run by ``make bench``; it prints a table and judges nothing, because machines differ.
"""

import time

import gymnasium as gym
import numpy as np

SECONDS = 1.0
ROWS = (1, 64, 1024)


def free(prompts, completions, **columns):
    """A reward that costs nothing."""
    return [0.0] * len(completions)


def steps_per_second(envs):
    generator = np.random.default_rng(0)
    size = int(envs.single_action_space.n)
    actions = generator.integers(4, size, (64, envs.num_envs))
    envs.reset(seed=0)
    envs.step(actions[0])
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        envs.step(actions[count % len(actions)])
        count += 1
    return count * envs.num_envs / (time.perf_counter() - start)


def test_env_steps():
    names = ("singles", "native", "ratio", "torch", "ratio")
    print(f"\n{'rows':>6} " + " ".join(f"{name:>12}" for name in names))
    for rows in ROWS:
        kwargs = {"id": "textgym:TextGym/Sentiment-v0", "num_envs": rows, "reward": free}
        singles = steps_per_second(gym.make_vec(vectorization_mode="sync", **kwargs))
        native = steps_per_second(gym.make_vec(**kwargs))
        tensors = steps_per_second(gym.make_vec(backend="torch", **kwargs))
        print(
            f"{rows:>6} {singles:>12,.0f} {native:>12,.0f} {native / singles:>12.1f} "
            f"{tensors:>12,.0f} {tensors / singles:>12.1f}"
        )
