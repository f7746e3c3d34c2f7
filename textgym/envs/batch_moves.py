"""The moves of a batch, made where its states are, and what they come to on the host.

A device is waited for once a move: for its actions and the states after them, together. Where a
constraint follows the texts, which is done on the host, moves are made there as well, in numpy:
actions alone are waited for then, and the states that are sent back are not.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from textgym.dynamics.states import replace_rows, take_rows, to_host
from textgym.envs.backends import NumpyBackend, check_actions
from textgym.types import StopReason

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
        on_device: The moves where the states are.
    """

    def __init__(self, world: World, rules: Rules, backend: Backend) -> None:
        """Puts them together.

        Args:
            world: What the environment is about.
            rules: Its rules, with arrays where the states are.
            backend: Where they are.
        """
        self.on_device = world.moves(rules)
        self._world = world
        self._backend, self._raises = backend, world.settings.invalid_action == "raise"
        self._sizes = world.action_sizes()
        self._sent_sizes = backend.send(self._sizes)
        self._on_host: Moves | None = None
        if world.constraint is not None and not isinstance(backend, NumpyBackend):
            self._on_host = world.moves(dataclasses.replace(rules, legal=world.rules.legal))
        self._last: tuple[State, State] | None = None

    def __call__(
        self, before: State, actions: Any, open_rows: npt.NDArray[np.bool_]
    ) -> tuple[State, State]:
        """Makes one move in every row that is open.

        Args:
            before: All rows, where they are.
            actions: What a caller gave as actions.
            open_rows: Which rows are open, ``(N,)``; what the others are given is not looked at.

        Returns:
            The state after it, and the same in numpy.

        Raises:
            ValueError: If an open row's action is outside the space, or it is illegal and that is
                not allowed.
        """
        shape = (len(open_rows),) if len(self._sizes) == 1 else (len(open_rows), len(self._sizes))
        sent = self._backend.actions(actions, shape)
        if self._on_host is not None:
            return self._move_on_host(self._on_host, before, to_host(sent), open_rows)
        safe = self._backend.clip(sent, self._sent_sizes)
        state = self.on_device(before, safe) if open_rows.any() else before
        host_actions, host = self._backend.fetch(sent, state)
        if safe is not sent:
            check_actions(host_actions, open_rows, self._sizes)
        if self._raises:
            _require_legal(self.on_device, before, safe, open_rows)
        return state, host

    def _move_on_host(
        self,
        moves: Moves,
        before: State,
        actions: npt.NDArray[np.int64],
        open_rows: npt.NDArray[np.bool_],
    ) -> tuple[State, State]:
        check_actions(actions, open_rows, self._sizes)
        host_before, safe = self.state_on_host(before), np.where(open_rows, actions, 0)
        if self._raises:
            _require_legal(moves, host_before, safe, open_rows)
        host = moves(host_before, safe) if open_rows.any() else host_before
        state = self._backend.send_state(host, grows=False)
        self._last = state, host
        return state, host

    def answer(
        self,
        state: State,
        host: State,
        open_rows: npt.NDArray[np.bool_],
        examples: npt.NDArray[np.object_],
    ) -> tuple[State, State]:
        """Lets the other side reply where a turn has just ended.

        Args:
            state: All rows after a move, where they are.
            host: The same in numpy.
            open_rows: Which rows were open before it, ``(N,)``.
            examples: What each row started with, ``(N,)``.

        Returns:
            Both with the replies in them.
        """
        rows = np.flatnonzero(open_rows & (host.stop_reason == int(StopReason.END_OF_TEXT)))
        if not rows.size:
            return state, host
        answered = self._world.answer(take_rows(host, rows), examples[rows].tolist())
        grows = self._world.settings.action_kind == "append"
        sent = self._backend.send_state(answered, grows=grows)
        state = self.on_device.propose(replace_rows(state, self._backend.send(rows), sent))
        return state, replace_rows(host, rows, answered)

    def legal(self, state: State) -> Array:
        """Returns which actions are legal, ``(N, A)`` bool, where the states are."""
        if self._on_host is None:
            return self.on_device.legal(state)
        return self._backend.send(self._on_host.legal(self.state_on_host(state)))

    def state_on_host(self, state: State) -> State:
        """Returns a state in numpy; the last one is remembered."""
        if self._last is None or self._last[0] is not state:
            # There are no actions to fetch; any other column takes their place.
            self._last = state, self._backend.fetch(state.steps, state)[1]
        return self._last[1]


def _require_legal(
    moves: Moves, before: State, actions: Array, open_rows: npt.NDArray[np.bool_]
) -> None:
    """Raises for an open row's illegal action, asked of what was there before it."""
    illegal = open_rows & ~to_host(moves.permits(before, actions))
    if illegal.any():
        row = int(illegal.argmax())
        action = to_host(actions)[row]
        raise ValueError(
            f"row {row}: action {action} is illegal; action_masks() says which are legal"
        )
