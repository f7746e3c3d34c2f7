"""The moves of a batch, made where its states are, and what they come to on the host.

A device is waited for once a move: for its actions and the states after them, together. Where a
constraint follows the texts, which is done on the host, moves are made there as well, in numpy:
actions alone are waited for then, and the states that are sent back are not.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from textgym.dynamics.states import to_host
from textgym.envs.backends import NumpyBackend, check_actions

if TYPE_CHECKING:
    import numpy.typing as npt

    from textgym.dynamics.moves import Moves
    from textgym.dynamics.states import Array, Rules, State
    from textgym.envs.backends import Backend
    from textgym.envs.world import World

__all__ = ["BatchMoves"]


class BatchMoves:
    """Checks actions and takes them.

    Attributes:
        there: The moves where the states are.
    """

    def __init__(self, world: World, rules: Rules, backend: Backend) -> None:
        """Puts them together.

        Args:
            world: What the environment is about.
            rules: Its rules, with arrays where the states are.
            backend: Where they are.
        """
        self.there = world.moves(rules)
        self._backend, self._raises = backend, world.settings.invalid_action == "raise"
        self._sizes = world.action_sizes()
        self._sent_sizes = backend.send(self._sizes)
        self._here: Moves | None = None
        if world.constraint is not None and not isinstance(backend, NumpyBackend):
            self._here = world.moves(dataclasses.replace(rules, legal=world.rules.legal))
        self._known: tuple[State, State] | None = None

    def __call__(
        self, before: State, actions: Any, alive: npt.NDArray[np.bool_]
    ) -> tuple[State, State]:
        """Makes one move in every row that is open.

        Args:
            before: All rows, where they are.
            actions: What a caller gave as actions.
            alive: Which rows are open, ``(N,)``; what the others are given is not looked at.

        Returns:
            The state after it, and the same in numpy.

        Raises:
            ValueError: If an open row's action is outside the space, or it is illegal and that is
                not allowed.
        """
        shape = (len(alive),) if len(self._sizes) == 1 else (len(alive), len(self._sizes))
        sent = self._backend.actions(actions, shape)
        if self._here is not None:
            return self._move_here(self._here, before, to_host(sent), alive)
        safe = self._backend.clip(sent, self._sent_sizes)
        state = self.there(before, safe) if alive.any() else before
        host_actions, host = self._backend.fetch(sent, state)
        if safe is not sent:
            check_actions(host_actions, alive, self._sizes)
        if self._raises:
            _require_legal(self.there, before, safe, alive)
        return state, host

    def _move_here(
        self,
        moves: Moves,
        before: State,
        actions: npt.NDArray[np.int64],
        alive: npt.NDArray[np.bool_],
    ) -> tuple[State, State]:
        check_actions(actions, alive, self._sizes)
        known, safe = self.on_host(before), np.where(alive, actions, 0)
        if self._raises:
            _require_legal(moves, known, safe, alive)
        host = moves(known, safe) if alive.any() else known
        state = self._backend.send_state(host, grows=False)
        self._known = state, host
        return state, host

    def legal(self, state: State) -> Array:
        """Returns which actions are legal, ``(N, A)`` bool, where the states are."""
        if self._here is None:
            return self.there.legal(state)
        return self._backend.send(self._here.legal(self.on_host(state)))

    def on_host(self, state: State) -> State:
        """Returns a state in numpy; the last one is remembered."""
        if self._known is None or self._known[0] is not state:
            # There are no actions to fetch; any other column takes their place.
            self._known = state, self._backend.fetch(state.steps, state)[1]
        return self._known[1]


def _require_legal(
    moves: Moves, before: State, actions: Array, alive: npt.NDArray[np.bool_]
) -> None:
    """Raises for an open row's illegal action, asked of what was there before it."""
    illegal = alive & ~to_host(moves.permits(before, actions))
    if illegal.any():
        row = int(illegal.argmax())
        action = to_host(actions)[row]
        raise ValueError(
            f"row {row}: action {action} is illegal; action_masks() says which are legal"
        )
