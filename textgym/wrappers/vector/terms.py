"""The reward terms of ``textgym.wrappers.terms``, for vector environments.

They pay each row what the single wrapper pays, in each autoreset mode, and take numpy arrays and
torch tensors, which stay on their device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from textgym.dynamics.states import on_device_of, to_host
from textgym.recording.turns import own_turns
from textgym.wrappers.layout import find_layout, require_text
from textgym.wrappers.terms import measure_length, measure_repetition
from textgym.wrappers.vector.batches import (
    Batch,
    ended_authored,
    ended_infos,
    ended_observation,
    marked,
    with_new_prompts,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt
    from gymnasium.vector import VectorEnv

__all__ = ["LengthTerm", "RepetitionTerm"]


class LengthTerm(Batch):
    """Adds ``weight`` times the completion's length to the reward of the last step.

    A positive weight rewards long completions and a negative one rewards short ones; with a target,
    a negative weight pulls towards it. See the single wrapper.
    """

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        weight: float,
        target: int | None = None,
        name: str = "length",
    ) -> None:
        """Wraps a vector environment.

        Args:
            env: A ``TextVectorEnv``, however wrapped.
            weight: See the single wrapper.
            target: See the single wrapper.
            name: See the single wrapper.

        Raises:
            ValueError: If it is no ``TextVectorEnv``.
        """
        super().__init__(env)
        require_text(env, type(self).__name__)
        self._weight, self._target, self._name = weight, target, name

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Makes a step, and pays in the rows where it was the last."""
        observation, rewards, terminated, truncated, infos = self.env.step(actions)
        ended = ended_infos(infos)
        measures = {
            row: float(measure_length(int(ended["completion_length"][row]), self._target))
            for row in marked(ended, "score")
        }
        rewards, infos = _pay(rewards, infos, self._name, self._weight, measures)
        return observation, rewards, terminated, truncated, infos


class RepetitionTerm(Batch):
    """Adds ``weight`` times the share of repeated n-grams to the reward of the last step.

    A negative weight punishes repetition. See the single wrapper.
    """

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        weight: float,
        n: int = 2,
        name: str = "repetition",
    ) -> None:
        """Wraps a vector environment.

        Args:
            env: A ``TextVectorEnv`` whose observations hold tokens, however wrapped.
            weight: See the single wrapper.
            n: See the single wrapper.
            name: See the single wrapper.

        Raises:
            ValueError: If there are no tokens to be read, or ``n`` is not positive.
        """
        super().__init__(env)
        if n < 1:
            raise ValueError(f"n must be positive, got {n}")
        self._layout = find_layout(env, env.single_observation_space, type(self).__name__)
        self._weight, self._n, self._name = weight, n, name
        self._prompt_lengths = np.zeros(self.num_envs, dtype=np.int64)

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Starts episodes; see ``TextVectorEnv.reset``."""
        observation, infos = self.env.reset(seed=seed, options=options)
        self._prompt_lengths = with_new_prompts(self._prompt_lengths, infos)
        return observation, infos

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Makes a step, and pays in the rows where it was the last."""
        observation, rewards, terminated, truncated, infos = self.env.step(actions)
        measures = {}
        for row in marked(ended_infos(infos), "score"):
            tokens = self._layout.tokens(ended_observation(observation, infos, row))
            authored = ended_authored(self.env, row)
            start = int(self._prompt_lengths[row])
            turns = self._layout.turns(to_host(tokens), start, authored)
            measures[row] = measure_repetition(own_turns(turns), self._n)
        self._prompt_lengths = with_new_prompts(self._prompt_lengths, infos)
        rewards, infos = _pay(rewards, infos, self._name, self._weight, measures)
        return observation, rewards, terminated, truncated, infos


def _pay(
    rewards: Any, infos: dict[str, Any], name: str, weight: float, measures: Mapping[int, float]
) -> tuple[Any, dict[str, Any]]:
    """Adds to some rows' rewards, and what was measured to their infos; returns new ones."""
    if not measures:
        return rewards, infos
    measured = np.zeros(len(rewards))
    measured[list(measures)] = list(measures.values())
    total = rewards + on_device_of(rewards, weight * measured)
    if not isinstance(rewards, np.ndarray):
        total = total.to(rewards.dtype)
    ended = ended_infos(infos)
    changed = {**ended, **_with_term(ended, name, measured)}
    return total, {**infos, "final_info": changed} if "final_info" in infos else changed


def _with_term(
    infos: Mapping[str, Any], name: str, measured: npt.NDArray[np.float64]
) -> dict[str, Any]:
    mask = infos["_score"]
    terms = infos.get("reward_terms", {"score": infos["score"], "_score": mask})
    if name in terms:
        raise ValueError(f"there is a reward term {name!r} already; give this one another name=")
    return {
        "reward_terms": {**terms, name: measured, f"_{name}": mask.copy()},
        "_reward_terms": mask.copy(),
    }
