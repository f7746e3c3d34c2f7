"""PPO and GRPO beside TRL's and Stable-Baselines3's, each in a process of its own, in one run.

``make peers`` installs TRL 1.12, the last with PPO, and 1.16 beside the virtual environment without
touching it, and ``make bench ARGS="-k peers"`` prints the table; ``TEXTGYM_PEERS`` names another
folder to find them in. Everybody trains the same GPT-2 on the same prompts with the same reward,
threads and setting of the allocator, one epoch and one minibatch of 128 texts of 16 and 48 tokens
(Stable-Baselines3: 32 texts, as it reads the whole text again for every token), see ``peers.py``.
TRL has the attention that is the fastest for it in either precision. The rates are medians of the
iterations after a warm-up, once by the clock and once by the processor's time, which other programs
do not spend. Of our own trainers it prints the share of the roofline as well, see ``roofline.py``.
``peak`` is the highest resident memory of the whole process, imports included.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[2]
FOLDER = Path(os.environ.get("TEXTGYM_PEERS", Path(sys.prefix) / "peers"))
ITERATIONS = 3
RUNS = {
    "PPO, float32": ("ppo", "float32"),
    "PPO, bfloat16": ("ppo", "bfloat16"),
    "TRL's PPO, float32": ("ppo-trl", "float32", "--attention=sdpa"),
    "TRL's PPO, bfloat16": ("ppo-trl", "bfloat16", "--attention=eager"),
    "TRL's PPO, glibc's allocator": ("ppo-trl", "float32", "--allocator=glibc"),
    "SB3's PPO, float32": ("ppo-sb3", "float32"),
    "GRPO, float32": ("grpo", "float32"),
    "GRPO, bfloat16": ("grpo", "bfloat16"),
    "TRL's GRPO, float32": ("grpo-trl", "float32", "--attention=sdpa"),
    "TRL's GRPO, bfloat16": ("grpo-trl", "bfloat16", "--attention=eager"),
}
VERSIONS = {"ppo-trl": "trl-1.12", "grpo-trl": "trl-1.16"}
BOTH = ("float32", "bfloat16")
TARGETS = [
    ("PPO over TRL's, both float32", "PPO", "TRL's PPO", ("float32",), 2.5),
    ("PPO over TRL's, the better precision of each", "PPO", "TRL's PPO", BOTH, 5.0),
    ("PPO over SB3's, both float32", "PPO", "SB3's PPO", ("float32",), 50.0),
    ("PPO over SB3's, the better precision of each", "PPO", "SB3's PPO", BOTH, 50.0),
    ("GRPO over TRL's, the better precision of each", "GRPO", "TRL's GRPO", BOTH, 1.4),
]

pytestmark = pytest.mark.timeout(1800)


def _race(run, scratch):
    """Runs one trainer; returns what ``peers.py`` printed."""
    path = [FOLDER / VERSIONS.get(run[0], ""), FOLDER / "datasets", ROOT]
    result = subprocess.run(
        [
            sys.executable,
            Path(__file__).with_name("peers.py"),
            *run,
            f"--iterations={ITERATIONS}",
            f"--threads={torch.get_num_threads()}",
            f"--scratch={scratch}",
        ],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ
        | {
            "PYTHONPATH": os.pathsep.join(map(str, path)),
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": str(torch.get_num_threads()),
        },
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout.splitlines()[-1])


def _rate(result, kind):
    return result["tokens"] / float(np.median(result[kind]))


def _best(results, name, precisions, kind):
    found = [results.get(f"{name}, {each}") for each in precisions]
    return max(_rate(result, kind) for result in found if result is not None)


def _shares(result):
    """Of the roofline: the whole iteration by both clocks, and its phases by the clock."""
    whole = sum(result["needed"].values())
    for kind, speed in zip(("seconds", "cpu_seconds"), result["speeds"], strict=True):
        yield "iteration, " + kind, whole / float(np.median(result[kind])) / speed
    for phase, needed in result["needed"].items():
        seconds = float(np.median([each[phase] for each in result["phases"]]))
        yield phase, needed / seconds / result["speeds"][0]


def test_learners_beside_their_peers(tmp_path):
    for version in sorted(set(VERSIONS.values())):
        if not (FOLDER / version).is_dir():
            pytest.skip(f"{version} is not in {FOLDER}: make peers installs it there")
    print(f"\n{torch.get_num_threads()} threads; tokens/s by the clock and by the processor's time")
    results = {}
    for name, run in RUNS.items():
        result = results[name] = _race(run, tmp_path)
        rates = [_rate(result, kind) for kind in ("seconds", "cpu_seconds")]
        print(f"{name:30s} {rates[0]:7,.0f} {rates[1]:7,.0f}   peak {result['peak_mib']:6,.0f} MiB")
    for name, result in results.items():
        if "needed" in result:
            said = ", ".join(f"{what} {share:.0%}" for what, share in _shares(result))
            speeds = " and ".join(f"{speed / 1e9:,.0f}" for speed in result["speeds"])
            print(f"{name}: products {speeds} GFLOP/s; of that {said}")
    for title, mine, theirs, precisions, target in TARGETS:
        clock, processor = (
            _best(results, mine, precisions, kind) / _best(results, theirs, precisions, kind)
            for kind in ("seconds", "cpu_seconds")
        )
        print(f"{title:46s} {clock:6.2f} {processor:6.2f}   target {target}")
        assert clock > 1
    peaks = [results[name]["peak_mib"] for name in ("PPO, float32", "TRL's PPO, float32")]
    title = "peak memory of PPO over TRL's, both float32"
    print(f"{title:46s} {peaks[0] / peaks[1]:6.2f}          target 0.5")
    for name in ("PPO, float32", "PPO, bfloat16"):
        spent = dict.fromkeys(("collect", "environment", "reward"), 0.0)
        for phases in results[name]["phases"]:
            spent = {part: before + phases[part] for part, before in spent.items()}
        share = spent["environment"] / sum(spent.values())
        title = f"the environment's share of {name}'s rollout"
        print(f"{title:46s} {share:6.1%}          target 5.0%")
        assert share < 0.1
