"""Other views of an environment: a dictionary, one-hot vectors, two texts, or masks beside it.

Each has a twin for vector environments in ``textgym.wrappers.vector``.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from gymnasium.utils import RecordConstructorArgs

from textgym.wrappers.layout import find_layout, require_text
from textgym.wrappers.views import (
    make_dict_view,
    make_mask_view,
    make_one_hot_view,
    make_text_view,
)

__all__ = ["ActionMaskObservation", "DictObservation", "OneHotObservation", "TextObservation"]


class DictObservation(RecordConstructorArgs, gym.Wrapper[Any, Any, Any, Any]):
    """Shows ``tokens``, ``attention_mask`` and ``prompt_mask``, as ``obs_mode="dict"`` does.

    For whoever has an id and not the environment's arguments. Each is ``(T,)`` int64: the ids; 1
    where there is text and 0 where there is padding; 1 on what the agent did not write, which is
    the prompt and, in a conversation, the replies. Where there is something to choose,
    ``candidates`` is ``(K * L,)`` int64.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        """Wraps an environment.

        Args:
            env: A ``TextEnv`` with ``obs_mode="tokens"``, perhaps wrapped.

        Raises:
            ValueError: If it is none.
        """
        RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        layout = find_layout(env, env.observation_space, type(self).__name__)
        self._view = make_dict_view(layout, env.observation_space)
        self.observation_space = self._view.space
        self._prompt_length = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Starts an episode; see ``TextEnv.reset``."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._prompt_length = info["prompt_length"]
        return self._look(observation), info

    def step(self, action: Any) -> tuple[dict[str, Any], Any, bool, bool, dict[str, Any]]:
        """Makes a step; see ``TextEnv.step``."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._look(observation), reward, terminated, truncated, info

    def _look(self, observation: Any) -> dict[str, Any]:
        inner: Any = self.env.unwrapped
        return self._view(observation, self._prompt_length, inner.authored)


class OneHotObservation(RecordConstructorArgs, gym.ObservationWrapper[Any, Any, Any]):
    """Shows each place's id as a one-hot vector, for small vocabularies and ready-made networks.

    The networks that agent libraries make by themselves read ids as magnitudes, or refuse integers.
    The space is ``Box(0, 1, (W * V,), float32)``: place w has id v where number ``w * V + v`` is 1.
    W places are those of the tokens and of the candidates behind them. With a large vocabulary,
    let the network embed the ids instead.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        """Wraps an environment.

        Args:
            env: A ``TextEnv`` with ``obs_mode="tokens"``, perhaps wrapped.

        Raises:
            ValueError: If it is none.
        """
        RecordConstructorArgs.__init__(self)
        gym.ObservationWrapper.__init__(self, env)
        layout = find_layout(env, env.observation_space, type(self).__name__)
        self._view = make_one_hot_view(layout, env.observation_space)
        self.observation_space = self._view.space

    def observation(self, observation: Any) -> Any:
        """Returns ``(W * V,)`` float32 of ``(W,)`` integers."""
        return self._view(observation)


class TextObservation(RecordConstructorArgs, gym.Wrapper[Any, Any, Any, Any]):
    """Shows the prompt and the completion so far as two texts, for language agents.

    The space is ``Dict(prompt=Text, completion=Text)``. A ``Text`` lists its characters, so there
    is a limit to what it can show, and two things are done to stay within: a character that is not
    in ``charset`` appears as U+FFFD, the replacement character, and a text longer than
    ``max_length`` keeps its last characters. Neither changes what is written or scored. The whole
    text is always to be had from ``env.unwrapped.text()``.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        *,
        charset: str | None = None,
        max_length: int = 10_000,
    ) -> None:
        """Wraps an environment.

        Args:
            env: A ``TextEnv``, however wrapped.
            charset: The characters that texts may have; ``None`` for line break, tabulator, and the
                printable of Latin with its extensions, Greek, Cyrillic, and common signs.
            max_length: How many characters a text may have.

        Raises:
            ValueError: If it is no ``TextEnv``, or ``max_length`` is not positive.
        """
        RecordConstructorArgs.__init__(self, charset=charset, max_length=max_length)
        gym.Wrapper.__init__(self, env)
        require_text(env, type(self).__name__)
        self._view = make_text_view(charset, max_length)
        self.observation_space = self._view.space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, str], dict[str, Any]]:
        """Starts an episode; see ``TextEnv.reset``."""
        _, info = self.env.reset(seed=seed, options=options)
        return self._look(), info

    def step(self, action: Any) -> tuple[dict[str, str], Any, bool, bool, dict[str, Any]]:
        """Makes a step; see ``TextEnv.step``."""
        _, reward, terminated, truncated, info = self.env.step(action)
        return self._look(), reward, terminated, truncated, info

    def _look(self) -> dict[str, str]:
        inner: Any = self.env.unwrapped
        return self._view(*inner.text())


class ActionMaskObservation(RecordConstructorArgs, gym.Wrapper[Any, Any, Any, Any]):
    """Puts the mask of legal actions beside the observation, as an agent library wants it.

    ===============  ================  ===============  ===========================
    preset           observation       mask             space of the mask
    ===============  ================  ===============  ===========================
    ``torchrl``      ``observation``   ``action_mask``  ``Box(0, 1, (n,), bool)``
    ``pettingzoo``   ``observation``   ``action_mask``  ``Box(0, 1, (n,), int8)``
    ``rllib``        ``observations``  ``action_mask``  ``Box(0, 1, (n,), float32)``
    ``tianshou``     ``obs``           ``mask``         ``Box(0, 1, (n,), bool)``
    ===============  ================  ===============  ===========================

    n is that of ``Discrete(n)``; for ``MultiDiscrete(nvec)`` it is ``sum(nvec)``, and the masks of
    its parts follow each other. RLlib's own networks take no integers: wrap the environment in
    ``OneHotObservation``, or Gymnasium's ``DtypeObservation(env, np.float32)``, first.
    Stable-Baselines3's ``MaskablePPO`` needs no wrapper: it reads ``action_masks()``.
    """

    def __init__(self, env: gym.Env[Any, Any], preset: str = "torchrl") -> None:
        """Wraps an environment.

        Args:
            env: Any environment that has ``action_masks()``, of this package or not.
            preset: Whose keys and dtypes.

        Raises:
            ValueError: If the preset is unknown, the environment has no masks, or its actions are
                neither ``Discrete`` nor ``MultiDiscrete``.
        """
        RecordConstructorArgs.__init__(self, preset=preset)
        gym.Wrapper.__init__(self, env)
        if not env.has_wrapper_attr("action_masks"):
            raise ValueError(f"{env} has no action_masks(), so there is no mask to show")
        self._view = make_mask_view(preset, env.observation_space, env.action_space)
        self.observation_space = self._view.space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Starts an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self._look(observation), info

    def step(self, action: Any) -> tuple[dict[str, Any], Any, bool, bool, dict[str, Any]]:
        """Makes a step."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._look(observation), reward, terminated, truncated, info

    def _look(self, observation: Any) -> dict[str, Any]:
        return self._view(observation, self.env.get_wrapper_attr("action_masks")())
