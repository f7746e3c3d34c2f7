"""Tries many made-up inputs on everything that reads what a stranger wrote, and prints a table.

``python -m tests.fuzz --examples 10000 --only rows``; it fails where an input was not handled: no
answer, and no refusal in one line.
"""

import argparse
import sys
import time

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.subjects import SUBJECTS, Subject

__all__ = ["main", "tried"]


def tried(subject: Subject, examples: int, begin: int = 0) -> tuple[int, dict[str, object]]:
    """How many inputs a subject was given, and one of each fault's, by what went wrong."""
    faults: dict[str, object] = {}
    number = 0

    @seed(begin)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(subject.inputs)
    def run(value: object) -> None:
        nonlocal number
        number += 1
        fault = subject.fault(value)
        if fault:
            faults.setdefault(fault, value)

    run()
    return number, faults


def main() -> int:
    """Runs the subjects that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--examples", type=int, default=10_000, help="inputs a subject")
    parser.add_argument("--only", default="", help="subjects with this in their name")
    parser.add_argument("--seed", type=int, default=0, help="another seed tries other inputs")
    words = parser.parse_args()
    failed = 0
    for subject in SUBJECTS:
        if words.only not in subject.name:
            continue
        started = time.monotonic()
        number, faults = tried(subject, words.examples, words.seed)
        seconds = time.monotonic() - started
        print(f"| {subject.name} | {number:,} | {len(faults)} | {seconds:.0f} s |", flush=True)
        for fault, value in list(faults.items())[:5]:
            print(f"    {fault}\n      from {value!r:.300}", flush=True)
        failed += len(faults)
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
