"""Every algorithm on three toys whose optimum is known, over five seeds.

The optimum comes from value iteration, which goes through every text. Learners start from a random
GPT-2 of 2 layers and write ``--texts`` texts an iteration, without a price of KL but for DPO; all
have the same settings but for what is their own. Beside them are those that
learn nothing: random play, the start's likeliest texts, and the best of as many of its texts as a
learner writes.

Run it: ``python examples/experiments/toys.py``. Each run adds a line of JSON to ``--out``, and
those that are there are not made again; the table is printed at the end.
"""

import argparse
import functools
import json
import time
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch

import textgym  # noqa: F401 - registers the ids
from agents.best_of_n import best_of_n
from agents.dpo import DPO, DPOConfig
from agents.grpo import GRPO, GRPOConfig
from agents.measuring.baselines import policy_baseline, random_baseline
from agents.models.loading import load_model
from agents.models.policy import TransformerPolicy
from agents.ppo import PPO, PPOConfig
from agents.reinforce import Reinforce, ReinforceConfig
from agents.rloo import RLOO, RLOOConfig
from textgym.tasks import get_task
from textgym.tasks.value_iteration import optimal_return, uniform_return

COMMON = {
    "iterations": 80,
    "epochs": 4,
    "minibatches": 2,
    "learning_rate": 3e-3,
    "temperature": 1.0,
}
# Half the usual clip, as eight steps of this size an iteration go far: with 0.2, some seeds of PPO,
# RLOO and REINFORCE++ end Corridor at a worse walk.
FREE = {"kl_coefficient": 0.0, "clip": 0.1}
LEARNERS = {
    "PPO": (PPO, PPOConfig, {**FREE, "lam": 0.95, "value_weight": 0.5}),
    "GRPO": (GRPO, GRPOConfig, {**FREE, "group_size": 8}),
    "RLOO": (RLOO, RLOOConfig, {**FREE, "group_size": 8}),
    "REINFORCE++": (Reinforce, ReinforceConfig, FREE),
    "REINFORCE++ by tokens": (Reinforce, ReinforceConfig, {**FREE, "weigh": "tokens"}),
    # It has no clip, and pairs of one score teach it nothing, so that it stays where it has
    # narrowed to. A high price of KL keeps it from that, and groups make its gradient less noisy.
    "DPO": (DPO, DPOConfig, {"beta": 1.0, "group_size": 8}),
}
UNTRAINED = ("best of n", "likeliest texts", "random play")
PLAYERS = (*LEARNERS, *UNTRAINED)
TOYS = ("Alphabet", "Bandit", "Corridor")
LAST = 5  # iterations, whose mean is reported


def options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/toys.jsonl"))
    parser.add_argument("--players", nargs="+", default=list(PLAYERS), choices=PLAYERS)
    parser.add_argument("--toys", nargs="+", default=list(TOYS), choices=TOYS)
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    parser.add_argument("--iterations", type=int, help="of every learner, not its own number")
    parser.add_argument("--texts", type=int, default=256, help="an iteration")
    return parser.parse_args()


def play(given, player, toy, seed):
    """One run: what it writes in the end, and whether its best texts are the best there are."""
    envs = gym.make_vec(
        f"TextGym/{toy}-v0", num_envs=given.texts, backend="torch", autoreset_mode="Disabled"
    ).unwrapped
    spec = f"scratch:gpt2?layers=2&width=32&heads=4&seed={seed}"
    policy = TransformerPolicy(load_model(spec, envs.tokenizer)[0])
    start = time.process_time()
    if player in LEARNERS:
        reward, best = train(given, LEARNERS[player], policy, envs, seed)
    else:
        reward = best = untrained(given, player, policy, envs, seed)
    spent = time.process_time() - start
    optimum, uniform = bounds(toy)
    return {
        "player": player,
        "toy": toy,
        "seed": seed,
        "texts": given.texts,
        "iterations": given.iterations,
        "reward": reward,
        "best": best,
        "reached": best > optimum - 1e-6,
        "optimum": optimum,
        "uniform": uniform,
        "cpu_seconds": spent,
    }


@functools.cache
def bounds(toy):
    """Returns what the best and the uniform policy score, which takes seconds for Alphabet."""
    task = get_task(toy)
    return optimal_return(task), uniform_return(task)


def train(given, learner, policy, envs, seed):
    """Returns the mean reward of the last iterations, and then that of the likeliest texts."""
    kind, settings, own = learner
    config = settings(**length(given, {**COMMON, **own}), seed=seed)
    agent = kind(policy, envs, config)
    rewards = [agent.step()[0]["reward"] for _ in range(config.iterations)]
    return float(np.mean(rewards[-LAST:])), likeliest(given, policy, envs, seed)


def untrained(given, player, policy, envs, seed):
    """Returns the mean reward of playing without learning."""
    if player == "likeliest texts":
        return likeliest(given, policy, envs, seed)
    if player == "random play":
        played = random_baseline(envs, example_ids=evenly(given, envs), seed=seed)
        return float(played.scores.mean())
    each = length(given, COMMON)["iterations"] * given.texts // envs.num_examples
    kept = best_of_n(envs, policy, n=each, example_ids=range(envs.num_examples), seed=seed)
    return float(kept.scores.mean())


def length(given, settings):
    """Returns settings with the asked number of iterations, if one was asked for."""
    return settings if given.iterations is None else {**settings, "iterations": given.iterations}


def likeliest(given, policy, envs, seed):
    """Returns the mean reward of each prompt's likeliest text."""
    written = policy_baseline(envs, policy, example_ids=evenly(given, envs), seed=seed)
    return float(written.scores[: envs.num_examples].mean())


def evenly(given, envs):
    """Returns prompts for all rows of the environment, in turn."""
    return [number % envs.num_examples for number in range(given.texts)]


def table(results):
    """Markdown: a row a player, a column a toy."""
    toys = [toy for toy in TOYS if any(line["toy"] == toy for line in results)]
    head = [
        f"{toy}: optimum {line['optimum']:.4g}, chance {line['uniform']:.3g}"
        for toy in toys
        for line in [next(line for line in results if line["toy"] == toy)]
    ]
    rows = [["", *head], ["---"] * (len(toys) + 1)]
    for player in PLAYERS:
        cells = []
        for toy in toys:
            lines = [line for line in results if (line["player"], line["toy"]) == (player, toy)]
            reward = [line["reward"] for line in lines]
            cells.append(
                f"{np.mean(reward):.3f}, {sum(line['reached'] for line in lines)} of {len(lines)}"
                if lines
                else ""
            )
        rows.append([player, *cells])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main():
    given = options()
    torch.set_num_threads(1)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    known = given.out.read_text().splitlines() if given.out.is_file() else []
    asked = given.texts, given.iterations
    results = [
        line for line in map(json.loads, known) if asked == (line["texts"], line["iterations"])
    ]
    made = {(line["player"], line["toy"], line["seed"]) for line in results}
    todo = [(who, toy, seed) for seed in given.seeds for toy in given.toys for who in given.players]
    for run in todo:
        if run not in made:
            results.append(play(given, *run))
            with given.out.open("a") as file:
                print(json.dumps(results[-1]), file=file)
            print(json.dumps(results[-1]), flush=True)
    print(table(results))


if __name__ == "__main__":
    main()
