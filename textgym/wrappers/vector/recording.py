"""Keeping what many rows wrote; see ``textgym.wrappers.recording``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from textgym.dynamics.states import to_host
from textgym.envs.starts import read_seeds
from textgym.wrappers.episodes import Draft, Recorder
from textgym.wrappers.vector.batches import (
    Batch,
    begun_rows,
    ended_authored,
    ended_infos,
    ended_observation,
    entry,
    marked,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt
    from gymnasium.vector import VectorEnv

__all__ = ["RecordTrajectories"]


class RecordTrajectories(Batch):
    """Appends every episode that ends, in whatever row, to a file; see the single wrapper.

    Episodes that end in one step are written together, before it returns. Rewards and actions are
    brought to the host in every step.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], path: str | Path) -> None:
        """Wraps a vector environment.

        Args:
            env: A ``TextVectorEnv`` whose observations hold tokens, however wrapped.
            path: The file. If it exists, it is continued.

        Raises:
            ValueError: If there are no tokens to be read.
        """
        super().__init__(env)
        self._recorder = Recorder(env, env.single_observation_space, path, type(self).__name__)
        self._drafts: dict[int, Draft] = {}
        self._open = np.zeros(self.num_envs, dtype=np.bool_)
        # Of each open row what was done and paid so far: as many as steps, at most the allowance.
        self._steps = np.zeros(self.num_envs, dtype=np.int64)
        inner: Any = env.unwrapped
        shape, action = (self.num_envs, inner.max_actions), env.single_action_space.shape
        self._done = np.zeros((*shape, *(action or ())), dtype=np.int64)
        self._paid = np.zeros(shape)

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Starts episodes; see ``TextVectorEnv.reset``."""
        observation, infos = self.env.reset(seed=seed, options=options)
        self._begin(marked(infos, "example_id"), infos, read_seeds(seed, self.num_envs))
        return observation, infos

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Makes a step, and writes down the episodes that it ended."""
        observation, rewards, terminated, truncated, infos = self.env.step(actions)
        was_closed = ~self._open
        self._note(np.asarray(to_host(actions)), to_host(rewards))
        ended = (to_host(terminated) | to_host(truncated)) & self._open
        finished = []
        for row in ended.nonzero()[0].tolist():
            tokens = self._recorder.layout.tokens(ended_observation(observation, infos, row))
            info = entry(ended_infos(infos), row)
            authored = ended_authored(self.env, row)
            finished.append(
                self._recorder.finish(self._draft(row), to_host(tokens), info, authored)
            )
        if finished:
            self._recorder.write(finished)
        self._open = self._open & ~ended
        begun = begun_rows(self.env, was_closed, ended)
        self._begin(begun, infos, [None] * self.num_envs)
        return observation, rewards, terminated, truncated, infos

    def _note(self, actions: npt.NDArray[np.int64], rewards: npt.NDArray[np.floating]) -> None:
        """Writes down a step of the open rows."""
        rows = self._open.nonzero()[0]
        at = rows, self._steps[rows]
        if self._steps.max(initial=0) == self._paid.shape[1]:
            # More than the allowance, of an episode that was turned back behind the wrapper's back.
            self._done = np.concatenate([self._done, self._done], axis=1)
            self._paid = np.concatenate([self._paid, self._paid], axis=1)
        self._done[at], self._paid[at] = actions[rows], rewards[rows]
        self._steps[rows] += 1

    def _draft(self, row: int) -> Draft:
        """Returns what a row has been recorded to do, all of it."""
        draft, steps = self._drafts[row], slice(int(self._steps[row]))
        done = self._done[row, steps].tolist()
        draft.actions.extend(done if self._done.ndim == 2 else map(tuple, done))  # noqa: PLR2004 - rows and steps
        draft.rewards.extend(self._paid[row, steps].tolist())
        return draft

    def _begin(
        self, rows: Sequence[int], infos: Mapping[str, Any], seeds: Sequence[int | None]
    ) -> None:
        """Begins drafts in the rows that were reset."""
        inner: Any = self.env.unwrapped
        # Texts are decoded for them, so only a caller's own prompt, which has no number, is read.
        own = any(infos["example_id"][row] < 0 for row in rows)
        prompts = inner.texts()[0] if own else [""] * self.num_envs
        self._open[rows], self._steps[rows] = True, 0
        for row in rows:
            self._drafts[row] = self._recorder.begin(
                int(infos["example_id"][row]),
                int(infos["prompt_length"][row]),
                prompts[row],
                seeds[row],
            )
