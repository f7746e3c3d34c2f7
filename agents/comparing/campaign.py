"""A study is run to its end: what is missing is made, what is there is left alone.

Cells are resumed one by one, since each is whole or absent; failed ones stay, unless they are to be
tried again. ``Outcome`` is a cell that has been read back.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agents.comparing.executors import Job

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from agents.comparing.executors import Executor
    from agents.comparing.study import Cell, Study

__all__ = ["Outcome", "read_outcomes", "run_study"]

_CELLS = "cells"
_RESULT, _COST, _TEXTS = "result.json", "cost.json", "texts.jsonl"


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What came of a cell.

    Attributes:
        reward: The reward's name.
        agent: The agent's.
        seed: The seed.
        result: ``result.json``.
        cost: ``cost.json``.
        folder: Where it is.
    """

    reward: str
    agent: str
    seed: int
    result: Mapping[str, Any]
    cost: Mapping[str, Any]
    folder: Path

    @property
    def failed(self) -> bool:
        """Whether it has failed."""
        return bool(self.result["status"] == "failed")

    @property
    def snapshots(self) -> Sequence[Mapping[str, Any]]:
        """Its measurements, the start first."""
        found: Sequence[Mapping[str, Any]] = self.result["snapshots"]
        return found

    def texts(self, stage: str) -> list[dict[str, Any]]:
        """Its texts at the ``start`` or the ``end``, with their scores."""
        path = self.folder / _TEXTS
        if not path.is_file():
            return []
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return [row for row in rows if row["stage"] == stage]


def run_study(
    study: Study,
    folder: Path,
    executor: Executor,
    *,
    progress: Callable[[int, int, str], None] = lambda *_: None,
    retry: bool = False,
) -> list[Outcome]:
    """Makes all cells that are missing.

    Args:
        study: What to compare.
        folder: Where to; what is there of the same study is gone on from.
        executor: Who runs cells.
        progress: Told how many cells are there, of how many, and the last one's name and end.
        retry: Whether failed cells are made anew.

    Returns:
        All cells of the study.

    Raises:
        ValueError: If the folder holds another study.
    """
    study.save(folder)
    cells = {str(folder / _CELLS / cell.name): cell for cell in study.cells()}
    there = {name: _read(cell, folder) for name, cell in cells.items()}
    missing = [name for name, each in there.items() if each is None or (retry and each.failed)]
    made = len(cells) - len(missing)
    progress(made, len(cells), "")

    def ended(job: Job, why: str, message: str) -> None:
        nonlocal made
        cell = cells[job.folder]
        outcome = None if why == "time" else _read(cell, folder)
        if why or outcome is None:
            from agents.comparing.cells import write_failure

            said = message or "ended without a result"
            write_failure(cell, folder / _CELLS / cell.name, why or "crash", said)
            outcome = _read(cell, folder)
        made += 1
        how = "" if outcome is None or not outcome.failed else f" failed: {outcome.result['why']}"
        progress(made, len(cells), f"{cell.reward} {cell.agent} seed {cell.seed}{how}")

    jobs = [
        Job(json.dumps(cells[name].as_json()), name, study.seconds, study.threads)
        for name in missing
    ]
    for name in missing:
        shutil.rmtree(name, ignore_errors=True)
    if jobs:
        executor.run(jobs, ended)
    return read_outcomes(study, folder)


def read_outcomes(study: Study, folder: Path) -> list[Outcome]:
    """Reads the cells of a study that are there, in its order."""
    found = [_read(cell, folder) for cell in study.cells()]
    return [each for each in found if each is not None]


def _read(cell: Cell, folder: Path) -> Outcome | None:
    place = folder / _CELLS / cell.name
    if not (place / _RESULT).is_file():
        return None
    result, cost = (
        json.loads((place / name).read_text(encoding="utf-8")) for name in (_RESULT, _COST)
    )
    return Outcome(cell.reward, cell.agent, cell.seed, result, cost, place)
