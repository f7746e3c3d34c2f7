"""Files and folders that are either whole or absent, whenever the process is killed.

Everything is first written beside its place under a hidden temporary name, flushed to the disk, and
then renamed, which the operating system does in one step. A reader therefore never needs to ask
whether a checkpoint is complete: if it has its name, it is.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["atomic_folder", "checkpoint_folder", "last_checkpoint", "prune", "write_json"]

_NUMBERED = re.compile(r"checkpoint-(\d+)")


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Gives a temporary folder to fill; it takes the place of ``path`` when the block ends well.

    Args:
        path: Where the folder shall be. A folder that is there already is replaced.

    Yields:
        The temporary folder. If the block raises, it is removed and ``path`` stays as it was. A
        kill between the two renames leaves the former folder aside, and the next call puts it back.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.writing"
    former = path.parent / f".{path.name}.former"
    _put_back(former, path)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                _flush(file)
        if path.exists():
            path.replace(former)  # to remove it in its place would leave a part of it at a kill
        temporary.replace(path)
        _flush(path.parent)
    finally:
        _put_back(former, path)
        shutil.rmtree(temporary, ignore_errors=True)


def _put_back(former: Path, path: Path) -> None:
    """Lets what was moved aside take its place again, or removes it, if that is taken."""
    if former.exists() and not path.exists():
        former.replace(path)
    shutil.rmtree(former, ignore_errors=True)


def write_json(path: Path, value: Any) -> None:
    """Writes ``value`` as JSON so that ``path`` holds either the old text or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.writing"
    temporary.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    _flush(temporary)
    temporary.replace(path)
    _flush(path.parent)


def checkpoint_folder(folder: Path, step: int) -> Path:
    """Returns the name of the checkpoint of ``step`` inside ``folder``."""
    return folder / f"checkpoint-{step}"


def last_checkpoint(folder: Path, complete_when: str | None = None) -> Path | None:
    """Finds the newest whole checkpoint.

    Args:
        folder: Where ``checkpoint-<step>`` folders are; it need not exist.
        complete_when: A JSON file that the writer puts into a checkpoint last, for writers that do
            not rename (``trainer_state.json`` of transformers' ``Trainer``). A checkpoint in which
            it is missing or cut off was being written when its process died, and is passed over.

    Returns:
        The folder with the highest step, or None if there is none.
    """
    if not folder.is_dir():
        return None
    numbered = [
        (int(match[1]), path)
        for path in folder.iterdir()
        if (match := _NUMBERED.fullmatch(path.name)) and path.is_dir()
    ]
    for _, path in sorted(numbered, reverse=True):
        if complete_when is None or _is_json(path / complete_when):
            return path
    return None


def prune(folder: Path, keep: int) -> None:
    """Removes all but the newest ``keep`` checkpoints of ``folder``."""
    numbered = sorted(
        (path for path in folder.iterdir() if _NUMBERED.fullmatch(path.name)),
        key=lambda path: int(path.name.rpartition("-")[2]),
    )
    for path in numbered[: max(0, len(numbered) - keep)]:
        shutil.rmtree(path)


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True
