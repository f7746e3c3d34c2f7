"""Finished episodes as values, and as lines of a file that outlives a crash.

A file has one JSON object per line. Nothing that was written is ever changed; what a crash left
unfinished is the last line at most.
"""

from __future__ import annotations

import dataclasses
import json
import mmap
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "Action",
    "Trajectory",
    "TrajectoryFile",
    "Turn",
    "parse_trajectory",
    "read_trajectories",
]

Action: TypeAlias = "int | tuple[int, ...]"
"""An action of ``Discrete``, or one of ``MultiDiscrete``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What one side said in a conversation.

    Attributes:
        role: ``"assistant"`` for the agent, ``"user"`` for who replied, as chat formats have it.
        text: What was said.
        ids: Its very ids, a written end of text included.
    """

    role: str
    text: str
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trajectory:
    """One finished episode.

    Attributes:
        prompt: The example's prompt, whole.
        completion: What the agent wrote, as the reward read it: the turns of a conversation are
            joined by line breaks.
        prompt_ids: The prompt as the agent saw it, the beginning-of-text id included.
        completion_ids: The very ids that the agent wrote; they were not decoded and encoded again.
        actions: What was done, one for each step.
        rewards: What each step paid, as many as actions.
        score: The completion's score; ``None`` if the episode was cut.
        stop_reason: A ``StopReason``; ``None`` if the episode was cut.
        truncated: Whether an outside limit cut the episode.
        example_id: The number of the example in its split; -1 if the prompt is a caller's own.
        columns: The example's own fields, as far as JSON has them; its lists come from tuples too.
        seed: What the episode's ``reset`` was seeded with; ``None`` if it was not, so that it drew
            on where an earlier episode had left the generator.
        reward_terms: What the parts of the reward measured, by name, without their weights.
        turns: What stands behind the prompt of a conversation, the replies in their places; empty
            where nobody replies.
    """

    prompt: str
    completion: str
    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    actions: tuple[Action, ...]
    rewards: tuple[float, ...]
    score: float | None
    stop_reason: int | None
    truncated: bool
    example_id: int
    columns: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    reward_terms: Mapping[str, float] = field(default_factory=dict)
    turns: tuple[Turn, ...] = ()


_FIELDS = tuple(each.name for each in dataclasses.fields(Trajectory))


class TrajectoryFile:
    """A file that trajectories are appended to; several processes may append to the same one.

    Attributes:
        path: Where it is.
    """

    def __init__(self, path: str | Path) -> None:
        """Opens the file, makes its folder if need be, and mends what a crash left behind.

        An unfinished last line is dropped with a warning, for nothing may be appended to it.

        Args:
            path: Where it is, or will be.

        Raises:
            ValueError: If it holds something else, which is left as it is.
        """
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.touch()
        _mend(self.path)

    def append(self, trajectories: Sequence[Trajectory]) -> None:
        """Writes trajectories at the end; when it returns, the system has them."""
        lines = [json.dumps(_as_dict(each)) + "\n" for each in trajectories]
        # One unbuffered write: other writers come before it or after it.
        with self.path.open("ab", buffering=0) as file:
            file.write("".join(lines).encode("ascii"))


def _as_dict(trajectory: Trajectory) -> dict[str, Any]:
    """What ``dataclasses.asdict`` makes, without a copy of every number."""
    values = {name: getattr(trajectory, name) for name in _FIELDS}
    return values | {"turns": [dataclasses.asdict(turn) for turn in trajectory.turns]}


def read_trajectories(path: str | Path) -> list[Trajectory]:
    """Reads a file that ``RecordTrajectories`` wrote, in the order in which episodes finished.

    A last line that a crash left unfinished is dropped with a warning.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If any other line is no trajectory; the message says which.
    """
    *lines, tail = Path(path).read_bytes().split(b"\n")
    trajectories = [
        parse_trajectory(line, f"{path}, line {number}") for number, line in enumerate(lines, 1)
    ]
    if tail and not _is_whole(tail):
        _warn_of_tail(path, tail)
    elif tail:
        trajectories.append(parse_trajectory(tail, f"{path}, line {len(lines) + 1}"))
    return trajectories


def parse_trajectory(line: bytes, where: str) -> Trajectory:
    """Reads a line of a file of trajectories.

    Args:
        line: The line.
        where: Where it stands, for messages.

    Raises:
        ValueError: If it is no trajectory.
    """
    try:
        values = json.loads(line)
        for name in ("prompt_ids", "completion_ids", "rewards"):
            values[name] = tuple(values[name])
        values["actions"] = tuple(
            tuple(action) if isinstance(action, list) else action for action in values["actions"]
        )
        turns = values.pop("turns", ())
        values["turns"] = tuple(Turn(**{**turn, "ids": tuple(turn["ids"])}) for turn in turns)
        return Trajectory(**values)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"{where} is no trajectory of RecordTrajectories ({error}): {line[:80]!r}"
        ) from error


def _mend(path: Path) -> None:
    if not path.stat().st_size:
        return
    with path.open("r+b") as file:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            end = content.rfind(b"\n") + 1
            tail = content[end:]
            first = content[: content.find(b"\n")] if end else b""
        if end:
            parse_trajectory(first, f"{path}, line 1")
        elif not tail.startswith(b"{"):
            raise ValueError(f"{path} holds something else than trajectories: name another file")
        if tail and _is_whole(tail):
            file.seek(0, 2)
            file.write(b"\n")
        elif tail:
            _warn_of_tail(path, tail)
            file.truncate(end)


def _is_whole(line: bytes) -> bool:
    """Whether a line is JSON; an object that was cut short never is."""
    try:
        json.loads(line)
    except ValueError:
        return False
    except RecursionError:
        return True
    return True


def _warn_of_tail(path: str | Path, tail: bytes) -> None:
    warnings.warn(
        f"{path}: dropped an unfinished last line of {len(tail)} bytes, left by a crash",
        stacklevel=3,
    )
