"""Who runs cells: this process, processes of this machine, Slurm by submitit, a cluster by Ray.

An executor is one method, ``run``. A cell is plain JSON and a folder, so that nothing else has to
travel; with Slurm and Ray the folder must be one that all machines see.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "EXECUTORS",
    "Executor",
    "Here",
    "Job",
    "LocalProcesses",
    "RayCluster",
    "SubmititJobs",
    "make_executor",
]

EXECUTORS = ("processes", "here", "submitit", "ray")
"""Their names."""

_POLL = 0.1  # seconds
_LATE = 60.0  # seconds more than a cell may take before its process is ended
_SHOWN = 400  # letters of what a process said last


@dataclass(frozen=True, slots=True)
class Job:
    """A cell to run.

    Attributes:
        settings: Its JSON.
        folder: Where its result goes.
        seconds: How long it may take, if there is a limit.
        threads: How many it takes.
    """

    settings: str
    folder: str
    seconds: float | None
    threads: int


class Executor(Protocol):
    """Runs cells, in any order, on any machine."""

    def run(self, jobs: Sequence[Job], ended: Callable[[Job, str, str], None]) -> None:
        """Runs all.

        Args:
            jobs: What to run.
            ended: Called in this process for each job, as it ends, with a word for why it left
                nothing and a message; both are empty where the job ended by itself.
        """


@dataclass(frozen=True, slots=True)
class Here:
    """One after the other in this process: the fastest for cells of seconds."""

    def run(self, jobs: Sequence[Job], ended: Callable[[Job, str, str], None]) -> None:
        """Runs all."""
        from agents.comparing.cells import run_cell

        for job in jobs:
            run_cell(job.settings, job.folder)
            ended(job, "", "")


@dataclass(frozen=True, slots=True)
class LocalProcesses:
    """Processes of this machine, a cell each.

    Attributes:
        workers: How many at a time.
    """

    workers: int

    def run(self, jobs: Sequence[Job], ended: Callable[[Job, str, str], None]) -> None:
        """Runs all; on the way out, processes that still run are ended."""
        waiting, running = list(jobs), list[_Process]()
        try:
            while waiting or running:
                while waiting and len(running) < self.workers:
                    running.append(_Process(waiting.pop(0)))
                time.sleep(_POLL)
                for each in [each for each in running if each.is_over()]:
                    running.remove(each)
                    ended(each.job, *each.close())
        finally:
            for each in running:
                each.kill()


class _Process:
    """A cell in a process of its own."""

    def __init__(self, job: Job) -> None:
        self.job, self._late = job, False
        self._started = time.monotonic()
        self._files = tempfile.TemporaryDirectory()
        folder = Path(self._files.name)
        (folder / "cell.json").write_text(job.settings, encoding="utf-8")
        self._said = (folder / "said").open("w+b")
        threads = str(job.threads)
        settings = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "agents.comparing.cells", str(folder / "cell.json"), job.folder],
            stdout=subprocess.DEVNULL,
            stderr=self._said,
            env={**os.environ, **settings, "PYTHONPATH": os.pathsep.join(sys.path)},
        )

    def is_over(self) -> bool:
        """Whether it has ended, or takes far too long, and then is ended."""
        most = self.job.seconds
        if most is not None and time.monotonic() - self._started > most + _LATE:
            self._late = True
            self._process.kill()
            self._process.wait()
        return self._process.poll() is not None

    def close(self) -> tuple[str, str]:
        """What is to be said of its end."""
        code = self._process.returncode
        self._said.seek(0)
        said = " ".join(self._said.read().decode("utf-8", "replace").split())[-_SHOWN:]
        self._tidy()
        if self._late:
            return "time", f"took more than {self.job.seconds:g} seconds and was ended"
        if code:
            how = f"signal {-code}" if code < 0 else f"status {code}"
            return "crash", f"its process ended with {how}{': ' if said else ''}{said}"
        return "", ""

    def kill(self) -> None:
        """Ends it."""
        self._process.kill()
        self._process.wait()
        self._tidy()

    def _tidy(self) -> None:
        self._said.close()
        self._files.cleanup()


@dataclass(frozen=True, slots=True)
class SubmititJobs:
    """Jobs of Slurm, or of this machine where there is no Slurm, by submitit.

    Attributes:
        logs: Where submitit writes; all machines must see it.
        workers: How many at a time.
        cluster: ``slurm``, ``local``, or None for what is there.
        settings: More of submitit's ``update_parameters``, such as ``slurm_partition``.
    """

    logs: Path
    workers: int
    cluster: str | None = None
    settings: tuple[tuple[str, Any], ...] = ()

    def run(self, jobs: Sequence[Job], ended: Callable[[Job, str, str], None]) -> None:
        """Runs all."""
        import submitit

        from agents.comparing.cells import run_cell

        executor = submitit.AutoExecutor(folder=self.logs, cluster=self.cluster)
        threads, slowest = max(job.threads for job in jobs), [job.seconds for job in jobs]
        limits = [each for each in slowest if each is not None]
        minutes = {"timeout_min": 1 + int((max(limits) + _LATE) // 60)} if limits else {}
        executor.update_parameters(cpus_per_task=threads, **minutes, **dict(self.settings))
        waiting, running = list(jobs), list[tuple[Job, Any]]()
        while waiting or running:
            while waiting and len(running) < self.workers:
                job = waiting.pop(0)
                running.append((job, executor.submit(run_cell, job.settings, job.folder)))
            time.sleep(_POLL)
            for job, handle in [each for each in running if each[1].done()]:
                running.remove((job, handle))
                error = handle.exception()
                said = "" if error is None else " ".join(str(error).split())[-_SHOWN:]
                ended(job, "crash" if said else "", said)


@dataclass(frozen=True, slots=True)
class RayCluster:
    """Tasks of a Ray cluster; without an address, of one that is started here.

    Attributes:
        workers: How many processors a cluster that is started here has.
        address: Of a cluster that is there, such as ``auto``.
    """

    workers: int
    address: str | None = None

    def run(self, jobs: Sequence[Job], ended: Callable[[Job, str, str], None]) -> None:
        """Runs all."""
        import ray

        from agents.comparing.cells import run_cell

        mine = not ray.is_initialized()
        if mine:
            size: dict[str, Any] = (
                {} if self.address else {"num_cpus": self.workers * jobs[0].threads}
            )
            ray.init(
                address=self.address,
                include_dashboard=False,
                log_to_driver=False,
                configure_logging=False,
                **size,
            )
        try:
            task = ray.remote(max_retries=0)(run_cell)
            running = {
                task.options(num_cpus=job.threads).remote(job.settings, job.folder): job
                for job in jobs
            }
            while running:
                (first, *_), _ = ray.wait(list(running))
                job, said = running.pop(first), ""
                try:
                    ray.get(first)
                except ray.exceptions.RayError as error:
                    said = " ".join(str(error).split())[-_SHOWN:]
                ended(job, "crash" if said else "", said)
        finally:
            if mine:
                ray.shutdown()


def make_executor(name: str, *, workers: int, folder: Path) -> Executor:
    """Makes the executor of that name.

    Args:
        name: One of ``EXECUTORS``; submitit takes ``submitit:local`` and ``submitit:slurm`` too,
            and Ray an address, ``ray:ADDRESS``.
        workers: How many cells at a time.
        folder: The study's.

    Raises:
        ValueError: If there is no such executor, or nobody works.
        ModuleNotFoundError: If its package is missing.
    """
    kind, _, where = name.partition(":")
    if kind not in EXECUTORS:
        raise ValueError(f"unknown executor {name}; known: {', '.join(EXECUTORS)}")
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    if kind == "here":
        return Here()
    if kind == "processes":
        return LocalProcesses(workers)
    _require(kind)
    if kind == "submitit":
        return SubmititJobs(folder / "submitit", workers, where or None)
    return RayCluster(workers, where or None)


def _require(package: str) -> None:
    import importlib.util

    if importlib.util.find_spec(package) is None:
        raise ModuleNotFoundError(
            f'the executor {package} needs the package {package}: pip install "textgym[{package}]"'
        )
