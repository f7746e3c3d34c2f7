"""Runs tests on a copy of the house, in a process that is forked from one that has torch already.

A copy is a folder with all of the repository's files. An error is written into a copy, never into
the working tree, and taken out again. What is not ours is imported once, before any fork; what is
ours is imported by each child from its copy.
"""

import gc
import importlib
import json
import os
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mutants.mutations import Mutant
from tests.mutants.watch import Chosen, Seen, Watcher, asked_of

__all__ = ["Trial", "copy_house", "outcomes", "warm", "watch"]

OURS = ("textgym", "agents", "reward_models", "tests")
WORDS = (
    *("-q", "--no-header", "-p", "no:cacheprovider", "--hypothesis-seed=0"),
    # Its plugins are imported before the fork, as everything is.
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),
)
QUICK = "not slow and not learning and not gpu"
LOG, BROKEN = "log.txt", 99
SLOWER, BESIDES = 4.0, 20.0  # times what the tests take without an error, and seconds


def copy_house(root: Path, folder: Path) -> Path:
    """Copies what the tests need, without what was made."""
    made = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "runs", "build", "dist")
    return Path(shutil.copytree(root, folder, ignore=made, dirs_exist_ok=True))


def warm(seen: Seen) -> None:
    """Imports what the tests imported, but for what is ours, and for what will not be imported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in seen.modules:
            if name.partition(".")[0] not in (*OURS, "__main__", "conftest", "readline"):
                with suppress(Exception):
                    importlib.import_module(name)
    gc.collect()
    gc.freeze()  # else each child would look through all of it, and so copy it


def _enter(copy: Path, log: Path) -> None:
    """Makes a forked child one that knows the copy alone."""
    os.setsid()
    with log.open("wb") as out:
        for stream in (1, 2):
            os.dup2(out.fileno(), stream)
    here = str(Path.cwd())
    os.chdir(copy)
    sys.path[:] = [str(copy), *(path for path in sys.path if path not in ("", here, str(copy)))]
    os.environ["PYTHONPATH"] = str(copy)
    for name in [name for name in sys.modules if name.partition(".")[0] in OURS]:
        del sys.modules[name]
    importlib.invalidate_caches()


def _forked(copy: Path, log: Path, work: Callable[[], int]) -> int:
    """Forks a child that does this in a copy and ends with what it returns; its process id."""
    child = os.fork()
    if child:
        return child
    code = BROKEN
    try:
        _enter(copy, log)
        code = work()
    except BaseException:  # a child must not go on as its parent
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def watch(copy: Path, tests: list[str], modules: set[str], expression: str = QUICK) -> Seen:
    """Runs tests without an error, twice, each in a child, and returns what was noted.

    The second time all is imported already, as it is when an error is planted: a test that fails
    then would seem to notice every error.

    Raises:
        RuntimeError: If the child fails otherwise than by a test.
    """
    seen = _watch(copy, ["-m", expression, *tests], modules)
    warm(seen)
    again = _watch(copy, ["-m", expression, *tests], set())
    seen.seconds, seen.failed = again.seconds, sorted({*seen.failed, *again.failed})
    return seen


def _watch(copy: Path, words: list[str], modules: set[str]) -> Seen:
    result, log = copy / "seen.json", copy / LOG
    result.unlink(missing_ok=True)

    def noted() -> int:
        watcher = Watcher(copy, modules)
        pytest.main([*WORDS, *words], plugins=[watcher])
        result.write_text(json.dumps(watcher.record()), encoding="utf-8")
        return 0

    _, status = os.waitpid(_forked(copy, log, noted), 0)
    if status != 0 or not result.is_file():
        raise RuntimeError(f"the tests could not be watched:\n{log.read_text(errors='replace')}")
    seen = Seen(**json.loads(result.read_text(encoding="utf-8")))
    if not seen.seconds:
        raise RuntimeError(f"no test passes:\n{log.read_text(errors='replace')}")
    return seen


def _first_failure(groups: list[list[str]]) -> int:
    """Runs groups of tests until one of them fails; nothing is imported for those behind it."""
    for tests in groups:
        files = list(dict.fromkeys(test.partition("::")[0] for test in tests))
        code = int(pytest.main(["-x", *WORDS, *files], plugins=[Chosen(tests)]))
        if code != pytest.ExitCode.OK:
            return code
    return 0


@dataclass
class Trial:
    """One mutant in one copy, while its tests run."""

    mutant: Mutant
    copy: Path
    child: int
    deadline: float
    original: str

    @classmethod
    def begin(cls, mutant: Mutant, copy: Path, tests: list[list[str]], seconds: float) -> "Trial":
        """Plants the error and forks.

        Args:
            mutant: The error.
            copy: A copy that nobody else uses.
            tests: Ids of tests in order, in groups that are collected one after another.
            seconds: How long they take without an error.
        """
        path = copy / mutant.module
        original = path.read_text(encoding="utf-8")
        _write(path, mutant.source)
        child = _forked(copy, copy / LOG, lambda: _first_failure(tests))
        deadline = time.monotonic() + SLOWER * seconds + BESIDES
        return cls(mutant, copy, child, deadline, original)

    def poll(self) -> str | None:
        """``killed``, ``survived`` or ``timed out``, and the copy is whole again; or None."""
        done, status = os.waitpid(self.child, os.WNOHANG)
        if not done:
            if time.monotonic() < self.deadline:
                return None
            with suppress(ProcessLookupError):
                os.killpg(self.child, signal.SIGKILL)
            os.waitpid(self.child, 0)
        _write(self.copy / self.mutant.module, self.original)
        if not done:
            return "timed out"
        code = os.waitstatus_to_exitcode(status)
        if code == BROKEN:
            said = (self.copy / LOG).read_text(errors="replace")
            raise RuntimeError(f"no test was run:\n{said}")
        return "killed" if code else "survived"

    def stop(self) -> None:
        """Ends it without a verdict."""
        with suppress(ProcessLookupError):
            os.killpg(self.child, signal.SIGKILL)
        os.waitpid(self.child, 0)
        _write(self.copy / self.mutant.module, self.original)


def _write(path: Path, source: str) -> None:
    """Writes a module, and removes what was compiled of it: it may look as new as the source."""
    path.write_text(source, encoding="utf-8")
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
        compiled.unlink()


def outcomes(
    mutants: list[Mutant], seen: Seen, given: list[str], copies: list[Path]
) -> Iterator[tuple[Mutant, str]]:
    """Tries mutants, as many at once as there are copies; yields what came of each.

    Args:
        mutants: The errors.
        seen: What was noted of all tests.
        given: Their files or folders; those of one are collected together, the first one first.
        copies: Of the house.
    """
    waiting, free, running = list(reversed(mutants)), list(copies), list[Trial]()
    try:
        while waiting or running:
            while waiting and free:
                mutant = waiting.pop()
                tests = asked_of(seen, mutant.module, mutant.first, given)
                if not tests:
                    yield mutant, "survived"
                    continue
                seconds = sum(seen.seconds[test] for group in tests for test in group)
                running.append(Trial.begin(mutant, free.pop(), tests, seconds))
            time.sleep(0.02)
            for trial in list(running):
                outcome = trial.poll()
                if outcome is not None:
                    running.remove(trial)
                    free.append(trial.copy)
                    yield trial.mutant, outcome
    finally:
        for trial in running:
            trial.stop()
