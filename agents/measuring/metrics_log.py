"""Metrics of a run on the disk: one CSV file and TensorBoard, safe to resume.

Stable-Baselines3's logger needs a folder of its own beside it; see ``agents.bridges.sb3.logger``.
"""

from __future__ import annotations

import csv
import os
from typing import TYPE_CHECKING, Self

from textgym.files import atomic_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["MetricsLog", "read_metrics"]


class MetricsLog:
    """Appends one row of numbers a step; usable as a context manager.

    A resumed run opens the same files again at the step of its checkpoint: rows that were written
    after that checkpoint are dropped, since the run makes those steps again.
    """

    def __init__(self, folder: Path, *, resume_after: int = 0) -> None:
        """Opens ``folder/metrics.csv`` and TensorBoard's event file in ``folder``.

        Args:
            folder: Made if it is not there.
            resume_after: The last step to keep; 0 starts anew.
        """
        from torch.utils.tensorboard import SummaryWriter

        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "metrics.csv"
        self._kept = [r for r in read_metrics(self._path) if r["iteration"] <= resume_after]
        self._header = list(self._kept[0]) if self._kept else None
        with (
            atomic_file(self._path) as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            if self._header:
                writer = csv.DictWriter(file, self._header)
                writer.writeheader()
                writer.writerows(self._kept)
        self._file = self._path.open("a", newline="", encoding="utf-8")
        self._board = SummaryWriter(str(folder), purge_step=resume_after + 1)

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Closes both files."""
        self._file.close()
        self._board.close()

    def write(self, metrics: Mapping[str, float]) -> None:
        """Writes one row; it is in the file when this returns.

        Args:
            metrics: By name, the same names in every step; ``iteration`` is the step.

        Raises:
            ValueError: If the names differ from those of the first row.
        """
        if self._header is None:
            self._header = list(metrics)
            csv.DictWriter(self._file, self._header).writeheader()
        csv.DictWriter(self._file, self._header).writerow(metrics)
        self._file.flush()
        os.fsync(self._file.fileno())
        for name, value in metrics.items():
            self._board.add_scalar(name, value, int(metrics["iteration"]))


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Reads what ``MetricsLog`` wrote; a last line that was cut off by a kill is left out."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [
        {name: float(value) for name, value in row.items()}
        for row in rows
        if all(row.values()) and None not in row
    ]
