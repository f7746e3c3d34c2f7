"""Paying on the way without changing what is best: potential-based reward shaping.

A potential is a score of unfinished texts. Each step pays, beside its reward, what it adds to the
potential, ``gamma * potential(after) - potential(before)``, where a finished text has potential 0.
Summed up with the discount ``gamma`` an episode then pays ``potential(beginning)`` less, whatever
was written, so the same policies are optimal as before. Without the 0 at the end the potential of
the last text would be paid on top, and be optimised.

An environment's own ``dense=True`` is the case where the potential is the score itself and
``gamma`` is 1, but for the beginning, whose potential it takes for 0: it pays the score in parts,
while shaping pays something of another kind on the way and takes it back in the end.

Source: Ng, Harada and Russell, "Policy Invariance under Reward Transformations", 1999; for the 0 at
the end, Grzes, "Reward Shaping in Episodic Reinforcement Learning", 2017.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import RecordConstructorArgs

from textgym.rewards import resolve
from textgym.tokenizers import decode_rows
from textgym.wrappers.layout import find_layout, require_one_completion

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from textgym.types import Example

__all__ = ["Potential", "PotentialShaping"]


class Potential:
    """A reward that is asked about unfinished texts, as observations show them."""

    def __init__(
        self, env: Any, space: gym.Space[Any], reward: Any, gamma: float, wrapper: str
    ) -> None:
        """Finds out how to read an environment's texts.

        Args:
            env: A single or a vector environment.
            space: The space of one observation.
            reward: What ``textgym.rewards.resolve`` takes.
            gamma: The discount, to be checked.
            wrapper: Who asks, for messages.

        Raises:
            ValueError: If the observations hold no tokens or it is a conversation, the reward is
                unknown or reads token ids, or ``gamma`` is no discount.
        """
        if not 0 <= gamma <= 1:
            raise ValueError(f"gamma must be in [0, 1], got {gamma}")
        self.layout = find_layout(env, space, wrapper)
        require_one_completion(env, wrapper)
        self._reward = resolve(reward)
        if self._reward.reads_ids:
            raise ValueError(f"{self._reward.name!r} reads completion_ids and can be no potential")
        self._world = env.unwrapped

    def example(self, number: int, row: int | None = None) -> Example:
        """Finds what an episode has just started with; a caller's own prompt is read whole.

        Args:
            number: The example's in the split; -1 for a caller's own prompt.
            row: Of a batch.
        """
        if number >= 0:
            return self._world.examples[number]  # type: ignore[no-any-return] # a WorldView's
        # The environment's reward reads it whole, also where the observation has its end alone.
        prompt = self._world.text()[0] if row is None else self._world.texts()[0][row]
        return self._world.example_of(prompt)  # type: ignore[no-any-return] # a WorldView's

    def completions(
        self, tokens: npt.NDArray[np.int64], prompt_lengths: npt.NDArray[np.int64]
    ) -> list[str]:
        """Reads what stands behind the prompts of texts.

        Args:
            tokens: ``(n, T)``, on the host.
            prompt_lengths: ``(n,)``.
        """
        return decode_rows(self._world.tokenizer, tokens, prompt_lengths)

    def __call__(self, examples: Sequence[Example], completions: Sequence[str]) -> list[float]:
        """Scores unfinished texts in one call.

        Raises:
            RewardError: If the reward fails.
        """
        if not examples:
            return []
        columns = {key: [e.columns[key] for e in examples] for key in examples[0].columns}
        return self._reward([e.prompt for e in examples], completions, **columns)


class PotentialShaping(RecordConstructorArgs, gym.Wrapper[Any, Any, Any, Any]):
    """Pays each step what it adds to a potential; the best policies stay the best.

    ``info["score"]`` is the environment's own score still, and the potential is asked once a step.
    An episode that an outside limit cuts keeps its potential, as its value goes on. What changes
    an episode behind the wrapper's back, as ``restore_state`` does, is not seen.
    """

    def __init__(
        self, env: gym.Env[Any, Any], potential: Any, gamma: float = 1.0, weight: float = 1.0
    ) -> None:
        """Wraps an environment.

        Args:
            env: A ``TextEnv`` whose observations hold tokens, however wrapped; no conversation.
            potential: What scores unfinished texts: anything that names a reward.
            gamma: The discount that the agent learns with. With another one, the promise that the
                same policies are optimal does not hold.
            weight: What the potential is multiplied by.

        Raises:
            ValueError: If there are no tokens to be read, or an argument does not fit.
        """
        # The potential may be a model, which is not to be copied.
        RecordConstructorArgs.__init__(
            self, potential=potential, gamma=gamma, weight=weight, _disable_deepcopy=True
        )
        gym.Wrapper.__init__(self, env)
        self._potential = Potential(
            env, env.observation_space, potential, gamma, type(self).__name__
        )
        self._gamma, self._weight = gamma, weight
        self._before, self._prompt_length = math.nan, 0
        self._example: Example

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Starts an episode; see ``TextEnv.reset``."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._prompt_length = info["prompt_length"]
        self._example = self._potential.example(info["example_id"])
        self._before = self._of(observation)
        return observation, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Makes a step, and pays what it adds to the potential."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        after = 0.0 if terminated else self._of(observation)
        paid = float(reward) + self._weight * (self._gamma * after - self._before)
        self._before = after
        return observation, paid, terminated, truncated, info

    def _of(self, observation: Any) -> float:
        tokens = np.asarray(self._potential.layout.tokens(observation))[None]
        completions = self._potential.completions(tokens, np.array([self._prompt_length]))
        return self._potential([self._example], completions)[0]
