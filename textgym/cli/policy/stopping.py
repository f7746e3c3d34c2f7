"""How a training command stops before its end, and what it says is kept."""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from textgym.files import last_checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Stop", "kept", "require_room_for", "stoppable"]

# Ctrl-C, what clusters send before they kill, and what a terminal sends that is closed.
_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
_NAME = "checkpoints"


@dataclass(slots=True)
class Stop:
    """Whether somebody has asked to stop.

    Attributes:
        asked: That.
    """

    asked: bool = False


@contextmanager
def stoppable(*, alone: bool = True) -> Iterator[Stop]:
    """Inside, the first Ctrl-C is noted, and the second one raises ``KeyboardInterrupt``.

    So are SIGTERM and SIGHUP.

    Weights that are half-way through an update are no checkpoint, so who trains looks at the note
    between two iterations.

    Args:
        alone: Whether this process trains by itself; of several, one that goes on would wait for
            those that a signal has ended.
    """
    stop = Stop()
    # Python takes signals in the main thread alone.
    if not alone or threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def note(*_: Any) -> None:
        if stop.asked:
            raise KeyboardInterrupt
        stop.asked = True
        sys.stderr.write("\nstopping after this iteration; again, and it stops at once\n")

    # What is ignored, as by nohup, stays ignored.
    taken = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, note) for number in taken}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            # None is that of a library in C, which Python cannot put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def kept(out: Path) -> str:
    """What of a run is kept, and what the same command does next."""
    last = last_checkpoint(out / _NAME)
    if last is None:
        return "nothing is kept yet, and the same command begins anew"
    iteration = last.name.rpartition("-")[2]
    return f"iteration {iteration} is kept in {last}, and the same command goes on from there"


def require_room_for(out: Path) -> None:
    """Requires a folder that a run may write into, and nothing there that it would replace.

    Raises:
        ValueError: If there is a file, no permission, or a policy that is not of such a run.
    """
    there = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not there.is_dir():
        raise ValueError(f"--out {out}: {there} is a file; name a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(f"--out {out}: nothing can be written in {there}; name another folder")
    policy = out / "policy"
    ours = (out / "config.json").is_file() or last_checkpoint(out / _NAME) is not None
    if policy.is_dir() and any(policy.iterdir()) and not ours:
        raise ValueError(
            f"--out {out}: {policy} is there and of no run of this command, which would replace "
            "it; name another folder"
        )
