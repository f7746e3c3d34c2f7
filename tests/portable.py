"""The tests under the rounding of other processors, other numbers of threads, and beside a load.

``make portable`` starts this with pytest's arguments. A sum of products rounds as the width of a
processor's registers and the number of threads have it, and a busy machine is slow at the wrong
moment: what a test claims must hold under all of it.
"""

import os
import re
import subprocess
import sys
from contextlib import contextmanager

import torch

WIDE = {"AVX512"}
X86 = {"AVX2", *WIDE}
COMBINATIONS = {
    "torch as on AVX2": (X86, {"ATEN_CPU_CAPABILITY": "avx2"}),
    "oneDNN as on AVX2": (X86, {"ONEDNN_MAX_CPU_ISA": "AVX2"}),  # no products in bfloat16
    "oneDNN without AMX": (WIDE, {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}),
    "one thread": (None, {"OMP_NUM_THREADS": "1"}),
    "two threads": (None, {"OMP_NUM_THREADS": "2"}),
    "beside a load": (None, {"OMP_NUM_THREADS": "1"}),
}
"""By name, the processors that can do it, as torch calls them, ``None`` for all; and variables."""

_FAILURE = re.compile(r"^(?:FAILED|ERROR) (.*)$", re.M)


def possible(capability):
    """The combinations that a processor can do, as variables by name."""
    return {name: own for name, (on, own) in COMBINATIONS.items() if on is None or capability in on}


@contextmanager
def load(processes):
    """So many processes that do nothing but compute, while the block runs."""
    spinning = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)
    ]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def failures(variables, arguments):
    """Runs pytest with some variables and returns what failed, and what it said at last.

    One thread a process, unless they say otherwise.
    """
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1", **variables},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    found = _FAILURE.findall(done.stdout)
    if done.returncode and not found:  # it did not come so far as to run a test
        found = [f"pytest ended with {done.returncode}"]
    return found, done.stdout.strip().rpartition("\n")[2]


def main(arguments):
    """Runs every combination that this processor can do, and returns whether one had a failure."""
    has_failed = False
    for name, variables in possible(torch.backends.cpu.get_cpu_capability()).items():
        with load((os.cpu_count() or 1) if name == "beside a load" else 0):
            found, said = failures(variables, arguments)
        print(f"{name}: {said}", *found, sep="\n  ", flush=True)
        has_failed |= bool(found)
    return has_failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
