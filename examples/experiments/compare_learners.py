"""PPO, GRPO and RLOO on film reviews at equal numbers of texts: what a nat of KL buys with each.

All start from one small language model (``textgym quickstart`` makes it), are paid by VADER's
lexicon, and write 64 texts of at most 24 tokens an iteration. Each has the settings of its paper,
but for what the comments say; all share the learning rate of the quickstart, and none was tuned.

Run it: ``python examples/experiments/compare_learners.py --start runs/quickstart``. Each run adds
lines of JSON to ``--out``, and those that are there are not made again; ``--report`` makes the
table and the plot of what is there.
"""

import argparse
import json
import sys
import time
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.stats import t as student

import textgym  # noqa: F401 - registers the ids
from agents.grpo import GRPO, GRPOConfig
from agents.measuring.evaluation import evaluate_policy
from agents.models.policy import TransformerPolicy
from agents.ppo import PPO, PPOConfig
from agents.rloo import RLOO, RLOOConfig
from reward_models.models.gold import GoldJudge

LEARNERS = {
    # Huang et al. 2024, whose gradient has no limit, and whose critic has a trunk of its own.
    "ppo": (
        PPO,
        PPOConfig,
        {"epochs": 4, "minibatches": 1, "lam": 0.95, "value_clip": 0.2, "kl_coefficient": 0.05},
    ),
    # Shao et al. 2024, whose groups are of 64.
    "grpo": (GRPO, GRPOConfig, {"group_size": 8, "kl_coefficient": 0.04}),
    # Ahmadian et al. 2024.
    "rloo": (RLOO, RLOOConfig, {"group_size": 4, "kl_coefficient": 0.05}),
}
LEVELS = (1.0, 2.0, 4.0)  # nats at which the rewards are compared
SMOOTHED = 3  # iterations
COLOURS = {"ppo": "#0072B2", "grpo": "#D55E00", "rloo": "#009E73"}


