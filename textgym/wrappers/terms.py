"""Reward terms that are paid once, when a text is finished: its length, and its repetition.

What a term adds is ``weight`` times what it measures, so a positive weight rewards and a negative
weight punishes what is measured. What is reported is the measure itself, without its weight, as the
environment reports the parts of its own reward. An episode that an outside limit cuts is not
finished: it is paid no score and no term.

Each has a twin for vector environments in ``textgym.wrappers.vector``.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, cast

import gymnasium as gym
from gymnasium.utils import RecordConstructorArgs

from textgym.recording.turns import own_turns
from textgym.wrappers.layout import find_layout, require_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["LengthTerm", "RepetitionTerm", "measure_length", "measure_repetition"]


def measure_length(length: int, target: int | None) -> int:
    """Returns a length, or how far it is from a target, in tokens."""
    return length if target is None else abs(length - target)


def measure_repetition(turns: Sequence[Sequence[int]], n: int) -> float:
    """Returns which share of the runs of n ids occurred before, between 0 and 1.

    Args:
        turns: The ids of a text, or of each turn of one side in a conversation. A run is within one
            turn, and may have occurred in another.
        n: How long a run is. A text that is shorter repeats nothing.
    """
    runs = Counter(
        tuple(ids[start : start + n]) for ids in turns for start in range(len(ids) - n + 1)
    )
    return 1 - len(runs) / runs.total() if runs else 0.0


class LengthTerm(RecordConstructorArgs, gym.Wrapper[Any, Any, Any, Any]):
    """Adds ``weight`` times the completion's length to the reward of the last step.

    The length is ``info["completion_length"]``: in tokens, the end of text included. Without a
    target, a **positive weight rewards long** completions and a **negative weight rewards short**
    ones. With a target, what counts is the distance to it, either way: a **negative weight pulls
    towards the target**, and a positive one pushes away from it.

    The length, or the distance, is in ``info["reward_terms"]`` under the term's name, beside the
    terms that are there already; if there are none, beside the environment's own ``"score"``.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        weight: float,
        target: int | None = None,
        name: str = "length",
    ) -> None:
        """Wraps an environment.

        Args:
            env: A ``TextEnv``, however wrapped.
            weight: What a token is worth.
            target: The length from which the distance is measured; ``None`` to count tokens.
            name: What the term is called in ``info["reward_terms"]``.

        Raises:
            ValueError: If it is no ``TextEnv``.
        """
        RecordConstructorArgs.__init__(self, weight=weight, target=target, name=name)
        gym.Wrapper.__init__(self, env)
        require_text(env, type(self).__name__)
        self._weight, self._target, self._name = weight, target, name

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Makes a step, and pays if it was the last."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        paid = float(reward)
        if terminated:
            measure = float(measure_length(info["completion_length"], self._target))
            paid, info = paid + self._weight * measure, _with_term(info, self._name, measure)
        return observation, paid, terminated, truncated, info


class RepetitionTerm(RecordConstructorArgs, gym.Wrapper[Any, Any, Any, Any]):
    """Adds ``weight`` times the share of repeated n-grams to the reward of the last step.

    The share is between 0, where no run of n token ids of the completion occurs twice, and almost
    1, where there is nothing but one. A **negative weight punishes repetition**; a positive one
    rewards it. In a conversation, only what the agent wrote counts, and no run reaches from one
    turn into the next.

    The share is in ``info["reward_terms"]`` under the term's name, beside the terms that are there
    already; if there are none, beside the environment's own ``"score"``.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        weight: float,
        n: int = 2,
        name: str = "repetition",
    ) -> None:
        """Wraps an environment.

        Args:
            env: A ``TextEnv`` whose observations hold tokens, however wrapped.
            weight: What a text of nothing but repetition is worth.
            n: How many tokens are a run.
            name: What the term is called in ``info["reward_terms"]``.

        Raises:
            ValueError: If there are no tokens to be read, or ``n`` is not positive.
        """
        RecordConstructorArgs.__init__(self, weight=weight, n=n, name=name)
        gym.Wrapper.__init__(self, env)
        if n < 1:
            raise ValueError(f"n must be positive, got {n}")
        self._layout = find_layout(env, env.observation_space, type(self).__name__)
        self._weight, self._n, self._name = weight, n, name
        self._prompt_length = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Starts an episode; see ``TextEnv.reset``."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._prompt_length = info["prompt_length"]
        return observation, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Makes a step, and pays if it was the last."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        paid = float(reward)
        if terminated:
            tokens, inner = self._layout.tokens(observation), cast("Any", self.env.unwrapped)
            turns = self._layout.turns(tokens, self._prompt_length, inner.authored)
            measure = measure_repetition(own_turns(turns), self._n)
            paid, info = paid + self._weight * measure, _with_term(info, self._name, measure)
        return observation, paid, terminated, truncated, info


def _with_term(info: Mapping[str, Any], name: str, measure: float) -> dict[str, Any]:
    terms = info.get("reward_terms", {"score": info["score"]})
    if name in terms:
        raise ValueError(f"there is a reward term {name!r} already; give this one another name=")
    return {**info, "reward_terms": {**terms, name: measure}}
