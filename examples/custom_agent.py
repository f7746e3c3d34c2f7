"""Bring your own agent: it takes part in a benchmark on the same budget as all others.

An agent is a function of a vector environment and a budget that returns what predicts, as
Stable-Baselines3's models do. This one keeps what each letter paid on average, by its place and the
letter before. Run it: ``python examples/custom_agent.py``; on the command line it would be
``textgym benchmark --agents custom_agent:agent ...``.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

from agents.comparing.campaign import run_study
from agents.comparing.executors import Here
from agents.comparing.page import table_text, write_page
from agents.comparing.study import Study

EXPLORES = 0.2


class Table:
    """The mean score of texts by the place and the letter before, for each letter."""

    def __init__(self, width, letters, seed):
        self.total, self.count = np.zeros((2, width, letters, letters))
        self.rng = np.random.default_rng(seed)

    def where(self, observation):
        length = (observation != observation[:, -1:]).sum(axis=1)  # the last place is padding
        return length, observation[np.arange(len(observation)), length - 1]

    def predict(self, observation, state=None, *, action_masks, **_):
        seen = self.where(observation)
        value = self.total[seen] / np.maximum(self.count[seen], 1)
        value += 1e-6 * self.rng.random(value.shape)
        return np.where(action_masks, value, -np.inf).argmax(axis=1), state


def agent(envs, budget):
    table = Table(envs.single_observation_space.shape[0], envs.single_action_space.n, budget.seed)
    observation, _ = envs.reset(seed=budget.seed)
    path = [[] for _ in range(envs.num_envs)]
    ended = np.zeros(envs.num_envs, dtype=bool)
    while envs.tokens + envs.num_envs <= budget.tokens:
        action, _ = table.predict(observation, action_masks=(masks := envs.action_masks()))
        tried = (table.rng.random(masks.shape) * masks).argmax(axis=1)
        action = np.where(table.rng.random(len(action)) < EXPLORES, tried, action)
        place, letter = table.where(observation)
        observation, reward, terminated, truncated, _ = envs.step(action)
        for row in np.flatnonzero(~ended):  # a row that has ended is only reset by this step
            path[row].append((place[row], letter[row], action[row]))
        ended = terminated | truncated
        for row in np.flatnonzero(ended):
            for key in path[row]:
                table.total[key] += reward[row]
                table.count[key] += 1
            path[row].clear()
    return table


def main():
    sys.modules["custom_agent"] = sys.modules[__name__]
    study = Study(
        env="TextGym/Alphabet-v0",
        rewards={"alphabet": "textgym.tasks.toys:alphabet_score"},
        agents={"table": {"agent": "custom_agent:agent"}},
        seeds=3,
        tokens=6_000,
        draws=8,
    )
    with tempfile.TemporaryDirectory() as folder:
        run_study(study, Path(folder), Here())
        print(table_text(write_page(Path(folder))[1]))


if __name__ == "__main__":
    main()
