"""The ends of a command's process: who reads what it prints, and who asks it to stop.

A reader may go while costly work goes on: a pipe is closed, a terminal is lost. What a command has
to say is then dropped, and what it makes is kept. A command that does nothing but print ends, since
nobody reads it. A character that the terminal's encoding has not is spelled with a backslash.
Where nothing can be written is found before the work.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from textgym.cli.parsing import CommandError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import TextIO

__all__ = [
    "ReaderGoneError",
    "disk_trouble",
    "lasting_streams",
    "require_place",
    "stopped_by_signals",
]

_GONE = (errno.EPIPE, errno.EIO, errno.ESHUTDOWN)
_ENDS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)
)  # a cluster's, and that of a terminal that is closed
# What libraries say that do not raise an OSError over a disk.
_DISK = ("no space left on device", "disk is full", "disk quota", "pytorchstreamwriter failed")


class ReaderGoneError(Exception):
    """Nobody reads what is printed any more."""


class _LastingStream:
    """A text stream that outlives whoever reads it, and the disk that it is written to.

    Attributes:
        goes_on: Whether what cannot be written is dropped without a word.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._is_lost = stream, False
        self.goes_on = False

    def write(self, text: str) -> int:
        """Writes, or drops what nobody reads.

        Raises:
            ReaderGoneError: The first time that there is no reader, unless work goes on.
            OSError: Likewise, if a disk is full.
        """
        self._unless_lost(self._stream.write, text)
        return len(text)

    def flush(self) -> None:
        """As the stream's own.

        Raises:
            ReaderGoneError: As of ``write``.
        """
        self._unless_lost(self._stream.flush)

    def __getattr__(self, name: str) -> Any:
        """Is the stream in all else."""
        return getattr(self._stream, name)

    def _unless_lost(self, action: Any, *given: str) -> None:
        if self._is_lost:
            return
        try:
            action(*given)
        except OSError as error:
            self._is_lost = True
            with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - it is no path of ours
                # What is left in a buffer would fail again as the interpreter ends.
                os.dup2(nowhere.fileno(), self._stream.fileno())
            if self.goes_on:
                return
            if error.errno in _GONE:
                raise ReaderGoneError from error
            raise


@contextmanager
def lasting_streams() -> Iterator[list[_LastingStream]]:
    """Lets standard output and error outlive their readers while the block runs.

    Yields:
        The two; with ``goes_on`` of the first, a reader that goes ends no work.
    """
    before = sys.stdout, sys.stderr
    for stream in before:
        if getattr(stream, "errors", "") == "strict" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    lasting = [_LastingStream(stream) for stream in before]
    lasting[1].goes_on = True
    new: list[Any] = lasting
    sys.stdout, sys.stderr = new
    try:
        yield lasting
    finally:
        sys.stdout, sys.stderr = before


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Inside, a cluster's SIGTERM and a closed terminal's SIGHUP stop as Ctrl-C does.

    What is ignored, as by ``nohup``, stays ignored. Processes that were forked end as they would.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    process = os.getpid()

    def stop(number: int, _frame: Any) -> None:
        if os.getpid() == process:
            raise KeyboardInterrupt
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    taken = [number for number in _ENDS if signal.getsignal(number) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def require_place(out: Path, *, is_file: bool = False) -> None:
    """Requires that a folder, or a file, can be made or written into.

    Raises:
        CommandError: If the other is there, or there is no permission.
    """
    kind = "file" if is_file else "folder"
    if is_file and out.is_dir():
        raise CommandError(f"--out {out}: {out} is a folder; name a file")
    if is_file and out.exists():
        there = out
    else:
        there = next(path for path in (out, *out.absolute().parents) if path.exists())
        if not there.is_dir():
            raise CommandError(
                f"--out {out}: {there} is a file; name {'another' if is_file else 'a folder'}"
            )
    if not os.access(there, os.W_OK if there == out and is_file else os.W_OK | os.X_OK):
        raise CommandError(f"--out {out}: nothing can be written in {there}; name another {kind}")


def disk_trouble(error: BaseException) -> str:
    """What a disk refused, in one line, wherever it is in a chain of errors; empty if nothing."""
    chain, now = list[BaseException](), error
    while now not in chain:
        chain.append(now)
        if any(words in str(now).lower() for words in _DISK):
            return " ".join(str(now).split())[:300]
        now = now.__cause__ or now.__context__ or now
    return ""
