"""Files and folders that are either whole or absent, whenever the process is killed.

Everything is first written beside its place under a hidden temporary name, flushed to the disk, and
then renamed, which the operating system does in one step. A reader therefore never needs to ask
whether a checkpoint is complete: if it has its name, it is. No two writers share a temporary name,
so that of two that write the same the later one wins, whole.

Simplification: where the file system knows no locks, ``exclusive_folder`` keeps out what filelock's
own substitute for them keeps out.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import secrets
import shutil
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = [
    "LOCK_FILE",
    "FolderInUseError",
    "atomic_file",
    "atomic_folder",
    "checkpoint_folder",
    "exclusive_folder",
    "files_of_folder",
    "finite",
    "last_checkpoint",
    "prune",
    "write_json",
]

_LAST = "config.json"

LOCK_FILE = ".lock"
"""What lies in a folder that a run has written into; it is empty."""

_NUMBERED = re.compile(r"checkpoint-(\d+)")
_TEMPORARY = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{16}\.(?P<kind>writing|former)")
_TAKEN = (errno.ENOTEMPTY, errno.EEXIST)  # another writer was faster


class FolderInUseError(OSError):
    """Another process writes into a folder; the message is one line that names it."""


@contextmanager
def exclusive_folder(path: Path) -> Iterator[None]:
    """Keeps a folder for this process while the block runs, and tidies what a kill left in it.

    The lock is the operating system's, so a process that dies, however, leaves none behind.

    Args:
        path: The folder; it is made if need be, and removed again if nothing came of it.

    Raises:
        FolderInUseError: If another process has it.
        OSError: If it cannot be made or written into.
    """
    from filelock import FileLock, Timeout

    is_new = not path.exists()
    path.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path / LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise FolderInUseError(
            f"{path} is being written by another run: wait until that has ended, or name another "
            "folder"
        ) from error
    try:
        _tidy(path)
        yield
    finally:
        if is_new and [inside.name for inside in path.iterdir()] == [LOCK_FILE]:
            shutil.rmtree(path, ignore_errors=True)
        lock.release()


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Gives a temporary path to write; it takes the place of ``path`` when the block ends well.

    Args:
        path: Where the file shall be. One that is there already is replaced.

    Yields:
        The temporary path. If the block raises, it is removed and ``path`` stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path, "writing")
    try:
        yield temporary
        _flush(temporary)
        temporary.replace(path)
        _flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


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
    _put_back(path)
    temporary = _beside(path, "writing")
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                _flush(file)
        _take_the_place(temporary, path)
        _flush(path.parent)
    finally:
        _put_back(path)
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def files_of_folder(path: Path) -> Iterator[Path]:
    """Gives a temporary folder to fill, whose files and folders then take their places in ``path``.

    Args:
        path: The folder, which is there already; what else it holds stays.

    Yields:
        The temporary folder. If the block raises, it is removed and ``path`` stays as it was. A
        kill while they take their places leaves each of them whole, and some as they were before;
        a ``config.json``, by which a model's folder is known, is the last.
    """
    staging = path / "staging"
    with atomic_folder(staging) as folder:
        yield folder
    for new in sorted(staging.iterdir(), key=lambda each: each.name == _LAST):
        place = path / new.name
        if new.is_dir() or place.is_dir():  # which no rename takes the place of
            _take_the_place(new, place)
            _put_back(place)
        else:
            new.replace(place)
    staging.rmdir()


def finite(value: Any) -> Any:
    """The same with ``None`` for numbers that JSON has no word for: what could not be measured."""
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: Path, value: Any) -> None:
    """Writes ``value`` as JSON so that ``path`` holds either the old text or the whole new one.

    Raises:
        ValueError: If a number in it is not finite; see ``finite``.
    """
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _take_the_place(temporary: Path, path: Path) -> None:
    """Renames a folder, however many others do the same at the same time."""
    while True:
        if path.exists():
            # To remove it in its place would leave a part of it at a kill.
            try:
                path.replace(_beside(path, "former"))
            except FileNotFoundError:  # another writer has just moved it
                continue
        try:
            temporary.replace(path)
        except OSError as error:
            if error.errno not in _TAKEN:
                raise
        else:
            return


def _put_back(path: Path) -> None:
    """Lets the last that was moved aside take its place again, or removes it, if that is taken."""
    for former in sorted(_temporaries(path.parent, "former", path.name), key=_age):
        if not path.exists():
            with suppress(OSError):  # another writer was faster
                former.replace(path)
        shutil.rmtree(former, ignore_errors=True)


def _tidy(folder: Path) -> None:
    """Puts back and removes what killed writers left anywhere below a folder that nobody writes."""
    for former in _temporaries(folder, "former", below=True):
        _put_back(former.with_name(_name_of(former)))
    for begun in _temporaries(folder, "writing", below=True):
        if begun.is_dir():
            shutil.rmtree(begun, ignore_errors=True)
        else:
            begun.unlink(missing_ok=True)


def _beside(path: Path, kind: str) -> Path:
    return path.parent / f".{path.name}.{secrets.token_hex(8)}.{kind}"


def _temporaries(
    folder: Path, kind: str, name: str | None = None, *, below: bool = False
) -> list[Path]:
    """Those of one kind in a folder, or anywhere below it; of one name, or of all."""
    found = []
    for path in (folder.rglob if below else folder.glob)(f".*.{kind}"):
        match = _TEMPORARY.fullmatch(path.name)
        if match and match["kind"] == kind and name in (None, match["name"]):
            found.append(path)
    return found


def _name_of(temporary: Path) -> str:
    match = _TEMPORARY.fullmatch(temporary.name)
    return temporary.name if match is None else match["name"]


def _age(path: Path) -> float:
    try:
        return -path.stat().st_mtime
    except FileNotFoundError:  # another writer was faster
        return 0.0


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
    """Removes all but the newest ``keep`` checkpoints of ``folder``, if that is there yet."""
    numbered = sorted(
        (path for path in folder.glob("*") if _NUMBERED.fullmatch(path.name)),
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
