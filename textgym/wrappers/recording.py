"""Keeping what an agent wrote: one line of a file for every finished episode.

It has a twin for vector environments in ``textgym.wrappers.vector``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import RecordConstructorArgs

from textgym.wrappers.episodes import Draft, Recorder

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["RecordTrajectories"]


class RecordTrajectories(RecordConstructorArgs, gym.Wrapper[Any, Any, Any, Any]):
    """Appends every episode that ends to a file, as ``Trajectory`` says.

    ``read_trajectories`` reads it, and ``textgym.rescore`` scores it anew. A line is
    written in the step that ends its episode, so a crash loses no finished one. An episode that is
    left by ``reset`` is not recorded. Rewards are recorded as they are here: terms that are wrapped
    before are in them, those that are wrapped after are not. A time limit must be wrapped before.
    In a conversation, what the agent wrote and what was replied are kept apart, turn by turn.
    """

    def __init__(self, env: gym.Env[Any, Any], path: str | Path) -> None:
        """Wraps an environment.

        Args:
            env: A ``TextEnv`` whose observations hold tokens, however wrapped.
            path: The file. If it exists, it is continued.

        Raises:
            ValueError: If there are no tokens to be read.
        """
        RecordConstructorArgs.__init__(self, path=str(path))
        gym.Wrapper.__init__(self, env)
        self._recorder = Recorder(env, env.observation_space, path, type(self).__name__)
        self._draft: Draft | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Starts an episode; see ``TextEnv.reset``."""
        observation, info = self.env.reset(seed=seed, options=options)
        inner: Any = self.env.unwrapped
        self._draft = self._recorder.begin(
            info["example_id"], info["prompt_length"], inner.text()[0], seed
        )
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Makes a step, and writes the episode down if it was the last."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        if self._draft is not None:
            self._draft.note(np.asarray(action), float(reward))
            if terminated or truncated:
                tokens = self._recorder.layout.tokens(observation)
                inner: Any = self.env.unwrapped
                trajectory = self._recorder.finish(self._draft, tokens, info, inner.authored)
                self._recorder.write([trajectory])
                self._draft = None
        return observation, reward, terminated, truncated, info
