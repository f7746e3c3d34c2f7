"""Going back to a moment of many episodes, and copying episodes into each other's rows.

What search and grouped sampling need: a state is never written into, so keeping one is free.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.error import ResetNeeded

from textgym.dynamics.states import observe, take_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from textgym.dynamics.states import State
    from textgym.envs.backends import Backend
    from textgym.envs.draws import Draws
    from textgym.envs.episodes import Episodes
    from textgym.envs.row import Row
    from textgym.envs.world import World
    from textgym.types import Example

__all__ = ["BatchSnapshot", "Branching", "Snapshot", "require_kin"]


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


class Branching:
    """Snapshots and forks of a ``TextVectorEnv``."""

    num_envs: int
    _kinship: Callable[[], tuple[str, ...]]
    _world: World
    _backend: Backend
    _state: State | None
    _previous: State | None
    _episodes: Episodes
    _draws: Draws

    def _require_state(self) -> State:
        if self._state is None:
            raise ResetNeeded("there is no episode yet; call reset() first")
        return self._state

    def save_state(self) -> BatchSnapshot:
        """Returns this moment of all episodes, generators included, for ``restore_state``.

        Raises:
            ResetNeeded: If there is no episode yet.
        """
        return BatchSnapshot(
            state=self._require_state(),
            previous=self._previous,
            episodes=self._episodes.take(np.arange(self.num_envs)),
            generators=self._draws.states(),
            taken_from=self._kinship(),
        )

    def restore_state(self, snapshot: BatchSnapshot) -> None:
        """Goes back to a moment that was saved, of this environment or of one like it.

        Raises:
            ValueError: If the snapshot has another number of rows.
        """
        rows = len(snapshot.generators)
        if rows != self.num_envs:
            raise ValueError(f"the snapshot has {rows} rows, this environment {self.num_envs}")
        require_kin(snapshot.taken_from, self._kinship())
        self._state, self._previous = snapshot.state, snapshot.previous
        self._episodes = snapshot.episodes.take(np.arange(rows))
        self._draws.go_to(snapshot.generators)

    def fork(self, sources: Sequence[int] | npt.NDArray[np.int64]) -> Any:
        """Makes every row a copy of another row's episode, as it is now.

        Generators stay where they are, so that what rows draw from now on differs.

        Args:
            sources: Which row each row becomes a copy of, ``(N,)`` integers.

        Returns:
            The observation of all rows.

        Raises:
            ResetNeeded: If there is no episode yet.
            ValueError: If they are no N row numbers.
        """
        state, rows = self._require_state(), np.asarray(sources)
        if rows.shape != (self.num_envs,) or rows.dtype.kind not in "iu":
            raise ValueError(f"sources must be {self.num_envs} integers, got {sources!r}")
        if ((rows < 0) | (rows >= self.num_envs)).any():
            raise ValueError(f"sources must be rows 0 to {self.num_envs - 1}, got {sources!r}")
        sent = self._backend.send(rows.astype(np.int64))
        self._state = take_rows(state, sent)
        if self._previous is not None:
            self._previous = take_rows(self._previous, sent)
        self._episodes = self._episodes.take(rows)
        return observe(self._state, self._world.settings.obs_mode)


def require_kin(taken_from: tuple[str, ...], wanted: tuple[str, ...]) -> None:
    """Refuses a snapshot of an environment of another kind.

    Raises:
        ValueError: If it is; the message says what both are.
    """
    if taken_from != wanted:
        raise ValueError(
            f"the snapshot is of {' '.join(taken_from)}, this environment is {' '.join(wanted)}"
        )
