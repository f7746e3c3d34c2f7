"""Steps a second of the native batch beside Gymnasium's batches of single environments.

Run by ``make bench``; it prints tables and judges nothing, because machines differ. All figures of
a table are from one run, and only ratios within it are worth quoting.

What is timed is the environment and its API alone: drawing and laying out prompts, dynamics, copies
of observations, decoding and checking what is finished, infos. The reward is free and there is no
policy, which would take nearly all of the time: in use, these rates say that the environment is not
what one waits for, and little else.

Two ways of acting are timed, because what a batch saves depends on when its texts end.
``together``: no text ends itself, so that all rows end in the same step, as with a fixed length of
completion or in a rollout in lockstep; most steps end nothing. ``staggered``: each action is the
end of text with probability 1/48, so that rows end one by one, as with a policy that stops; from 64
rows on, most steps end something.
"""

import time

import gymnasium as gym
import numpy as np

from textgym import TextEnv

SECONDS = 1.0
COMPLETION = 48
EOS = 2
FIRST_PIECE = 260  # below are special ids and single bytes
ROWS = (1, 64, 1024)
TASK = {
    "reward": "tests.benchmarks.test_env_steps:free",
    "prompt_tokens": 16,
    "completion_tokens": COMPLETION,
}
ENDINGS = {"together": 0.0, "staggered": 1 / COMPLETION}


def free(prompts, completions, **columns):
    """A reward that costs nothing."""
    return [0.0] * len(completions)


def actions_of(rows, vocabulary, ending):
    """64 batches of actions that mean something, of which some end the text."""
    generator = np.random.default_rng(0)
    actions = generator.integers(FIRST_PIECE, vocabulary, (64, rows))
    return np.where(generator.random(actions.shape) < ending, EOS, actions)


def single_steps_per_second(ending):
    """One environment without wrappers, with integers for actions."""
    env = TextEnv(task="Sentiment", **TASK)
    actions = actions_of(64, env.action_space.n, ending).ravel().tolist()
    env.reset(seed=0)
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        for action in actions:
            if env.step(action)[2]:
                env.reset()
        count += len(actions)
    return count / (time.perf_counter() - start)


def batch_steps_per_second(rows, ending, kind="vector_entry_point", **kwargs):
    envs = gym.make_vec(
        "textgym:TextGym/Sentiment-v0",
        num_envs=rows,
        vectorization_mode=kind,
        **TASK,
        **kwargs,
    )
    actions = actions_of(rows, envs.single_action_space.n, ending)
    envs.reset(seed=0)
    envs.step(actions[0])
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        envs.step(actions[count % len(actions)])
        count += 1
    envs.close()
    return count * rows / (time.perf_counter() - start)


def test_env_steps():
    for name, ending in ENDINGS.items():
        print(f"\nrows end {name}; one TextEnv: {single_steps_per_second(ending):,.0f} steps/s")
        sync, concurrent = (batch_steps_per_second(64, ending, kind) for kind in ("sync", "async"))
        print(f"SyncVectorEnv of 64: {sync:,.0f} steps/s; AsyncVectorEnv of 64: {concurrent:,.0f}")
        print(f"{'rows':>6} {'native':>12} {'x Sync(64)':>12} {'x Async(64)':>12} {'torch':>12}")
        for rows in ROWS:
            native = batch_steps_per_second(rows, ending)
            tensors = batch_steps_per_second(rows, ending, backend="torch")
            print(
                f"{rows:>6} {native:>12,.0f} {native / sync:>12.1f} {native / concurrent:>12.1f} "
                f"{tensors:>12,.0f}"
            )
