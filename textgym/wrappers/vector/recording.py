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
        done, paid = to_host(actions), to_host(rewards)
        was_closed = np.array([row not in self._drafts for row in range(self.num_envs)])
        for row, draft in self._drafts.items():
            draft.note(done[row], float(paid[row]))
        ended = (to_host(terminated) | to_host(truncated)) & ~was_closed
        finished = []
        for row in np.flatnonzero(ended).tolist():
            tokens = self._recorder.layout.tokens(ended_observation(observation, infos, row))
            info = entry(ended_infos(infos), row)
            authored = ended_authored(self.env, row)
            draft = self._drafts.pop(row)
            finished.append(self._recorder.finish(draft, to_host(tokens), info, authored))
        if finished:
            self._recorder.write(finished)
        begun = begun_rows(self.env, was_closed, ended)
        self._begin(begun, infos, [None] * self.num_envs)
        return observation, rewards, terminated, truncated, infos

    def _begin(
        self, rows: Sequence[int], infos: Mapping[str, Any], seeds: Sequence[int | None]
    ) -> None:
        """Begins drafts in the rows that were reset."""
        inner: Any = self.env.unwrapped
        # Texts are decoded for them, so only a caller's own prompt, which has no number, is read.
        own = any(infos["example_id"][row] < 0 for row in rows)
        prompts = inner.texts()[0] if own else [""] * self.num_envs
        for row in rows:
            self._drafts[row] = self._recorder.begin(
                int(infos["example_id"][row]),
                int(infos["prompt_length"][row]),
                prompts[row],
                seeds[row],
            )
