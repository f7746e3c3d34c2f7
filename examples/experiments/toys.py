"""PPO, GRPO, RLOO and REINFORCE++ on three toys whose optimum is known, over five seeds.

The optimum comes from value iteration, which goes through every text. A random GPT-2 of 2 layers
learns without a price of KL; all learners have the same settings but for what is their own.

Run it: ``python examples/experiments/toys.py``. Each run adds a line of JSON to ``--out``, and
those that are there are not made again; the table is printed at the end.
"""

import argparse
import json
import time
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch

import textgym  # noqa: F401 - registers the ids
from agents.baselines import policy_baseline
from agents.grpo import GRPO, GRPOConfig
from agents.loading import load_model
from agents.policy import TransformerPolicy
from agents.ppo import PPO, PPOConfig
from agents.reinforce import Reinforce, ReinforceConfig
from agents.rloo import RLOO, RLOOConfig
from textgym.tasks.value_iteration import optimal_return, uniform_return

LEARNERS = {
    "PPO": (PPO, PPOConfig, {"lam": 0.95, "value_weight": 0.5}),
    "GRPO": (GRPO, GRPOConfig, {"group_size": 8}),
    "RLOO": (RLOO, RLOOConfig, {"group_size": 8}),
    "REINFORCE++": (Reinforce, ReinforceConfig, {}),
}
TOYS = ("Alphabet", "Bandit", "Corridor")
LAST = 5  # iterations, whose mean is reported


def options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/toys.jsonl"))
    parser.add_argument("--toys", nargs="+", default=list(TOYS), choices=TOYS)
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    parser.add_argument("--iterations", type=int, default=80)
    parser.add_argument("--texts", type=int, default=128, help="an iteration")
    return parser.parse_args()


def train(given, learner, toy, seed):
    """One run: what it wrote at the end, by chance and at its likeliest."""
    kind, settings, own = LEARNERS[learner]
    config = settings(
        **own,
        iterations=given.iterations,
        epochs=4,
        minibatches=2,
        learning_rate=3e-3,
        temperature=1.0,
        kl_coefficient=0.0,
        seed=seed,
    )
    envs = gym.make_vec(
        f"TextGym/{toy}-v0", num_envs=given.texts, backend="torch", autoreset_mode="Disabled"
    ).unwrapped
    spec = f"scratch:gpt2?layers=2&width=32&heads=4&seed={seed}"
    agent = kind(TransformerPolicy(load_model(spec, envs.tokenizer)[0]), envs, config)
    start = time.process_time()
    rewards = [agent.step()[0]["reward"] for _ in range(given.iterations)]
    spent = time.process_time() - start
    every = [number % envs.num_examples for number in range(given.texts)]
    likeliest = policy_baseline(envs, agent.policy, example_ids=every, seed=seed)
    return {
        "learner": learner,
        "toy": toy,
        "seed": seed,
        "first": rewards[0],
        "last": float(np.mean(rewards[-LAST:])),
        "likeliest": float(likeliest.scores[: envs.num_examples].mean()),
        "optimum": optimal_return(envs.task),
        "uniform": uniform_return(envs.task),
        "cpu_seconds": spent,
    }


def table(results):
    """Markdown: a row a learner, a column a toy."""
    toys = [toy for toy in TOYS if any(line["toy"] == toy for line in results)]
    head = [
        f"{toy}: optimum {line['optimum']:.4g}, chance {line['uniform']:.3g}"
        for toy in toys
        for line in [next(line for line in results if line["toy"] == toy)]
    ]
    rows = [["learner", *head], ["---"] * (len(toys) + 1)]
    for learner in LEARNERS:
        cells = []
        for toy in toys:
            lines = [line for line in results if (line["learner"], line["toy"]) == (learner, toy)]
            last = [line["last"] for line in lines]
            best = sum(line["likeliest"] > line["optimum"] - 1e-6 for line in lines)
            cells.append(
                f"{np.mean(last):.3f} ({min(last):.3f} to {max(last):.3f}), {best} of {len(lines)}"
                if lines
                else ""
            )
        rows.append([learner, *cells])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main():
    given = options()
    torch.set_num_threads(1)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    known = given.out.read_text().splitlines() if given.out.is_file() else []
    results = [json.loads(line) for line in known]
    made = {(line["learner"], line["toy"], line["seed"]) for line in results}
    todo = [(each, toy, seed) for seed in given.seeds for toy in given.toys for each in LEARNERS]
    for run in todo:
        if run not in made:
            results.append(train(given, *run))
            with given.out.open("a") as file:
                print(json.dumps(results[-1]), file=file)
            print(json.dumps(results[-1]), flush=True)
    print(table(results))


if __name__ == "__main__":
    main()
