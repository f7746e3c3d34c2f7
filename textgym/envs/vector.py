"""Many texts at once: ``TextVectorEnv``, natively batched over ``textgym.dynamics``.

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
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from textgym.dynamics.append import Growth, legal_ids_of
from textgym.dynamics.states import (
    Array,
    State,
    is_finished,
    is_truncated,
    observe,
    read_only,
    take_rows,
)
from textgym.envs.backends import Backend, make_backend
from textgym.envs.batch_moves import BatchMoves
from textgym.envs.episodes import Episodes, Finished, Turnover
from textgym.envs.rows import RowAttributes
from textgym.envs.settings import RENDER_MODES, Settings, read_mode, read_size
from textgym.envs.snapshots import BatchSnapshot, read_sources, require_fit
from textgym.envs.starts import Draws, Starts, read_options, read_seeds
from textgym.envs.view import WorldView, rendered, spans_of
from textgym.envs.world import build_world

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from textgym.rendering.spans import Span

__all__ = ["TextVectorEnv"]


class TextVectorEnv(WorldView, VectorEnv[Any, Any, Any]):
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
        self.num_envs = num_envs = read_size("num_envs", num_envs)
        if max_episode_steps is not None:
            max_episode_steps = read_size("max_episode_steps", max_episode_steps)
        self.autoreset_mode = read_mode(autoreset_mode)
        self._backend: Backend = make_backend(backend, device)
        super().__init__(build_world(Settings.of(settings)))
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
        self._growth = Growth(self._rules, in_place=backend == "numpy" and self._world.just_grows)
        self._shows_mask = self._world.settings.shows_mask
        self._previous: State | None = None
        self._at_end: State | None = None
        self._has_stepped = False
        self._draws = Draws(num_envs, len(self._world.examples))
        self._of_rows = RowAttributes(self._draws)
        self._starts = Starts(self._world, self._moves.on_device, self._backend, self._draws)
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
        asked = read_options(options, self.num_envs, self._world)
        if self._state is None and not asked.mask.all():
            raise ResetNeeded("the first reset must start every row; leave reset_mask out")
        rows, seeds = np.flatnonzero(asked.mask), read_seeds(seed, self.num_envs)
        infos: dict[str, Any] = {}
        given = {row: seeds[row] for row in rows.tolist()}
        with self._draws.seeded({row: one for row, one in given.items() if one is not None}):
            fresh = (
                self._starts.drawn(rows, asked.group)
                if asked.chosen is None
                else self._starts.chosen(rows, asked.chosen)
            )
        state = self._turnover.begin(self._state, rows, fresh, self._episodes, infos)
        self._state = state
        self._episodes.closed = self._episodes.closed & ~asked.mask
        if self._shows_mask:
            self._turnover.show_mask(infos, state, asked.mask)
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
            self._previous, self._at_end, self._has_stepped = None, None, True
            named, flags = self._episodes.named(), np.zeros((2, self.num_envs), np.bool_)
            if self._shows_mask:
                self._turnover.show_mask(named, None, named["_example_id"])
            return grown, np.zeros(self.num_envs), *flags, named
        before = self._require_state()
        moved, host = self._move(before, actions)
        if self._is_uneventful(before, host):
            state, rewards, infos = moved, np.zeros(self.num_envs), self._episodes.named()
            terminated, truncated = is_finished(moved), is_truncated(moved, self._rules)
        else:
            state, rewards, terminated, truncated, infos = self._turnover.end(
                moved, host, self._episodes
            )
        self._state, self._previous = state, before
        self._at_end, self._has_stepped = moved, True
        if self._shows_mask:
            self._turnover.show_mask(infos, state)
        self._print()
        return (
            observe(state, self._world.settings.obs_mode),
            self._backend.send_rewards(rewards),
            terminated,
            truncated,
            infos,
        )

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

    def score_later(self, take: Callable[[Finished], None] | None) -> None:
        """Hands finished texts over, in the order of their rows, and pays 0; ``None`` ends it."""
        self._episodes.later = take

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
        return read_only(self._left().authored)

    def action_masks(self) -> Array:
        """Returns which actions are legal, ``(N, A)`` bool; at least one is.

        A is V, K or, for edits, ``T + V``: the places, then the ids.

        Raises:
            ResetNeeded: If there is no episode yet.
        """
        if self.mask_is_fixed and self._growth.has_begun:
            return legal_ids_of(self._rules, self.num_envs)
        return self._moves.legal(self._require_state())

    def pair_masks(self, *, at_end: bool = False) -> Array:
        """Returns which edits are legal, ``(N, T, V)`` bool: each place with each id, exactly.

        ``action_masks()`` speaks of places and ids by themselves, and some of them do not go
        together. This may be large: with a thousand ids, a megabyte for a thousand places.

        Args:
            at_end: Of the texts as the last step's actions left them, before it started any row
                anew.

        Raises:
            ResetNeeded: If there is no episode yet, or no step has been taken yet.
            ValueError: If no text is edited.
        """
        return self._moves.on_device.pairs(self._left() if at_end else self._require_state())

    def texts(self) -> tuple[list[str], list[str]]:
        """Returns the prompts and the completions so far, N each.

        Raises:
            ResetNeeded: If there is no episode yet.
        """
        prompts = [example.prompt for example in self._episodes.examples]
        return prompts, self._world.completions(self._moves.state_on_host(self._require_state()))

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Calls a method of every row, or reads an attribute, see ``textgym.envs.rows``."""
        return self._of_rows.call(self, name, *args, **kwargs)

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """Returns an attribute of every row."""
        return self.call(name)

    def set_attr(self, name: str, values: Any) -> None:
        """Sets an attribute of every row, see ``textgym.envs.rows``."""
        self._of_rows.set(self, name, values)

    def render(self) -> tuple[Any, ...] | None:
        """Returns each row as ``TextEnv.render`` does."""
        if self.render_mode in (None, "human"):
            return None
        return tuple(rendered(spans, str(self.render_mode)) for spans in self._spans())

    def save_state(self) -> BatchSnapshot:
        """Returns this moment of all episodes, generators included, for ``restore_state``.

        Raises:
            ResetNeeded: If there is no episode yet.
        """
        return BatchSnapshot(
            state=self._require_state(),
            previous=self._previous,
            episodes=self._episodes.take(np.arange(self.num_envs)),
            at_end=self._at_end,
            has_stepped=self._has_stepped,
            generators=self._draws.states(),
            seeds=self._draws.seeds,
            taken_from=self._kin(),
        )

    def restore_state(self, snapshot: BatchSnapshot) -> None:
        """Goes back to a moment that was saved, of this environment or of one like it.

        ``reward_seconds`` are not turned back.

        Raises:
            TypeError: If it is no snapshot of a batch.
            ValueError: If it is of another world or batch; the message says in what they differ.
        """
        require_fit(snapshot, BatchSnapshot, self._kin())
        self._state, self._previous = snapshot.state, snapshot.previous
        self._at_end, self._has_stepped = snapshot.at_end, snapshot.has_stepped
        seconds = self._episodes.reward_seconds
        self._episodes = snapshot.episodes.take(np.arange(self.num_envs))
        self._episodes.reward_seconds = seconds
        self._draws.go_to(snapshot.generators, snapshot.seeds)

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
        state, rows = self._require_state(), read_sources(sources, self.num_envs)
        sent = self._backend.send(rows)
        self._state = take_rows(state, sent)
        if self._previous is not None:
            self._previous = take_rows(self._previous, sent)
        if self._at_end is not None:
            self._at_end = take_rows(self._at_end, sent)
        self._episodes = self._episodes.take(rows)
        return observe(self._state, self._world.settings.obs_mode)

    @property
    def _state(self) -> State | None:
        """All rows, where they are; ``None`` before the first reset."""
        return self._growth.state

    @_state.setter
    def _state(self, value: State | None) -> None:
        self._growth.state = value

    def _move(self, before: State, actions: Any) -> tuple[State, State]:
        """Checks actions and takes them; returns the state after them, and the same in numpy."""
        open_rows = ~self._episodes.closed
        state, host = self._moves(before, actions, open_rows)
        if not self._rules.converses:
            return state, host
        return self._moves.answer(state, host, open_rows, self._episodes.examples)

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

    def _left(self) -> State:
        """All rows as the last step's actions left them, before it started any anew."""
        if not self._has_stepped:
            raise ResetNeeded("no step has been taken yet; call reset() and step() first")
        # Where all texts just grew, nothing has ended.
        return self._require_state() if self._at_end is None else self._at_end

    def _require_state(self) -> State:
        if self._state is None:
            raise ResetNeeded("there is no episode yet; call reset() first")
        return self._state

    def _kin(self) -> dict[str, str]:
        return super()._kin() | {
            "num_envs": str(self.num_envs),
            "backend": f"{type(self._backend).__name__} on {self.device}",
            "autoreset_mode": self.autoreset_mode.value,
            "max_episode_steps": str(self._rules.step_limit),
        }

    def _spans(self) -> list[list[Span]]:
        prompts = [example.prompt for example in self._episodes.examples]
        previous = None if self._previous is None else self._moves.state_on_host(self._previous)
        state = self._moves.state_on_host(self._require_state())
        return spans_of(self._world, prompts, previous, state, self._episodes.scores)

    def _print(self) -> None:
        if self.render_mode == "human":
            sys.stdout.write("".join(f"{rendered(spans, 'ansi')}\n" for spans in self._spans()))
