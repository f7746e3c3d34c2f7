"""The closed loop on a toy whose truth is known: does gold rise, and does choosing pairs help?

    python examples/experiments/closed_loop.py --out runs/closed-loop

A policy of random weights writes up to six letters of a to h. Three simulated annotators, one of
them careless, like texts by the mean worth of their six places: 1 for an a, less for each later
letter, 0 where nothing stands. In each of three rounds they compare as many pairs under each rule.
Five seeds; intervals draw seeds, and a rule is held against chance seed by seed. A run that was
stopped goes on.
"""

import argparse
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from agents.ppo import PPOConfig
from reward_models.learning.settings import RewardTrainingConfig
from textgym.cli.feedback.loop import LoopConfig, loop
from textgym.statistics.bootstrap import bootstrap_interval

RULES = ("random", "even", "disagreement")
PLACES, LETTERS = 6, "abcdefgh"
SIZES = {"policy": "scratch:gpt2?layers=2&width=64&heads=4&positions=16", "pairs": 48, "rounds": 3}


def worth(prompts: Sequence[str], completions: Sequence[str], **_: Sequence[Any]) -> list[float]:
    """The truth: the mean worth of six places."""
    del prompts
    return [
        sum(1 - LETTERS.index(letter) / (len(LETTERS) - 1) for letter in text) / PLACES
        for text in completions
    ]


def settings(out: Path, seed: int, **changed: Any) -> LoopConfig:
    """One loop."""
    given: dict[str, Any] = {
        "env": "TextGym/Alphabet-v0",
        "out": out,
        "annotators": ("average", "careful", "careless"),
        "truth": "examples.experiments.closed_loop:worth",
        "members": 2,
        "seed": seed,
        "num_envs": 128,
        "reward": RewardTrainingConfig(
            seed=seed, epochs=6, learning_rate=2e-3, max_length=12, pooling="mean"
        ),
        "ppo": PPOConfig(seed=seed, iterations=10, learning_rate=1e-3, kl_coefficient=0.1),
    }
    return LoopConfig(**(given | SIZES | changed))


def figures(out: Path, rounds: int) -> list[dict[str, float]]:
    """What was measured in each round, the start's first."""
    stages = json.loads((out / "report.json").read_text(encoding="utf-8"))["stages"]
    return [stages[f"round_{number}_evaluate"] for number in range(rounds + 1)]


def mean_and_interval(values: Sequence[float]) -> str:
    """Over seeds; of a single one there is no interval."""
    if len(values) == 1:
        return f"{values[0]:.3f}"
    low, high = bootstrap_interval(values, np.random.default_rng(0))
    return f"{np.mean(values):.3f} ({low:.3f} to {high:.3f})"


def against_chance(found: dict[str, list[list[dict[str, float]]]]) -> list[str]:
    """By how much each rule's gold lies above chance's at the end, a line each."""
    last = {rule: [run[-1]["gold"] for run in runs] for rule, runs in found.items()}
    if "random" not in last:
        return []
    return [
        f"{rule} above random: {mean_and_interval(np.subtract(values, last['random']).tolist())}"
        for rule, values in last.items()
        if rule != "random"
    ]


def main() -> None:
    """Runs what is missing, and prints a line for each rule and round."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--rules", nargs="+", default=RULES, choices=RULES)
    given = parser.parse_args()
    found: dict[str, list[list[dict[str, float]]]] = {}
    for rule in given.rules:
        for seed in given.seeds:
            config = settings(given.out / f"{rule}-{seed}", seed, rule=rule)
            if not (config.out / "report.json").is_file():
                loop(config, Console(file=io.StringIO()))
            found.setdefault(rule, []).append(figures(config.out, config.rounds))
    print("| rule | round | gold | KL | reward orders as gold |\n| --- | --- | --- | --- | --- |")
    for rule, runs in found.items():
        for number, several in enumerate(zip(*runs, strict=True)):
            gold, kl = ([each[name] for each in several] for name in ("gold", "kl"))
            order = mean_and_interval([each["order"] for each in several]) if number else ""
            print(
                f"| {rule} | {number} | {mean_and_interval(gold)} | {np.mean(kl):.2f} | {order} |"
            )
    for line in against_chance(found):
        print(line)


if __name__ == "__main__":
    main()
