"""Moments of episodes to go back to, which episodes they fit, and which rows can be copied.

What search and grouped sampling need: a state is never written into, so keeping one is free.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from textgym.dynamics.states import Row, State
    from textgym.envs.episodes import Episodes
    from textgym.envs.world import World
    from textgym.types import Example

__all__ = ["BatchSnapshot", "Snapshot", "kinship", "read_sources", "require_kin"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """An episode of a ``TextEnv`` at one moment, to go back to; opaque, and picklable."""

    row: Row
    previous: Row | None
    example: Example
    example_id: int
    score: float | None
    potential: float
    generator: Mapping[str, Any]
    taken_from: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSnapshot:
    """The episodes of a ``TextVectorEnv`` at one moment, to go back to; opaque, and picklable."""

    state: State
    previous: State | None
    episodes: Episodes
    generators: tuple[Mapping[str, Any], ...]
    taken_from: tuple[str, ...]


def kinship(world: World, *more: str) -> tuple[str, ...]:
    """Returns what two environments must have in common for a snapshot to fit both.

    Args:
        world: What the environment is about.
        *more: What a batch is beside that.
    """
    size = f"{world.rules.prompt_tokens}+{world.rules.completion_tokens}"
    return (world.task.name, world.settings.action_kind, size, *more)


def require_kin(taken_from: tuple[str, ...], wanted: tuple[str, ...]) -> None:
    """Refuses a snapshot of an environment of another kind.

    Raises:
        ValueError: If it is; the message says what both are.
    """
    if taken_from != wanted:
        raise ValueError(
            f"the snapshot is of {' '.join(taken_from)}, this environment is {' '.join(wanted)}"
        )


def read_sources(sources: Any, count: int) -> npt.NDArray[np.int64]:
    """Checks which row each of ``count`` rows is to become a copy of.

    Raises:
        ValueError: If they are no such row numbers.
    """
    rows = np.asarray(sources)
    if rows.shape != (count,) or rows.dtype.kind not in "iu":
        raise ValueError(f"sources must be {count} integers, got {sources!r}")
    if ((rows < 0) | (rows >= count)).any():
        raise ValueError(f"sources must be rows 0 to {count - 1}, got {sources!r}")
    return rows.astype(np.int64)
