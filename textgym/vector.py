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

import copy
import dataclasses
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from textgym import dynamics
from textgym.backends import Backend, make_backend
from textgym.infos import add_entries, add_terms, mark, rows_of
from textgym.resets import read_options, read_seeds
from textgym.settings import RENDER_MODES, Settings
from textgym.states import Array, State, map_fields, observe, replace_rows, take_rows
from textgym.types import Example
from textgym.view import WorldView, draw
from textgym.world import build_world

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from textgym.rendering import Span

__all__ = ["BatchSnapshot", "TextVectorEnv"]

_ARRAYS = ("_example_ids", "_scores", "_potentials", "_closed")
_BY_ROW = frozenset({"action_masks", "render"})


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSnapshot:
    """The episodes of a ``TextVectorEnv`` at one moment, to go back to; opaque, and picklable."""

    state: State
    examples: tuple[Example, ...]
    arrays: Mapping[str, npt.NDArray[Any]]
    before: tuple[str, ...]
    generators: tuple[Mapping[str, Any], ...]


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
            **settings: The arguments of ``textgym.settings.Settings``; ``task`` is required.

        Raises:
            TypeError: If there is an unknown argument.
            ValueError: If a name or choice is unknown; the message lists the known ones.
            ModuleNotFoundError: If a package is missing; the message says how to get it.
        """
        for name, value in (("num_envs", num_envs), ("max_episode_steps", max_episode_steps)):
            if value is not None and (not isinstance(value, int) or value < 1):
                raise ValueError(f"{name} must be a positive integer, got {value!r}")
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
        self._moves = self._world.moves(self._rules)
        # Whether an action is illegal is asked on the host, of what was there before it.
        self._host_moves = self._world.moves(self._world.rules)
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
        self._shows_mask = (
            self._world.settings.emit_mask or self._world.settings.constraints is not None
        )
        self._state: State | None = None
        self._generators = [seeding.np_random() for _ in range(num_envs)]
        self._examples = [Example(prompt="")] * num_envs
        self._example_ids = np.full(num_envs, -1)
        self._scores = np.full(num_envs, np.nan)
        self._potentials = np.zeros(num_envs)
        self._closed = np.ones(num_envs, dtype=np.bool_)
        self._before = [""] * num_envs
        self._keeps_before = self.render_mode is not None and self.action_kind == "edit"
        single = self.single_action_space
        self._sizes = (
            single.nvec if isinstance(single, spaces.MultiDiscrete) else np.int64(single.n)
        )

    @property  # type: ignore[misc] # as SyncVectorEnv's: a tuple, and nothing sets it
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        """Each row's generator, by which its examples and drafts are drawn."""
        return tuple(generator for generator, _ in self._generators)

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # type: ignore[override] # as SyncVectorEnv's
        """Each row's seed."""
        return tuple(seed for _, seed in self._generators)

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
        rows = np.flatnonzero(wish.mask)
        seeds = read_seeds(seed, self.num_envs)
        for row in rows.tolist():
            if seeds[row] is not None:
                self._generators[row] = seeding.np_random(seeds[row])
        chosen = None if wish.examples is None else [wish.examples[row] for row in rows]
        infos: dict[str, Any] = {}
        self._state = self._restart(self._state, rows, infos, chosen, wish.group)
        self._closed = self._closed & ~wish.mask
        self._add_mask(infos, self._state, mark(rows, self.num_envs))
        self._print()
        return observe(self._state, self._world.settings.obs_mode), infos

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
        was_closed, before = self._closed, self._require_state()
        sent = self._backend.actions(actions, self.action_space.shape or (self.num_envs,))
        state = self._moves(before, self._backend.clip(sent, self._sizes))
        host_actions, host = self._backend.fetch(sent, state)
        self._check_actions(before, host_actions, ~was_closed)
        finished = ~was_closed & dynamics.is_finished(host)
        rewards, infos = self._pay(host, finished, ~was_closed)
        now_closed = finished | (~was_closed & dynamics.truncated(host, self._rules))
        self._remember(before)

        if self.autoreset_mode is AutoresetMode.NEXT_STEP and was_closed.any():
            state = self._restart(state, np.flatnonzero(was_closed), infos)
        terminated = dynamics.is_finished(state)
        truncated = dynamics.truncated(state, self._rules)
        if self.autoreset_mode is AutoresetMode.SAME_STEP and now_closed.any():
            infos = self._final_infos(state, infos, now_closed)
            state = self._restart(state, np.flatnonzero(now_closed), infos)
            now_closed = np.zeros_like(now_closed)
        elif self.autoreset_mode is AutoresetMode.DISABLED:
            now_closed = now_closed | was_closed

        self._state, self._closed = state, now_closed
        if self._shows_mask:
            self._add_mask(infos, state, np.ones(self.num_envs, dtype=np.bool_))
        self._print()
        return (
            observe(state, self._world.settings.obs_mode),
            self._backend.send_rewards(rewards),
            terminated,
            truncated,
            infos,
        )

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
        prompts = [example.prompt for example in self._examples]
        return prompts, self._world.completions(self._host(self._require_state()))

    def save_state(self) -> BatchSnapshot:
        """Returns this moment of all episodes, generators included, for ``restore_state``.

        Raises:
            ResetNeeded: If there is no episode yet.
        """
        return BatchSnapshot(
            state=self._require_state(),
            examples=tuple(self._examples),
            arrays={name: getattr(self, name).copy() for name in _ARRAYS},
            before=tuple(self._before),
            generators=tuple(
                copy.deepcopy(generator.bit_generator.state) for generator in self.np_random
            ),
        )

    def restore_state(self, snapshot: BatchSnapshot) -> None:
        """Goes back to a moment that was saved, of this environment or of one like it.

        Raises:
            ValueError: If the snapshot has another number of rows.
        """
        if len(snapshot.examples) != self.num_envs:
            raise ValueError(
                f"the snapshot has {len(snapshot.examples)} rows, this environment {self.num_envs}"
            )
        self._state = snapshot.state
        self._examples, self._before = list(snapshot.examples), list(snapshot.before)
        for name in _ARRAYS:
            setattr(self, name, snapshot.arrays[name].copy())
        for generator, state in zip(self.np_random, snapshot.generators, strict=True):
            generator.bit_generator.state = copy.deepcopy(state)

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
        self._state = take_rows(state, self._backend.send(rows))
        self._examples = [self._examples[row] for row in rows]
        self._before = [self._before[row] for row in rows]
        for name in _ARRAYS:
            setattr(self, name, getattr(self, name)[rows])
        return observe(self._state, self._world.settings.obs_mode)

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Calls a method of this environment, or reads an attribute, and gives it to every row.

        What agent libraries expect of a batch of environments; ``action_masks`` and ``text`` give
        each row its own.
        """
        if name == "text":
            return tuple(zip(*self.texts(), strict=True))
        value = getattr(self, name)
        result = value(*args, **kwargs) if callable(value) else value
        return tuple(result) if name in _BY_ROW else (result,) * self.num_envs

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """Returns an attribute for every row."""
        return self.call(name)

    def render(self) -> tuple[Any, ...] | None:
        """Returns each row as ``TextEnv.render`` does."""
        if self.render_mode in (None, "human"):
            return None
        return tuple(draw(spans, str(self.render_mode)) for spans in self._frames())

    def _require_state(self) -> State:
        if self._state is None:
            raise ResetNeeded("there is no episode yet; call reset() first")
        return self._state

    def _restart(
        self,
        state: State | None,
        rows: npt.NDArray[np.int64],
        infos: dict[str, Any],
        chosen: Sequence[tuple[Example, int]] | None = None,
        group: int = 1,
    ) -> State:
        """Lays new prompts into the given rows and notes them in ``infos``."""
        leaders = rows[::group]
        generators = [self._generators[row][0] for row in leaders]
        if chosen is None:
            count = len(self._world.examples)
            ids = [int(generator.integers(count)) for generator in generators]
            chosen = [(self._world.examples[number], number) for number in ids]
        fresh = self._world.start([example for example, _ in chosen], generators)
        places = np.repeat(np.arange(len(leaders)), group)
        fresh = take_rows(fresh, places) if group > 1 else fresh
        for row, place in zip(rows.tolist(), places.tolist(), strict=True):
            self._examples[row], self._example_ids[row] = chosen[place]
        self._scores[rows], self._potentials[rows] = np.nan, 0.0
        if self._keeps_before:
            for row, draft in zip(rows.tolist(), self._world.completions(fresh), strict=True):
                self._before[row] = draft
        add_entries(
            infos,
            self.num_envs,
            rows,
            example_id=self._example_ids[rows],
            prompt_length=fresh.prompt_length,
        )
        sent = self._moves.begin(map_fields(self._backend.send, fresh))
        if state is None:
            return sent
        return replace_rows(state, self._backend.send(rows), sent)

    def _check_actions(
        self, before: State, actions: npt.NDArray[np.int64], alive: npt.NDArray[np.bool_]
    ) -> None:
        """Raises for an open row's action outside the space, or illegal where that raises."""
        outside = (actions < 0) | (actions >= self._sizes)
        if outside.any():
            outside = alive & outside.reshape(self.num_envs, -1).any(1)
            if outside.any():
                row = int(outside.argmax())
                last = " and ".join(f"0..{size - 1}" for size in np.atleast_1d(self._sizes))
                raise ValueError(f"row {row}: action {actions[row]} is not in {last}")
        if self._world.settings.invalid_action == "raise":
            safe = np.where(alive.reshape(-1, *[1] * (actions.ndim - 1)), actions, 0)
            illegal = alive & ~self._host_moves.permits(self._host(before), safe)
            if illegal.any():
                row = int(illegal.argmax())
                raise ValueError(
                    f"row {row}: action {actions[row]} is illegal; action_masks() says which are "
                    "legal"
                )

    def _pay(
        self, host: State, finished: npt.NDArray[np.bool_], alive: npt.NDArray[np.bool_]
    ) -> tuple[npt.NDArray[np.float64], dict[str, Any]]:
        """Scores the rows that need it in one batch; returns the rewards and the infos."""
        rewards = np.zeros(self.num_envs)
        infos: dict[str, Any] = {}
        rows = np.flatnonzero(alive if self._world.settings.dense else finished)
        if not rows.size:
            return rewards, infos
        completions = self._world.completions(take_rows(host, rows))
        scores, terms = self._world.score([self._examples[row] for row in rows], completions)
        rewards[rows] = scores - self._potentials[rows]
        if self._world.settings.dense:
            self._potentials[rows] = scores
        ended = finished[rows]
        rows, scores = rows[ended], scores[ended]
        if rows.size:
            self._scores[rows] = scores
            add_entries(
                infos,
                self.num_envs,
                rows,
                stop_reason=host.stop_reason[rows],
                score=scores,
                completion_length=host.length[rows] - host.prompt_length[rows],
            )
            add_terms(infos, self.num_envs, rows, {k: v[ended] for k, v in terms.items()})
        return rewards, infos

    def _final_infos(
        self, state: State, infos: dict[str, Any], closed: npt.NDArray[np.bool_]
    ) -> dict[str, Any]:
        """Moves this step's infos into ``final_info`` beside ``final_obs``, as Gymnasium does."""
        self._add_mask(infos, state, closed)
        observation = observe(state, self._world.settings.obs_mode)
        if not self.metadata["torch"]:
            observation = rows_of(observation, np.flatnonzero(closed), self.num_envs)
        return {
            "final_obs": observation,
            "_final_obs": closed.copy(),
            "final_info": infos,
            "_final_info": closed.copy(),
        }

    def _add_mask(
        self, infos: dict[str, Any], state: State, present: npt.NDArray[np.bool_]
    ) -> None:
        if self._shows_mask:
            shown = self._moves.legal(state) & self._backend.send(present)[:, None]
            infos["action_mask"], infos["_action_mask"] = self._backend.as_int8(shown), present

    def _host(self, state: State) -> State:
        # There are no actions to fetch; any other column takes their place.
        return self._backend.fetch(state.steps, state)[1]

    def _remember(self, before: State) -> None:
        """Keeps what the edit that is shown next found."""
        if self._keeps_before:
            self._before = self._world.completions(self._host(before))

    def _frames(self) -> list[list[Span]]:
        return [
            self._spans(prompt, before, after, None if np.isnan(score) else float(score))
            for prompt, before, after, score in zip(
                self.texts()[0], self._before, self.texts()[1], self._scores, strict=True
            )
        ]

    def _print(self) -> None:
        if self.render_mode == "human":
            sys.stdout.write("".join(f"{draw(spans, 'ansi')}\n" for spans in self._frames()))
