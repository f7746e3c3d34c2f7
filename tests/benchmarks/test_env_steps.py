"""Steps a second of the native batch beside Gymnasium's batches of single environments.

Run by ``make bench``; it prints a table and judges nothing, because machines differ. The reward is
free, so what is timed is the environment itself: prompts, dynamics, and decoding what is finished.
All figures are from one run.
"""

import time

import gymnasium as gym
import numpy as np

from textgym import TextEnv

SECONDS = 1.0
FIRST_PIECE = 260  # below are special ids and single bytes
ROWS = (1, 64, 1024)
TASK = {"reward": "tests.benchmarks.test_env_steps:free", "prompt_tokens": 16}


def free(prompts, completions, **columns):
    """A reward that costs nothing."""
    return [0.0] * len(completions)


def single_steps_per_second():
    """One environment without wrappers, with integers for actions."""
    env = TextEnv(task="Sentiment", completion_tokens=48, **TASK)
    actions = np.random.default_rng(0).integers(FIRST_PIECE, env.action_space.n, 4096).tolist()
    env.reset(seed=0)
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        for action in actions:
            if env.step(action)[2]:
                env.reset()
        count += len(actions)
    return count / (time.perf_counter() - start)


def batch_steps_per_second(rows, kind, **kwargs):
    envs = gym.make_vec(
        "textgym:TextGym/Sentiment-v0",
        num_envs=rows,
        vectorization_mode=kind,
        completion_tokens=48,
        **TASK,
        **kwargs,
    )
    generator = np.random.default_rng(0)
    actions = generator.integers(FIRST_PIECE, envs.single_action_space.n, (64, rows))
    envs.reset(seed=0)
    envs.step(actions[0])
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        envs.step(actions[count % len(actions)])
        count += 1
    envs.close()
    return count * rows / (time.perf_counter() - start)


def test_env_steps():
    print(f"\none TextEnv: {single_steps_per_second():,.0f} steps/s")
    sync, concurrent = (batch_steps_per_second(64, kind) for kind in ("sync", "async"))
    print(f"SyncVectorEnv of 64: {sync:,.0f} steps/s; AsyncVectorEnv of 64: {concurrent:,.0f}")
    print(f"{'rows':>6} {'native':>12} {'x Sync(64)':>12} {'x Async(64)':>12} {'torch':>12}")
    for rows in ROWS:
        native = batch_steps_per_second(rows, "vector_entry_point")
        tensors = batch_steps_per_second(rows, "vector_entry_point", backend="torch")
        print(
            f"{rows:>6} {native:>12,.0f} {native / sync:>12.1f} {native / concurrent:>12.1f} "
            f"{tensors:>12,.0f}"
        )
