"""How speed and memory of PPO change as work grows: rows, length, vocabulary, width, processes.

``python -m tests.benchmarks.growth --out runs/growth`` measures each size in processes of its own
and writes ``growth.jsonl``, ``growth.md`` and ``growth.png``; sizes that the first already has are
not measured again. One thing grows at a time, all else is as in ``BASE``: a GPT-2 of 2 layers in
float32 with one thread, as many texts as rows, an iteration of one epoch and one minibatch.

Seconds are the processor's, of all processes together, the smaller of two iterations after a
warm-up, so other programs on the machine do not count. Memory is the highest resident of a process
above what it had before the first iteration, with weights but without gradients and moments.
``exponent`` is the slope of the last two sizes in a double logarithm: seconds, or memory, grow by
the size to the power of it; 1 is a straight line through the origin, and below 1 something that
does not grow has a part in it.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

from tests.benchmarks.shapes import Shape, make_envs

ROOT = Path(__file__).parents[2]
BASE = {"rows": 32, "new": 32, "vocabulary": 2048, "width": 128, "processes": 1}
PROMPT, LAYERS, HEADS = 8, 2, 4
GROWING = {
    "rows": (16, 32, 64, 128, 256),
    "new": (16, 32, 64, 128, 256),
    "vocabulary": (1024, 4096, 16384, 65536),
    "width": (64, 128, 256, 512),
    "processes": (1, 2, 4),
}
NAMES = {
    "rows": "rows",
    "new": "tokens of a completion",
    "vocabulary": "vocabulary",
    "width": "width",
    "processes": "processes of 32 rows each",
}
SMOKE = {
    "base": {"rows": 4, "new": 4, "vocabulary": 64, "width": 16, "processes": 1},
    "growing": {"rows": (2, 4), "new": (2, 4), "vocabulary": (32, 64), "width": (8, 16)},
}
COLUMNS = {
    "writing": "tokens a second, writing",
    "learning": "tokens a second, whole iteration",
    "mib": "MiB above the start",
}


def make_learner(point):
    """PPO on a model of that size, on as many texts as rows."""
    from transformers import GPT2Config, GPT2LMHeadModel

    from agents.models.policy import TransformerPolicy
    from agents.ppo import PPO, PPOConfig

    torch.manual_seed(0)
    shape = Shape(point["vocabulary"], LAYERS, point["width"], HEADS)
    config = shape.config(GPT2Config)
    config.n_positions = PROMPT + point["new"]
    policy = TransformerPolicy(GPT2LMHeadModel(config))
    envs = make_envs(shape, point["rows"], prompt=PROMPT, new=point["new"])
    return PPO(policy, envs, PPOConfig(epochs=1, minibatches=1, learning_rate=1e-5))


def measure(point):
    """One size, in this process: seconds by the processor, tokens, and memory."""
    learner = make_learner(point)
    before = resident_mib("VmRSS")
    learner.step()
    writing, learning = [], []
    for _ in range(2):
        start = time.process_time()
        learner.collect()
        middle = time.process_time()
        _, rollout = learner.step()
        writing.append(middle - start)
        learning.append(time.process_time() - middle)
    return {
        "tokens": rollout.num_actions,  # of all processes
        "writing": min(writing),
        "learning": min(learning),
        "mib": resident_mib("VmHWM") - before,
    }


def resident_mib(field):
    """Resident memory of this process, now or at most; ``getrusage`` has a parent's in it."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    line = next(line for line in status.splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def measure_apart(point):
    """One size in processes of its own."""
    count = point["processes"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.growth", "--point", json.dumps(point)],
            env=environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for rank in range(count)
    ]
    try:
        told = [json.loads(each.communicate(timeout=600)[0].splitlines()[-1]) for each in started]
    finally:
        for each in started:
            each.kill()
            each.wait()
    together = {name: sum(each[name] for each in told) for name in ("writing", "learning")}
    return {**together, "tokens": told[0]["tokens"], "mib": max(each["mib"] for each in told)}


