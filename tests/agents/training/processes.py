"""Processes of tests that train one policy, started as ``torchrun`` starts them."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def start(module, rank, count, port, out):
    """Starts one of ``count``: ``python -m module out``, whose output goes to ``out/rank.log``."""
    environment = {
        **os.environ,
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
    }
    with (out / f"{rank}.log").open("w") as log:
        return subprocess.Popen(
            [sys.executable, "-W", "error", "-m", module, str(out)],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
        )
