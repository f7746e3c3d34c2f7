"""Episodes that end and begin in a batch: what is paid for, and which rows start anew when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode

from textgym.dynamics import choose_edit as dynamics
from textgym.dynamics.states import Array, Rules, State, observe, replace_rows
from textgym.envs.infos import rows_of

if TYPE_CHECKING:
    from textgym.envs.backends import Backend
    from textgym.envs.batch_moves import BatchMoves
    from textgym.envs.episodes import Episodes
    from textgym.envs.starts import Beginnings, Starts

__all__ = ["Turnover"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Turnover:
    """Ends and begins episodes in one of Gymnasium's three autoreset modes.

    Attributes:
        mode: The mode.
        rules: The rules.
        starts: Make what rows start with.
        backend: Where states are.
        moves: Say what is legal.
    """

    mode: AutoresetMode
    rules: Rules
    starts: Starts
    backend: Backend
    moves: BatchMoves

    def end(
        self, state: State, host: State, episodes: Episodes
    ) -> tuple[State, npt.NDArray[np.float64], Array, Array, dict[str, Any]]:
        """Pays for what an action has finished, and starts anew what is to start in this step.

        Args:
            state: All rows after the action, where they are.
            host: The same in numpy.
            episodes: What is known of them; it is brought up to date.

        Returns:
            The state with new episodes in it, rewards, terminations, truncations and infos.

        Raises:
            RewardError: If the reward fails. Nothing has changed then.
        """
        was_closed, world = episodes.closed, self.starts.world
        finished = now_closed = ~was_closed & dynamics.is_finished(host)
        if self.rules.step_limit is not None:
            now_closed = finished | (~was_closed & dynamics.truncated(host, self.rules))
        restarting = self._restarting(was_closed, now_closed)
        rewards, infos, payment = episodes.pay(world, host, finished)
        fresh = self.starts.drawn(restarting) if restarting.size else None
        # Nothing that can fail comes after this.
        episodes.book(payment, dense=world.settings.dense)
        if self.mode is AutoresetMode.NEXT_STEP and fresh is not None:
            state = self.begin(state, restarting, fresh, episodes, infos)
        terminated = dynamics.is_finished(state)
        truncated = dynamics.truncated(state, self.rules)
        if self.mode is AutoresetMode.SAME_STEP and fresh is not None:
            infos = self._final_infos(state, infos, now_closed)
            state = self.begin(state, restarting, fresh, episodes, infos)
            now_closed = np.zeros_like(now_closed)
        elif self.mode is AutoresetMode.DISABLED:
            now_closed = now_closed | was_closed
        episodes.closed = now_closed
        return state, rewards, terminated, truncated, infos

    def begin(
        self,
        state: State | None,
        rows: npt.NDArray[np.int64],
        fresh: Beginnings,
        episodes: Episodes,
        infos: dict[str, Any],
    ) -> State:
        """Puts what rows start with into the state, and notes it in ``episodes`` and ``infos``.

        Args:
            state: All rows; ``None`` before the first reset, which starts all of them.
            rows: The numbers of those that start, ``(n,)``, in order.
            fresh: What they start with.
            episodes: What is known of all rows.
            infos: This call's infos.
        """
        episodes.begin(rows, fresh, infos)
        if state is None or len(rows) == len(episodes.closed):
            return fresh.state
        return replace_rows(state, self.backend.send(rows), fresh.state)

    def show_mask(
        self, infos: dict[str, Any], state: State, present: npt.NDArray[np.bool_] | None = None
    ) -> None:
        """Adds the legal actions, if they are wanted, of the rows that are present, or of all."""
        if not self.starts.world.settings.shows_mask:
            return
        if present is None:
            present = np.ones(len(state.steps), dtype=np.bool_)
        shown = self.moves.legal(state) & self.backend.send(present)[:, None]
        infos["action_mask"], infos["_action_mask"] = self.backend.as_int8(shown), present.copy()

    def _restarting(
        self, was_closed: npt.NDArray[np.bool_], now_closed: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.int64]:
        """Returns the rows that start anew in this step."""
        if self.mode is AutoresetMode.DISABLED:
            return np.zeros(0, dtype=np.int64)
        return (now_closed if self.mode is AutoresetMode.SAME_STEP else was_closed).nonzero()[0]

    def _final_infos(
        self, state: State, infos: dict[str, Any], closed: npt.NDArray[np.bool_]
    ) -> dict[str, Any]:
        """Moves this step's infos into ``final_info`` beside ``final_obs``, as Gymnasium does."""
        self.show_mask(infos, state, closed)
        observation = observe(state, self.starts.world.settings.obs_mode)
        if isinstance(state.tokens, np.ndarray):
            observation = rows_of(observation, np.flatnonzero(closed), len(closed))
        return {
            "final_obs": observation,
            "_final_obs": closed.copy(),
            "final_info": infos,
            "_final_info": closed.copy(),
        }
