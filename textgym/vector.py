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
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from textgym import dynamics
from textgym.backends import Backend, make_backend
from textgym.dynamics import Array, State
from textgym.handles import release
from textgym.infos import add_entries, mark, rows_of
from textgym.rendering import render_ansi
from textgym.resets import read_example_ids, read_mask, read_seeds
from textgym.world import Settings, WorldView, build_world, check_actions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from textgym.handles import Handle
    from textgym.types import Task, Tokenizer

__all__ = ["TextVectorEnv"]


class TextVectorEnv(WorldView, VectorEnv[Any, Any, Any]):
    """N texts at once; row i, seeded ``seed + i``, is bit for bit a ``TextEnv``.

    ``TextEnv`` describes spaces, rewards, endings and infos. All texts that are finished in a step
    are scored in one call of the reward. Nothing that is returned is ever written to again.
    """

    def __init__(  # noqa: PLR0913 - Gymnasium hands over an environment's settings one by one
        self,
        *,
        task: str | Task | Handle,
        num_envs: int = 1,
        tokenizer: str | Path | Tokenizer | Handle | None = None,
        reward: Any = None,
        reward_kwargs: Mapping[str, Any] | None = None,
        split: str = "train",
        obs_mode: str = "tokens",
        prompt_tokens: int | None = None,
        completion_tokens: int | None = None,
        dense: bool = False,
        emit_mask: bool = False,
        invalid_action: str = "noop",
        render_mode: str | None = None,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        max_episode_steps: int | None = None,
        backend: str = "numpy",
        device: Any = "cpu",
    ) -> None:
        """Makes the environment; names are resolved and loaded at once.

        Args:
            task: As in ``TextEnv``, and so are the arguments up to ``render_mode``.
            num_envs: N, the number of rows.
            tokenizer: See ``TextEnv``.
            reward: See ``TextEnv``.
            reward_kwargs: See ``TextEnv``.
            split: See ``TextEnv``.
            obs_mode: See ``TextEnv``.
            prompt_tokens: See ``TextEnv``.
            completion_tokens: See ``TextEnv``.
            dense: See ``TextEnv``.
            emit_mask: See ``TextEnv``.
            invalid_action: See ``TextEnv``.
            render_mode: See ``TextEnv``.
            autoreset_mode: ``"NextStep"``, ``"SameStep"``, ``"Disabled"`` or the enum.
            max_episode_steps: Cut episodes after so many steps, as ``TimeLimit`` does: truncated,
                and no score is paid for a text that is not finished by itself.
            backend: ``"numpy"`` or ``"torch"``.
            device: Where torch keeps the state; a name, as in JSON, or a ``torch.device``.

        Raises:
            ValueError: If a name or choice is unknown; the message lists the known ones.
            ModuleNotFoundError: If a package is missing; the message says how to get it.
        """
        for name, value in (("num_envs", num_envs), ("max_episode_steps", max_episode_steps)):
            if value is not None and (not isinstance(value, int) or value < 1):
                raise ValueError(f"{name} must be a positive integer, got {value!r}")
        settings = Settings(
            task=release(task),
            tokenizer=release(tokenizer),
            reward=release(reward),
            reward_kwargs=release(reward_kwargs),
            split=split,
            obs_mode=obs_mode,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            dense=dense,
            emit_mask=emit_mask,
            invalid_action=invalid_action,
            render_mode=render_mode,
        )
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.num_envs = num_envs
        self.render_mode = render_mode
        self._backend: Backend = make_backend(backend, device)
        self._world = build_world(settings)
        self._rules = dataclasses.replace(
            self._world.rules,
            legal=self._backend.send(self._world.rules.legal),
            step_limit=max_episode_steps,
        )
        self.metadata = {
            "render_modes": ["human", "ansi"],
            "render_fps": 4,
            "autoreset_mode": self.autoreset_mode,
            "torch": backend == "torch",
        }
        self.single_observation_space = self._world.observation_space()
        self.single_action_space = self._world.action_space()
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._state: State | None = None
        self._generators = [seeding.np_random() for _ in range(num_envs)]
        self._example_ids = np.zeros(num_envs, dtype=np.int64)
        self._scores = np.full(num_envs, np.nan)
        self._potentials = np.zeros(num_envs)
        self._closed = np.ones(num_envs, dtype=np.bool_)

    @property  # type: ignore[misc] # as SyncVectorEnv's: a tuple, and nothing sets it
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        """Each row's generator, by which its examples are drawn."""
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
                ``example_id``, an integer or ``(N,)`` integers, says with which examples. It is
                not changed.

        Returns:
            The whole batch's observation, and the infos of the rows that were reset.

        Raises:
            ValueError: If an option is unknown or does not fit.
            ResetNeeded: If the first reset leaves rows out.
        """
        mask = read_mask(options, self.num_envs)
        if self._state is None and not mask.all():
            raise ResetNeeded("the first reset must start every row; leave reset_mask out")
        rows = np.flatnonzero(mask)
        chosen = read_example_ids(options, self.num_envs)
        example_ids = None if chosen is None else [self._world.example_id(chosen[r]) for r in rows]
        seeds = read_seeds(seed, self.num_envs)
        for row in rows.tolist():
            if seeds[row] is not None:
                self._generators[row] = seeding.np_random(seeds[row])
        infos: dict[str, Any] = {}
        self._state = self._restart(self._state, rows, infos, example_ids)
        self._closed = self._closed & ~mask
        self._add_mask(infos, self._state, mark(rows, self.num_envs))
        self._print()
        return dynamics.observe(self._state, self._world.settings.obs_mode), infos

    def step(self, actions: Any) -> tuple[Any, Array, Array, Array, dict[str, Any]]:
        """Appends one token to every row.

        A row that ended in the last step ignores its action: with ``NextStep`` it is reset now,
        with ``Disabled`` it stays as it is, pays 0 and stays terminated or truncated.

        Args:
            actions: The tokens' ids, ``(N,)`` integers, numpy or torch.

        Returns:
            Observations; rewards ``(N,)``, float64 in numpy and float32 in torch; terminations and
            truncations ``(N,)`` bool; infos.

        Raises:
            ResetNeeded: If there is no episode yet.
            ValueError: If an open row's action is outside the space, or it is illegal and
                ``invalid_action="raise"``. No row has changed then.
            RewardError: If the reward fails. No row has changed then.
        """
        was_closed = self._closed
        sent = self._backend.actions(actions, self.num_envs)
        state = dynamics.append(self._require_state(), sent, self._rules)
        host_actions, host = self._backend.fetch(sent, state)
        check_actions(self._world, host_actions, ~was_closed)
        finished = ~was_closed & dynamics.is_finished(host)
        rewards, infos = self._pay(host, finished, ~was_closed)
        now_closed = finished | (~was_closed & dynamics.truncated(host, self._rules))

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
        self._add_mask(infos, state, np.ones(self.num_envs, dtype=np.bool_))
        self._print()
        return (
            dynamics.observe(state, self._world.settings.obs_mode),
            self._backend.send_rewards(rewards),
            terminated,
            truncated,
            infos,
        )

    def action_masks(self) -> Array:
        """Returns which actions are legal, ``(N, V)`` bool; the end of text always is.

        Raises:
            ResetNeeded: If there is no episode yet.
        """
        return dynamics.legal_actions(self._require_state(), self._rules)

    def texts(self) -> tuple[list[str], list[str]]:
        """Returns the prompts and the completions so far, N each.

        Raises:
            ResetNeeded: If there is no episode yet.
        """
        state = self._require_state()
        # There are no actions to fetch; any other column takes their place.
        _, host = self._backend.fetch(state.steps, state)
        prompts = [self._world.examples[number].prompt for number in self._example_ids.tolist()]
        return prompts, self._world.completions(host)

    def render(self) -> tuple[str, ...] | None:
        """Returns each row's text with its score in mode ``"ansi"``, else ``None``."""
        return self._frames() if self.render_mode == "ansi" else None

    def _require_state(self) -> State:
        if self._state is None:
            raise ResetNeeded("there is no episode yet; call reset() first")
        return self._state

    def _restart(
        self,
        state: State | None,
        rows: npt.NDArray[np.int64],
        infos: dict[str, Any],
        example_ids: list[int] | None = None,
    ) -> State:
        """Lays new prompts into the given rows and notes them in ``infos``."""
        if example_ids is None:
            count = len(self._world.examples)
            example_ids = [int(self._generators[row][0].integers(count)) for row in rows]
        fresh = self._world.start(example_ids)
        self._example_ids[rows] = example_ids
        self._scores[rows], self._potentials[rows] = np.nan, 0.0
        add_entries(
            infos,
            self.num_envs,
            rows,
            example_id=self._example_ids[rows],
            prompt_length=fresh.prompt_length,
        )
        sent = State(
            **{
                field.name: self._backend.send(getattr(fresh, field.name))
                for field in dataclasses.fields(State)
            }
        )
        if state is None:
            return sent
        return dynamics.replace_rows(state, self._backend.send(rows), sent)

    def _pay(
        self, host: State, finished: npt.NDArray[np.bool_], alive: npt.NDArray[np.bool_]
    ) -> tuple[npt.NDArray[np.float64], dict[str, Any]]:
        """Scores the rows that need it in one batch; returns the rewards and the infos."""
        rewards = np.zeros(self.num_envs)
        infos: dict[str, Any] = {}
        rows = np.flatnonzero(alive if self._world.settings.dense else finished)
        if not rows.size:
            return rewards, infos
        completions = self._world.completions(dynamics.take_rows(host, rows))
        scores = self._world.score(self._example_ids[rows].tolist(), completions)
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
        return rewards, infos

    def _final_infos(
        self, state: State, infos: dict[str, Any], closed: npt.NDArray[np.bool_]
    ) -> dict[str, Any]:
        """Moves this step's infos into ``final_info`` beside ``final_obs``, as Gymnasium does."""
        self._add_mask(infos, state, closed)
        observation = dynamics.observe(state, self._world.settings.obs_mode)
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
        if self._world.settings.emit_mask:
            legal = dynamics.legal_actions(state, self._rules)
            shown = legal & self._backend.send(present)[:, None]
            infos["action_mask"], infos["_action_mask"] = self._backend.as_int8(shown), present

    def _frames(self) -> tuple[str, ...]:
        return tuple(
            render_ansi(prompt, completion, None if np.isnan(score) else float(score))
            for prompt, completion, score in zip(*self.texts(), self._scores, strict=True)
        )

    def _print(self) -> None:
        if self.render_mode == "human":
            sys.stdout.write("\n".join(self._frames()) + "\n")
