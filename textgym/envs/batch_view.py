"""What can be read of a vector environment, without changing it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from gymnasium.error import ResetNeeded

from textgym.dynamics.states import Array, State, read_only
from textgym.envs.view import draw

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import numpy.typing as npt

    from textgym.envs.backends import Backend
    from textgym.envs.batch_moves import BatchMoves
    from textgym.envs.episodes import Episodes
    from textgym.envs.world import World
    from textgym.rendering.spans import Span

__all__ = ["BatchView"]

_BY_ROW = frozenset({"action_masks", "authored", "np_random", "np_random_seed", "render"})
_SPACES = frozenset({"action_space", "observation_space"})


class BatchView:
    """Reads the states, texts and pictures of a ``TextVectorEnv``."""

    num_envs: int
    render_mode: str | None
    _backend: Backend
    _ended: Array | None
    _episodes: Episodes
    _has_stepped: bool
    _frames_of: Callable[..., list[list[Span]]]
    _moves: BatchMoves
    _previous: State | None
    _require_state: Callable[[], State]
    _world: World

    @property
    def device(self) -> Any:
        """Where the state lives: ``"cpu"``, or a ``torch.device``."""
        return self._backend.device

    @property
    def dynamics_state(self) -> State:
        """The state of all rows, to be read and not written; a step makes a new one.

        Numpy arrays refuse to be written; torch cannot refuse.

        Raises:
            ResetNeeded: If there is no episode yet.
        """
        return self._backend.freeze(self._require_state())

    @property
    def ended_rows(self) -> npt.NDArray[np.bool_]:
        """Which rows have ended and were not reset since, ``(N,)`` bool, on the host."""
        return self._episodes.closed.copy()

    @property
    def reward_seconds(self) -> float:
        """How long the reward has worked on texts of this environment so far, in seconds."""
        return self._episodes.reward_seconds

    @property
    def authored(self) -> Array | None:
        """1 where the agent wrote, ``(N, T)``, not to be written; ``None`` where nobody replies.

        Raises:
            ResetNeeded: If there is no episode yet.
        """
        return read_only(self._require_state().authored)

    @property
    def authored_at_end(self) -> Array | None:
        """``authored`` as the last step's actions left it, before it started any row anew.

        With autoreset in the same step, this is what ``final_obs`` goes with.

        Raises:
            ResetNeeded: If no step has been taken yet.
        """
        if not self._has_stepped:
            raise ResetNeeded("no step has been taken yet; call reset() and step() first")
        return read_only(self._ended)

    def action_masks(self) -> Array:
        """Returns which actions are legal, ``(N, A)`` bool; at least one is.

        A is V, K or, for edits, ``T + V``: the places, then the ids.

        Raises:
            ResetNeeded: If there is no episode yet.
        """
        return self._moves.legal(self._require_state())

    def texts(self) -> tuple[list[str], list[str]]:
        """Returns the prompts and the completions so far, N each.

        Raises:
            ResetNeeded: If there is no episode yet.
        """
        prompts = [example.prompt for example in self._episodes.examples]
        return prompts, self._world.completions(self._host(self._require_state()))

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Calls a method of this environment, or reads an attribute, and gives it to every row.

        What agent libraries expect of a batch of environments; what each row has of its own, such
        as ``action_masks``, ``text`` and ``np_random``, each gets, and spaces are a single row's.
        """
        if name == "text":
            return tuple(zip(*self.texts(), strict=True))
        value = getattr(self, f"single_{name}" if name in _SPACES else name)
        result = value(*args, **kwargs) if callable(value) else value
        by_row = name in _BY_ROW and result is not None
        return tuple(result) if by_row else (result,) * self.num_envs

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """Returns an attribute for every row."""
        return self.call(name)

    def render(self) -> tuple[Any, ...] | None:
        """Returns each row as ``TextEnv.render`` does."""
        if self.render_mode in (None, "human"):
            return None
        return tuple(draw(spans, str(self.render_mode)) for spans in self._frames())

    def _host(self, state: State) -> State:
        return self._moves.on_host(state)

    def _frames(self) -> list[list[Span]]:
        prompts = [example.prompt for example in self._episodes.examples]
        previous = None if self._previous is None else self._host(self._previous)
        state = self._host(self._require_state())
        return self._frames_of(prompts, previous, state, self._episodes.scores)

    def _print(self) -> None:
        if self.render_mode == "human":
            sys.stdout.write("".join(f"{draw(spans, 'ansi')}\n" for spans in self._frames()))
