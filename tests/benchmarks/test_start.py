"""Processor's seconds from a command to its answer, beside a bare Python and one with numpy.

``make bench ARGS="-k start"`` prints the table: every help, the listings, a page of each, and
``import textgym``. Medians of 3 fresh processes each, in the processor's time, which other programs
do not spend; the ratios are to ``python -c pass`` and to ``python -c "import numpy"``.
"""

import os
import resource
import subprocess
import sys

import numpy as np

from tests.commands import ENVIRONMENT, ROOT
from textgym.cli.main import COMMANDS

ROUNDS = 3
LISTINGS = ("envs", "envs Sentiment", "rewards", "rewards rouge")


def _seconds(*arguments):
    """The median of a few rounds."""
    spent = []
    for _ in range(ROUNDS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, *arguments],
            check=True,
            capture_output=True,
            cwd=ROOT,
            env=os.environ | ENVIRONMENT,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return float(np.median(spent))


def test_time_to_an_answer():
    bare, numpy = _seconds("-c", "pass"), _seconds("-c", "import numpy")
    print(f"\n{'python -c pass':34s} {bare:5.2f} s\n{'import numpy':34s} {numpy:5.2f} s")
    lines = ["--help", *(f"{name} --help" for name in COMMANDS), *LISTINGS]
    runs = {f"textgym {line}": ("-m", "textgym", *line.split()) for line in lines}
    for name, arguments in {"import textgym": ("-c", "import textgym"), **runs}.items():
        spent = _seconds(*arguments)
        print(f"{name:34s} {spent:5.2f} s   {spent / bare:5.1f}   {spent / numpy:5.1f}")
