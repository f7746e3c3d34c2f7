"""Rewards, agents and an executor for studies of seconds."""

import json
import os

import numpy as np

from agents.comparing.campaign import Outcome
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


def cell(tmp_path, reward, seed, points, *, agent="ppo", study, status="done", **more):
    """``points`` are tokens, KL and the gains by each reward; the start has 0 and deviation 2."""
    snapshots = [
        {
            "tokens": tokens,
            "kl": kl,
            "n": place + 1,
            "scores": {name: {"mean": gain, "deviation": 2.0} for name, gain in gains.items()},
            "quality": {},
        }
        for place, (tokens, kl, gains) in enumerate(points)
    ]
    result = {
        "cell": {"study": study.as_json()},
        "status": status,
        "why": "guard" if status == "failed" else "",
        "message": "it broke" if status == "failed" else "",
        "snapshots": snapshots,
        **more,
    }
    return Outcome(reward, agent, seed, result, {"seconds": {}}, tmp_path)


def straight(tmp_path, study, gains, **more):
    """Cells of each reward that move by 0, 4 and 9 nats and gain so much at the last, by seed."""
    found = []
    for reward, by_seed in gains.items():
        for seed, gain in enumerate(by_seed):
            points = [(0, 0.0, {"gold": 0.0}), (100, 4.0, {"gold": gain * 2 / 3})]
            points.append((200, 9.0, {"gold": gain}))
            found.append(cell(tmp_path, reward, seed, points, study=study, **more))
    return found


def write_texts(folder, rows):
    """Rows are stage, prompt, completion and scores."""
    folder.mkdir(parents=True, exist_ok=True)
    names = ("stage", "prompt", "completion", "scores")
    lines = [json.dumps(dict(zip(names, row, strict=False)) | dict(*row[4:])) for row in rows]
    (folder / "texts.jsonl").write_text("\n".join(lines) + "\n")