def exponent(sizes, costs):
    """The slope between the last two sizes in a double logarithm."""
    (a, b), (x, y) = np.log(sizes[-2:]), np.log(np.maximum(costs[-2:], 1e-9))
    return float((y - x) / (b - a))


def exponents(results):
    """How seconds of writing and of an iteration, and memory, grow with the size."""
    sizes = [each["size"] for each in results]
    return {name: exponent(sizes, [each[name] for each in results]) for name in COLUMNS}


def table(by_name):
    """Markdown of all that was measured."""
    lines = [
        "| what grows | | " + " | ".join(COLUMNS.values()) + " |",
        "| --- | --- |" + " --- |" * len(COLUMNS),
    ]
    for name, results in by_name.items():
        for number, each in enumerate(results):
            rates = [f"{each['tokens'] / each[phase]:,.0f}" for phase in ("writing", "learning")]
            cells = [NAMES[name] if not number else "", f"{each['size']:,}", *rates]
            lines.append("| " + " | ".join([*cells, f"{each['mib']:,.0f}"]) + " |")
        slopes = " | ".join(f"{slope:.2f}" for slope in exponents(results).values())
        lines.append(f"| | exponent of seconds, and of memory | {slopes} |")
    return "\n".join(lines) + "\n"


def draw(by_name, path):
    """Seconds of an iteration and memory against each size, in double logarithms."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, rows = plt.subplots(2, len(by_name), figsize=(3.2 * len(by_name), 5.6), squeeze=False)
    for column, (name, results) in enumerate(by_name.items()):
        sizes = np.array([each["size"] for each in results], dtype=float)
        for axes, drawn, unit in (
            (rows[0, column], ("writing", "learning"), "processor's seconds"),
            (rows[1, column], ("mib",), "MiB"),
        ):
            for phase in drawn:
                costs = [each[phase] for each in results]
                axes.loglog(sizes, costs, "o-", label=phase)
            axes.loglog(sizes, costs[-1] * sizes / sizes[-1], ":", color="grey", label="straight")
            axes.set_xlabel(NAMES[name])
            axes.set_xticks(sizes, [f"{size:g}" for size in sizes])
            axes.minorticks_off()
            if not column:
                axes.set_ylabel(unit)
                axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main():
    """Measures what is missing, and writes table and plot."""
    parser = argparse.ArgumentParser(
        description="Speed and memory of PPO as work grows.",
        epilog="Example: python -m tests.benchmarks.growth --out runs/growth",
    )
    parser.add_argument("--out", type=Path, default=Path("runs/growth"))
    parser.add_argument(
        "--smoke", action="store_true", help="tiny sizes, all in this process: seconds in all"
    )
    parser.add_argument("--point", help="a size as JSON, measured in this process")
    settings = parser.parse_args()
    if settings.point:
        from textgym.cli.console import keep_large_blocks

        torch.set_num_threads(1)
        keep_large_blocks()
        print(json.dumps(measure(json.loads(settings.point))))
        return
    settings.out.mkdir(parents=True, exist_ok=True)
    file = settings.out / "growth.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    known = [json.loads(line) for line in lines]
    base, growing = (SMOKE["base"], SMOKE["growing"]) if settings.smoke else (BASE, GROWING)
    by_name = {name: [] for name in growing}
    for name, sizes in growing.items():
        for size in sizes:
            point = base | {name: size}
            result = next((each for each in known if each["point"] == point), None)
            if result is None:
                found = measure(point) if settings.smoke else measure_apart(point)
                result = {"point": point, **found}
                known.append(result)
                with file.open("a", encoding="utf-8") as out:
                    print(json.dumps(result), file=out)
            print(f"{NAMES[name]} {size:,}: {result['learning']:.2f} s, {result['mib']:,.0f} MiB")
            by_name[name].append(result | {"size": size})
    text = table(by_name)
    (settings.out / "growth.md").write_text(text, encoding="utf-8")
    draw(by_name, settings.out / "growth.png")
    print(text)


if __name__ == "__main__":
    main()
