"""PPO of ``agents`` beside PPO of TRL 1.12: what each reaches, by samples and by the clock.

``make peers`` installs TRL beside the virtual environment; ``textgym quickstart`` makes the
language model that both start from, the reward model that pays them, and the judge that neither
sees. Each runs in a process of its own with one thread, in float32, with the settings of
``racers.py``; its policies are then measured on the same test prompts with the same random numbers.
Seconds are the processor's, without what is written down. A run that is there is not made again.

``python tests/benchmarks/race.py --run runs/quickstart --out runs/race --plot race.png``
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import t as student

from agents.measuring.evaluation import evaluate_policy
from agents.models.policy import TransformerPolicy
from reward_models.models.gold import GoldJudge
from tests.benchmarks.racers import ROWS, TEMPERATURE, make_envs

ROOT = Path(__file__).parents[2]
PEERS = ROOT / ".venv" / "peers"
RACERS = {
    "ours": "PPO of agents",
    "critic": "PPO of agents, --critic",
    "theirs": "PPO of TRL 1.12",
}
COLOURS = {"ours": "#0072B2", "critic": "#009E73", "theirs": "#D55E00"}


def race(given, racer, seed):
    """Lets one run, unless it has."""
    out = given.out / f"{racer}-{seed}"
    if (out / "laps.json").is_file():
        return
    path = [PEERS / "trl-1.12", PEERS / "datasets", ROOT]
    subprocess.run(
        [
            sys.executable,
            Path(__file__).with_name("racers.py"),
            racer,
            f"--run={given.run}",
            f"--out={out}",
            f"--seed={seed}",
            f"--iterations={given.iterations}",
            f"--every={given.every}",
            f"--rate={given.rate}",
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        env=os.environ
        | {
            "PYTHONPATH": os.pathsep.join(map(str, path)),
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
        },
    )


def measure(given, racer, seed):
    """Measures the policies that a run has left; adds the figures to its laps."""
    out = given.out / f"{racer}-{seed}"
    kept = out / "figures.json"
    if kept.is_file():
        return json.loads(kept.read_text(encoding="utf-8"))
    laps = {lap["iteration"]: lap for lap in json.loads((out / "laps.json").read_text("utf-8"))}
    envs = make_envs(given.run, "test", rows=64)
    start = TransformerPolicy.from_pretrained(given.run / "language_model")
    judge = GoldJudge.load(given.run / "judge")
    figures = []
    for iteration in [0, *range(given.every, given.iterations + 1, given.every)]:
        folder = out / f"policy-{iteration}"
        policy = TransformerPolicy.from_pretrained(folder) if iteration else start
        report = evaluate_policy(
            policy,
            start,
            envs,
            judge.score,
            example_ids=range(given.prompts),
            temperature=TEMPERATURE,
            seed=seed,
        )
        figures.append(
            {
                "texts": iteration * ROWS,
                "cpu": laps[iteration]["cpu"] if iteration else 0.0,
                "reward": float(report.rewards.mean()),
                "gold": float(report.gold.mean()),
                "kl": report.kl,
                "distinct_2": report.distinct_2,
            }
        )
    kept.write_text(json.dumps(figures), encoding="utf-8")
    return figures


def interval(values):
    """The mean over seeds and half of Student's 95 % interval."""
    values = np.asarray(values, dtype=float)
    half = student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean()), float(half)


def table(found):
    """A line a racer and measurement, as Markdown."""
    print("| PPO of | texts | processor's seconds | reward | gold | KL | distinct-2 |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for racer, runs in found.items():
        for place in range(len(runs[0])):
            cells = [
                "{:.{d}f} ± {:.{d}f}".format(
                    *interval([run[place][name] for run in runs]), d=digits
                )
                for name, digits in (
                    ("cpu", 0),
                    ("reward", 2),
                    ("gold", 3),
                    ("kl", 1),
                    ("distinct_2", 3),
                )
            ]
            print(f"| {RACERS[racer]} | {runs[0][place]['texts']:,} | {' | '.join(cells)} |")


def plot(found, path):
    """Reward and gold against texts and against seconds, a line a seed and a heavy one for all."""
    figure = Figure(figsize=(8.4, 5.6), layout="constrained")
    axes = figure.subplots(2, 2, sharey="row")
    names = [("texts", "texts written"), ("cpu", "seconds of one thread")]
    for row, (measure, label) in zip(axes, (("reward", "reward"), ("gold", "gold")), strict=True):
        for axis, (x, x_label) in zip(row, names, strict=True):
            for racer, runs in found.items():
                across = np.array([[lap[x] for lap in run] for run in runs])
                up = np.array([[lap[measure] for lap in run] for run in runs])
                axis.plot(across.T, up.T, color=COLOURS[racer], alpha=0.25, linewidth=1)
                axis.plot(
                    across.mean(0),
                    up.mean(0),
                    color=COLOURS[racer],
                    linewidth=2,
                    label=RACERS[racer],
                )
            axis.set_xlabel(x_label)
            axis.grid(alpha=0.3)
        row[0].set_ylabel(label)
    axes[0][0].legend(frameon=False)
    figure.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, default=Path("runs/quickstart"), help="of a quickstart")
    parser.add_argument("--out", type=Path, default=Path("runs/race"), help="runs there are kept")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--every", type=int, default=5, help="iterations between measurements")
    parser.add_argument("--rate", type=float, default=4e-4)
    parser.add_argument("--prompts", type=int, default=256)
    parser.add_argument("--plot", type=Path)
    given = parser.parse_args()
    if not (PEERS / "trl-1.12").is_dir():
        parser.error("TRL 1.12 is not installed: make peers")
    if not (given.run / "reward_model").is_dir():
        parser.error(f"no reward_model in --run {given.run}: run textgym quickstart first")
    for seed in range(given.seeds):
        for racer in RACERS:
            race(given, racer, seed)
    found = {
        racer: [measure(given, racer, seed) for seed in range(given.seeds)] for racer in RACERS
    }
    table(found)
    if given.plot is not None:
        plot(found, given.plot)


if __name__ == "__main__":
    main()
