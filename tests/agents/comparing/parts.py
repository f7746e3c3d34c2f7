"""Rewards, agents and an executor for studies of seconds."""

import os

import numpy as np

from agents.comparing.executors import Here
from agents.comparing.study import Study

HERE = "tests.agents.comparing.parts"


def small(**settings):
    """A study of seconds; without agents it is best of n alone."""
    given = {
        "env": "TextGym/Alphabet-v0",
        "rewards": {"vowels": f"{HERE}:vowels"},
        "seeds": 1,
        "tokens": 200,
        "prompts": 8,
        "draws": 4,
        "num_envs": 8,
        "snapshots": 2,
        "policy": "scratch:gpt2?layers=1&width=16&heads=2",
    }
    return Study(**{**given, **settings})


def vowels(prompts, completions, **columns):
    return [float(sum(letter in "aeiou" for letter in text)) for text in completions]


def fails(prompts, completions, **columns):
    raise RuntimeError("no judge is there")


class Clerk:
    """Takes the last legal action, which says the last letter over and over."""

    def predict(self, observation, state=None, deterministic=False, *, action_masks=None):
        masks = np.asarray(action_masks)
        return masks.shape[1] - 1 - masks[:, ::-1].argmax(axis=1), state


def clerk(envs, budget):
    """An agent that learns nothing, and looks at the environment once."""
    envs.reset(seed=budget.seed)
    envs.step(envs.action_masks().argmax(axis=1))
    return Clerk()


def spender(envs, budget):
    envs.reset(seed=budget.seed)
    while envs.tokens <= 2 * budget.tokens:
        envs.step(envs.action_masks().argmax(axis=1))
    return Clerk()


def broken(envs, budget):
    raise ZeroDivisionError("the agent is broken")


def dies(envs, budget):
    os._exit(3)


class StopsAfter:
    """Runs so many cells, and is then stopped by somebody."""

    def __init__(self, count):
        self.count = count

    def run(self, jobs, ended):
        Here().run(jobs[: self.count], ended)
        raise KeyboardInterrupt
