"""Many texts at once: ``TextVectorEnv``, natively batched over ``textgym.dynamics.choose_edit``.

There is no Python loop over rows in ``step``, except over those that are finished or reset in it.

Departures from ``gymnasium.vector.SyncVectorEnv``:
    * Stepping a finished row with autoreset disabled does not fail: the row stays as it is, pays 0,
      and stays terminated (or truncated) until it is reset.
    * ``reset`` leaves the caller's ``options`` as they are.
    * With ``backend="torch"``, what a policy reads (observations, rewards, terminations,
      truncations, ``action_mask``, ``final_obs``) is on the device and ``final_obs`` is a whole
      batch, of which ``_final_obs`` says the valid rows; what a logger reads (``score``,
      ``stop_reason``, lengths, ids, and all masks ``_key``) is numpy on the host.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from textgym.dynamics.endings import is_finished
from textgym.dynamics.endings import truncated as is_truncated
from textgym.dynamics.in_place import Growth
from textgym.dynamics.states import Array, State, observe, replace_rows, take_rows
from textgym.envs.backends import Backend, make_backend
from textgym.envs.batch_moves import BatchMoves
from textgym.envs.batch_view import BatchView
from textgym.envs.building import build_world
from textgym.envs.draws import Draws
from textgym.envs.episodes import Episodes
from textgym.envs.resets import read_options, read_seeds
from textgym.envs.settings import RENDER_MODES, Settings
from textgym.envs.snapshots import Branching
from textgym.envs.starts import Starts
from textgym.envs.turnover import Turnover
from textgym.envs.view import WorldView
from textgym.messages import did_you_mean
from textgym.types import StopReason

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["TextVectorEnv"]


class TextVectorEnv(WorldView, BatchView, Branching, VectorEnv[Any, Any, Any]):
    """N texts at once; row i, seeded ``seed + i``, is bit for bit a ``TextEnv``.

    ``TextEnv`` describes spaces, rewards, endings and infos. All texts that are finished in a step
    are scored in one call of the reward. Nothing that is returned is ever written to again.
    """

    def __init__(
        self,
        *,
        num_envs: int = 1,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        max_episode_steps: int | None = None,
        backend: str = "numpy",
        device: Any = "cpu",
        **settings: Any,
    ) -> None:
        """Makes the environment; names are resolved and loaded at once.

        Args:
            num_envs: N, the number of rows.
            autoreset_mode: ``"NextStep"``, ``"SameStep"``, ``"Disabled"`` or the enum.
            max_episode_steps: Cut episodes after so many steps, as ``TimeLimit`` does: truncated,
                and no score is paid for a text that is not finished by itself.
            backend: ``"numpy"`` or ``"torch"``.
            device: Where torch keeps the state; a name, as in JSON, or a ``torch.device``.
            **settings: The arguments of ``textgym.envs.settings.Settings``; ``task`` is required.

        Raises:
            TypeError: If there is an unknown argument.
            ValueError: If a name or choice is unknown; the message lists the known ones.
            ModuleNotFoundError: If a package is missing; the message says how to get it.
        """
        for name, value in (("num_envs", num_envs), ("max_episode_steps", max_episode_steps)):
            whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
            if value is not None and (not whole or value < 1):
                raise ValueError(f"{name} must be a positive integer, got {value!r}")
        modes = [mode.value for mode in AutoresetMode]
        if autoreset_mode not in (*modes, *AutoresetMode):
            raise ValueError(
                f"unknown autoreset_mode {autoreset_mode!r}; known: {', '.join(modes)}"
                f"{did_you_mean(str(autoreset_mode).title(), modes)}"
            )
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.num_envs = num_envs
        self._backend: Backend = make_backend(backend, device)
        self._world = build_world(Settings.of(settings))
        self.render_mode = self._world.settings.render_mode
        self._rules = dataclasses.replace(
            self._world.rules,
            legal=self._backend.send(self._world.rules.legal),
            step_limit=max_episode_steps,
        )
        self._moves = BatchMoves(self._world, self._rules, self._backend)
        self.metadata = {
            "render_modes": list(RENDER_MODES),
            "render_fps": 4,
            "autoreset_mode": self.autoreset_mode,
            "torch": backend == "torch",
        }
        self.single_observation_space = self._world.observation_space()
        self.single_action_space = self._world.action_space()
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        chosen = self._world.settings
        self._growth = Growth(
            self._rules,
            in_place=backend == "numpy"
            and self.action_kind == "append"
            and self._moves.there.plain
            and chosen.obs_mode == "tokens"
            and chosen.render_mode != "human"
            and not (chosen.dense or chosen.shows_mask or self.converses),
        )
        self._previous: State | None = None
        self._ended: Array | None = None
        self._has_stepped = False
        self._draws = Draws(num_envs, len(self._world.examples))
        self._starts = Starts(self._world, self._moves.there, self._backend, self._draws)
        self._turnover = Turnover(
            mode=self.autoreset_mode,
            rules=self._rules,
            starts=self._starts,
            backend=self._backend,
            moves=self._moves,
        )
        self._episodes = Episodes.none_yet(num_envs)

    @property  # type: ignore[misc] # as SyncVectorEnv's: a tuple, and nothing sets it
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        """Each row's generator, by which its examples and drafts are drawn."""
        return self._draws.generators

    @property
    def _state(self) -> State | None:
        """All rows, where they are; ``None`` before the first reset."""
        return self._growth.state

    @_state.setter
    def _state(self, value: State | None) -> None:
        self._growth.state = value

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # type: ignore[override] # as SyncVectorEnv's
        """Each row's seed."""
        return self._draws.seeds

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Starts episodes, in all rows or in some.

        Args:
            seed: Row i is seeded ``seed + i``; or a seed, or ``None``, for each row.
            options: ``reset_mask``, ``(N,)`` bool, says which rows are reset (all without it);
                ``example_id``, an integer or ``(N,)`` integers, or ``prompt``, a text or N of them,
                say with what; ``group``, a divisor of N, makes so many rows that follow each other
                start alike, drawn by the first of them. The options are not changed.

        Returns:
            The whole batch's observation, and the infos of the rows that were reset.

        Raises:
            ValueError: If an option is unknown or does not fit.
            ResetNeeded: If the first reset leaves rows out.
        """
        wish = read_options(options, self.num_envs, self._world)
        if self._state is None and not wish.mask.all():
            raise ResetNeeded("the first reset must start every row; leave reset_mask out")
        rows, seeds = np.flatnonzero(wish.mask), read_seeds(seed, self.num_envs)
        infos: dict[str, Any] = {}
        given = {row: seeds[row] for row in rows.tolist()}
        with self._draws.seeded({row: one for row, one in given.items() if one is not None}):
            fresh = (
                self._starts.drawn(rows, wish.group)
                if wish.chosen is None
                else self._starts.chosen(rows, wish.chosen)
            )
        state = self._turnover.begin(self._state, rows, fresh, self._episodes, infos)
        self._state = state
        self._episodes.closed = self._episodes.closed & ~wish.mask
        self._turnover.show_mask(infos, state, wish.mask)
        self._print()
        return observe(state, self._world.settings.obs_mode), infos

    def step(self, actions: Any) -> tuple[Any, Array, Array, Array, dict[str, Any]]:
        """Takes one action in every row.

        A row that ended in the last step ignores its action: with ``NextStep`` it is reset now,
        with ``Disabled`` it stays as it is, pays 0 and stays terminated or truncated.

        Args:
            actions: ``(N,)`` integers, and ``(N, 2)`` for edits; numpy or torch.

        Returns:
            Observations; rewards ``(N,)``, float64 in numpy and float32 in torch; terminations and
            truncations ``(N,)`` bool; infos.

        Raises:
            ResetNeeded: If there is no episode yet.
            ValueError: If an open row's action is outside the space, or it is illegal and
                ``invalid_action="raise"``. No row has changed then.
            RewardError: If the reward fails. No row has changed then.
        """
        grown = self._growth.append(actions, self._episodes.closed)
        if grown is not None:
            self._previous, self._has_stepped = None, True
            return grown, np.zeros(self.num_envs), *np.zeros((2, self.num_envs), np.bool_), {}
        before = self._require_state()
        moved, host = self._move(before, actions)
        if self._is_uneventful(before, host):
            state, rewards, infos = moved, np.zeros(self.num_envs), dict[str, Any]()
            terminated, truncated = is_finished(moved), is_truncated(moved, self._rules)
        else:
            state, rewards, terminated, truncated, infos = self._turnover.end(
                moved, host, self._episodes
            )
        self._state, self._previous = state, before
        self._ended, self._has_stepped = moved.authored, True
        self._turnover.show_mask(infos, state)
        self._print()
        return (
            observe(state, self._world.settings.obs_mode),
            self._backend.send_rewards(rewards),
            terminated,
            truncated,
            infos,
        )

    def _move(self, before: State, actions: Any) -> tuple[State, State]:
        """Checks actions and takes them; returns the state after them, and the same in numpy."""
        alive = ~self._episodes.closed
        state, host = self._moves(before, actions, alive)
        return self._answer(state, host, alive) if self._rules.converses else (state, host)

    def _is_uneventful(self, before: State, host: State) -> bool:
        """Whether no text ends, starts or is paid for."""
        # Where nothing has ended, the array that says so is the old one, or a copy by a device.
        reasons = host.stop_reason
        return (
            (reasons is before.stop_reason or not reasons.any())
            and self._rules.step_limit is None
            and not self._world.settings.dense
            and not np.count_nonzero(self._episodes.closed)
        )

    def _answer(
        self, state: State, host: State, alive: npt.NDArray[np.bool_]
    ) -> tuple[State, State]:
        """Lets the other side reply where a turn has just ended."""
        rows = np.flatnonzero(alive & (host.stop_reason == int(StopReason.END_OF_TEXT)))
        if not rows.size:
            return state, host
        examples = self._episodes.examples[rows].tolist()
        answered = self._world.answer(take_rows(host, rows), examples)
        sent = self._backend.send_state(answered, grows=self.action_kind == "append")
        state = self._moves.there.propose(replace_rows(state, self._backend.send(rows), sent))
        return state, replace_rows(host, rows, answered)

    def _kinship(self) -> tuple[str, ...]:
        return (*super()._kinship(), type(self._backend).__name__, str(self.autoreset_mode))
