"""Potential-based shaping for vector environments; see ``textgym.wrappers.shaping``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from textgym.dynamics.states import on_device_of, to_host
from textgym.types import Example
from textgym.wrappers.shaping import Potential
from textgym.wrappers.vector.batches import (
    Batch,
    begun_rows,
    ended_observation,
    marked,
    with_new_prompts,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt
    from gymnasium.vector import VectorEnv

__all__ = ["PotentialShaping"]


class PotentialShaping(Batch):
    """Pays each row in each step what it adds to a potential; see the single wrapper.

    The potential is asked about all open rows at once, on the host.
    """

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        potential: Any,
        gamma: float = 1.0,
        weight: float = 1.0,
    ) -> None:
        """Wraps a vector environment.

        Args:
            env: A ``TextVectorEnv`` whose observations hold tokens, however wrapped; no
                conversation.
            potential: See the single wrapper.
            gamma: See the single wrapper.
            weight: See the single wrapper.

        Raises:
            ValueError: If there are no tokens to be read, or an argument does not fit.
        """
        super().__init__(env)
        self._potential = Potential(
            env, env.single_observation_space, potential, gamma, type(self).__name__
        )
        self._gamma, self._weight = gamma, weight
        self._before = np.zeros(self.num_envs)
        self._closed = np.ones(self.num_envs, dtype=np.bool_)
        self._prompt_lengths = np.zeros(self.num_envs, dtype=np.int64)
        self._examples = [Example(prompt="")] * self.num_envs

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Starts episodes; see ``TextVectorEnv.reset``."""
        observation, infos = self.env.reset(seed=seed, options=options)
        begun = marked(infos, "example_id")
        texts = self._begin(begun, observation, infos)
        self._before[begun] = self._potential([self._examples[row] for row in begun], texts)
        return observation, infos

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Makes a step, and pays in the rows that it was one for."""
        observation, rewards, terminated, truncated, infos = self.env.step(actions)
        finished, cut = to_host(terminated), to_host(truncated)
        running = np.flatnonzero(~self._closed & ~finished)
        tokens = to_host(self._potential.layout.tokens(observation))[running]
        for number in np.flatnonzero(cut[running]).tolist():
            tokens[number] = self._cut_tokens(observation, infos, int(running[number]))
        texts = self._potential.completions(tokens, self._prompt_lengths[running])
        examples = [self._examples[row] for row in running.tolist()]
        was_closed, self._closed = self._closed, self._closed | finished | cut
        begun = begun_rows(self.env, was_closed, self._closed & ~was_closed)
        first = self._begin(begun, observation, infos)
        values = self._potential(
            [*examples, *(self._examples[row] for row in begun)], [*texts, *first]
        )
        after = np.zeros(self.num_envs)
        after[running] = values[: len(running)]
        gain = np.where(was_closed, 0.0, self._gamma * after - self._before)
        self._before = after
        self._before[begun] = values[len(running) :]
        return observation, self._add(rewards, gain), terminated, truncated, infos

    def _begin(
        self, begun: Sequence[int], observation: Any, infos: Mapping[str, Any]
    ) -> Sequence[str]:
        """Notes what rows that start an episode start with; returns their first completions."""
        self._prompt_lengths = with_new_prompts(self._prompt_lengths, infos)
        if not begun:
            return []
        for row in begun:
            self._examples[row] = self._potential.example(int(infos["example_id"][row]), row)
        self._closed = self._closed.copy()
        self._closed[begun] = False
        tokens = to_host(self._potential.layout.tokens(observation))[begun]
        return self._potential.completions(tokens, self._prompt_lengths[begun])

    def _cut_tokens(
        self, observation: Any, infos: Mapping[str, Any], row: int
    ) -> npt.NDArray[np.int64]:
        ended = self._potential.layout.tokens(ended_observation(observation, infos, row))
        return to_host(ended)

    def _add(self, rewards: Any, gain: npt.NDArray[np.float64]) -> Any:
        total = rewards + on_device_of(rewards, self._weight * gain)
        return total if isinstance(rewards, np.ndarray) else total.to(rewards.dtype)