def options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    start, out = Path("runs/quickstart"), Path("runs/compare_learners")
    parser.add_argument("--start", type=Path, default=start, help="the folder of a quickstart")
    parser.add_argument("--out", type=Path, default=out, help="runs that are there are kept")
    parser.add_argument("--learners", nargs="+", default=list(LEARNERS), choices=list(LEARNERS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    parser.add_argument("--iterations", type=int, default=16)
    parser.add_argument("--texts", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=24, help="of a text, at most")
    parser.add_argument("--test-prompts", type=int, default=256)
    parser.add_argument("--learning-rate", type=float, default=4e-4)
    parser.add_argument("--report", action="store_true", help="train nothing")
    given = parser.parse_args()
    if not given.report and not (given.start / "language_model").is_dir():
        parser.error(f"no language_model in --start {given.start}: run textgym quickstart first")
    return given


def make_envs(given, split):
    return gym.make_vec(
        "TextGym/Sentiment-v0",
        num_envs=given.texts,
        split=split,
        tokenizer=str(given.start / "tokenizer.model"),
        reward="vader",
        completion_tokens=given.tokens,
        backend="torch",
        autoreset_mode="Disabled",
    ).unwrapped


def train(given, learner, seed):
    """One run: the lines of its iterations, and the line of its result."""
    kind, settings, published = LEARNERS[learner]
    config = settings(
        **published,
        iterations=given.iterations,
        learning_rate=given.learning_rate,
        temperature=1.0,
        bf16=True,
        seed=seed,
    )
    policy = TransformerPolicy.from_pretrained(given.start / "language_model")
    start = policy.frozen_copy()
    agent = kind(policy, make_envs(given, "train"), config)
    lines, began = [], time.process_time()
    for _ in range(given.iterations):
        metrics, _ = agent.step()
        lines.append({name: metrics[name] for name in ("iteration", "reward", "kl", "length")})
    spent = time.process_time() - began
    test = make_envs(given, "test")
    report = evaluate_policy(
        policy,
        start,
        test,
        GoldJudge.load(given.start / "judge").score,
        example_ids=list(range(given.test_prompts)),
        temperature=1.0,
        seed=seed,
    )
    result = {
        "reward": float(report.rewards.mean()),
        "gold": float(report.gold.mean()),
        "kl": report.kl,
        "distinct_2": report.distinct_2,
        "tokens": agent.num_timesteps,
        "cpu_seconds": spent,
        "config": asdict(config),
    }
    named = {"learner": learner, "seed": seed}
    return [{**named, **line} for line in lines] + [{**named, "result": result}]


def rewards_at_levels(lines):
    """The reward at each level of KL on the way, NaN if it was not reached, ``(levels,)``."""
    window = np.ones(SMOOTHED) / SMOOTHED
    reward, kl = (
        np.convolve([line[name] for line in lines], window, "valid") for name in ("reward", "kl")
    )
    crossed = []
    for level in LEVELS:
        above = np.flatnonzero(kl >= level)
        if not len(above) or above[0] == 0:
            crossed.append(np.nan)
            continue
        i = above[0]
        share = (level - kl[i - 1]) / (kl[i] - kl[i - 1])
        crossed.append(reward[i - 1] + share * (reward[i] - reward[i - 1]))
    return np.array(crossed)


def interval(values, form):
    """A mean with the half width of its 95 % t interval over seeds, as text."""
    values = np.asarray(values, dtype=float)
    if np.isnan(values).any():
        return f"{np.isfinite(values).sum()} of {len(values)} got there"
    if len(values) == 1:
        return form.format(values.mean())
    half = student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return f"{form.format(values.mean())} ± {form.format(half)}"


def require_same(given):
    """Ends where ``--out`` holds runs that were made otherwise, which one table would mix."""
    shared = ("start", "iterations", "texts", "tokens", "test_prompts", "learning_rate")
    path, now = given.out / "settings.json", {name: str(getattr(given, name)) for name in shared}
    before = json.loads(path.read_text()) if path.is_file() else now
    for name in shared:
        if before[name] != now[name]:
            option = f"--{name.replace('_', '-')}"
            sys.exit(
                f"{given.out} has runs with {option} {before[name]}, not {now[name]}: give another "
                f"--out, or {option} {before[name]}"
            )
    path.write_text(json.dumps(now))


def read(path):
    """The lines of iterations and the results, by learner and seed."""
    runs, results = defaultdict(list), {}
    for line in map(json.loads, path.read_text().splitlines() if path.is_file() else []):
        key = line["learner"], line["seed"]
        if "result" in line:
            results[key] = line["result"]
        else:
            runs[key].append(line)
    return runs, results


def table(runs, results):
    """Markdown: a row a learner."""
    levels = [f"reward at {level:g} nats" for level in LEVELS]
    header = ["learner", "seeds", *levels, "reward", "KL, nats", "gold", "distinct-2"]
    header += ["tokens", "CPU seconds"]
    rows = [header, ["---"] * len(header)]
    for learner in LEARNERS:
        keys = [key for key in sorted(results) if key[0] == learner]
        if not keys:
            continue
        at = np.array([rewards_at_levels(runs[key]) for key in keys])
        cells = [learner.upper(), str(len(keys))]
        cells += [interval(column, "{:.2f}") for column in at.T]
        for name, form in (("reward", "{:.2f}"), ("kl", "{:.1f}"), ("gold", "{:.2f}")):
            cells.append(interval([results[key][name] for key in keys], form))
        cells.append(interval([results[key]["distinct_2"] for key in keys], "{:.2f}"))
        cells += [
            f"{np.mean([results[key][n] for key in keys]):,.0f}" for n in ("tokens", "cpu_seconds")
        ]
        rows.append(cells)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def plot(runs, path):
    """Every run's way, smoothed, as a thin line."""
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.add_subplot(
        xlabel="KL from the start, nats a text", ylabel=f"reward, mean of {SMOOTHED} iterations"
    )
    window, labelled = np.ones(SMOOTHED) / SMOOTHED, set()
    for (learner, _), lines in sorted(runs.items()):
        kl, reward = (
            np.convolve([line[name] for line in lines], window, "valid")
            for name in ("kl", "reward")
        )
        label = None if learner in labelled else learner.upper()
        labelled.add(learner)
        axes.plot(kl, reward, color=COLOURS[learner], linewidth=1, alpha=0.8, label=label)
    axes.grid(color="#e4e4e4", linewidth=0.6)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=130)


def main():
    given = options()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    path = given.out / "runs.jsonl"
    if not given.report:
        require_same(given)
    todo = [(learner, seed) for seed in given.seeds for learner in given.learners]
    for learner, seed in [] if given.report else todo:
        if (learner, seed) in read(path)[1]:
            continue
        lines = train(given, learner, seed)
        with path.open("a") as file:
            file.writelines(f"{json.dumps(line)}\n" for line in lines)
        print(
            learner,
            seed,
            {k: v for k, v in lines[-1]["result"].items() if k != "config"},
            flush=True,
        )
    runs, results = read(path)
    (given.out / "table.md").write_text(table(runs, results))
    plot(runs, given.out / "reward_against_kl.png")
    print(table(runs, results))


if __name__ == "__main__":
    main()
