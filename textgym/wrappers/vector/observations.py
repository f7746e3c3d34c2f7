"""The observation wrappers of ``textgym.wrappers``, for vector environments.

They show in every row what the single wrapper shows, in each autoreset mode, also in ``final_obs``,
and take numpy arrays and torch tensors, which stay on their device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.vector import AutoresetMode

from textgym.dynamics.states import to_host
from textgym.recording.turns import own_turns
from textgym.wrappers.layout import find_layout, require_text
from textgym.wrappers.vector.batches import (
    Batch,
    ended_authored,
    nearest,
    view_final,
    with_new_prompts,
)
from textgym.wrappers.views import (
    make_dict_view,
    make_mask_view,
    make_one_hot_view,
    make_text_view,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gymnasium.vector import VectorEnv

__all__ = ["ActionMaskObservation", "DictObservation", "OneHotObservation", "TextObservation"]


class DictObservation(Batch):
    """Shows ``tokens``, ``attention_mask`` and ``prompt_mask``; see the single wrapper."""

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        """Wraps a vector environment.

        Args:
            env: A ``TextVectorEnv`` with ``obs_mode="tokens"``, perhaps wrapped.

        Raises:
            ValueError: If it is none.
        """
        super().__init__(env)
        single = env.single_observation_space
        layout = find_layout(env, single, type(self).__name__)
        self._view = make_dict_view(layout, single)
        self._show(self._view.space)
        self._prompt_lengths = np.zeros(self.num_envs, dtype=np.int64)

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Starts episodes; see ``TextVectorEnv.reset``."""
        observation, infos = self.env.reset(seed=seed, options=options)
        return self._look(observation, infos), infos

    def step(self, actions: Any) -> tuple[dict[str, Any], Any, Any, Any, dict[str, Any]]:
        """Makes a step; see ``TextVectorEnv.step``."""
        observation, rewards, terminated, truncated, infos = self.env.step(actions)
        inner: Any = self.env.unwrapped
        lengths, authored = self._prompt_lengths, inner.authored_at_end
        # What ended did so with the prompts of before.
        final = view_final(
            infos,
            lambda one, row: self._view(
                one, lengths[row], None if authored is None else authored[row]
            ),
            lambda batch: self._view(batch, lengths, authored),
        )
        return self._look(observation, infos), rewards, terminated, truncated, final

    def _look(self, observation: Any, infos: Mapping[str, Any]) -> dict[str, Any]:
        self._prompt_lengths = with_new_prompts(self._prompt_lengths, infos)
        inner: Any = self.env.unwrapped
        return self._view(observation, self._prompt_lengths, inner.authored)


class OneHotObservation(Batch):
    """Shows each place's id as a one-hot vector, ``(N, W * V)`` float32; see the single wrapper."""

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        """Wraps a vector environment.

        Args:
            env: A ``TextVectorEnv`` with ``obs_mode="tokens"``, perhaps wrapped.

        Raises:
            ValueError: If it is none.
        """
        super().__init__(env)
        single = env.single_observation_space
        self._view = make_one_hot_view(find_layout(env, single, type(self).__name__), single)
        self._show(self._view.space)

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Starts episodes; see ``TextVectorEnv.reset``."""
        observation, infos = self.env.reset(seed=seed, options=options)
        return self._view(observation), infos

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Makes a step; see ``TextVectorEnv.step``."""
        observation, rewards, terminated, truncated, infos = self.env.step(actions)
        final = view_final(infos, lambda one, _row: self._view(one), self._view)
        return self._view(observation), rewards, terminated, truncated, final


class TextObservation(Batch):
    """Shows the prompts and the completions so far as texts; see the single wrapper.

    A batch of texts is ``{"prompt": N texts, "completion": N texts}``, each a tuple. The final
    observations are an array of objects, one dictionary for each row that ended.
    """

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        *,
        charset: str | None = None,
        max_length: int = 10_000,
    ) -> None:
        """Wraps a vector environment.

        Args:
            env: A ``TextVectorEnv``, however wrapped; with autoreset in the same step its
                observations must hold tokens, for the texts that ended are read from them.
            charset: See the single wrapper.
            max_length: See the single wrapper.

        Raises:
            ValueError: If it is none, or ``max_length`` is not positive.
        """
        super().__init__(env)
        require_text(env, type(self).__name__)
        self._view = make_text_view(charset, max_length)
        self._show(self._view.space)
        self._layout = None
        if env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP:
            self._layout = find_layout(env, env.single_observation_space, type(self).__name__)
        self._prompt_lengths = np.zeros(self.num_envs, dtype=np.int64)
        self._prompts: list[str] = []

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Starts episodes; see ``TextVectorEnv.reset``."""
        _, infos = self.env.reset(seed=seed, options=options)
        return self._look(infos), infos

    def step(self, actions: Any) -> tuple[dict[str, Any], Any, Any, Any, dict[str, Any]]:
        """Makes a step; see ``TextVectorEnv.step``."""
        _, rewards, terminated, truncated, infos = self.env.step(actions)
        final = view_final(infos, self._read)
        return self._look(infos), rewards, terminated, truncated, final

    def _look(self, infos: Mapping[str, Any]) -> dict[str, Any]:
        self._prompt_lengths = with_new_prompts(self._prompt_lengths, infos)
        inner: Any = self.env.unwrapped
        self._prompts, completions = inner.texts()
        fit = self._view.fit
        return {
            "prompt": tuple(map(fit, self._prompts)),
            "completion": tuple(map(fit, completions)),
        }

    def _read(self, observation: Any, row: int) -> dict[str, str]:
        if self._layout is None:
            raise ValueError("there are final observations, yet no row is reset in the same step")
        tokens, start = to_host(self._layout.tokens(observation)), int(self._prompt_lengths[row])
        turns = self._layout.turns(tokens, start, ended_authored(self.env, row))
        inner: Any = self.env.unwrapped
        completion = "\n".join(map(inner.tokenizer.decode, own_turns(turns)))
        return self._view(self._prompts[row], completion)


class ActionMaskObservation(Batch):
    """Puts the masks of legal actions beside the observations; see the single wrapper.

    With autoreset in the same step, the masks of the final observations are read from
    ``final_info["action_mask"]``, so the environment must emit it: ``emit_mask=True``.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], preset: str = "torchrl") -> None:
        """Wraps a vector environment.

        Args:
            env: Any that has ``action_masks()``, or whose single environments have it, also under
                Gymnasium's wrappers, which hand no method on.
            preset: Whose keys and dtypes; see the single wrapper.

        Raises:
            ValueError: If the preset is unknown, the environment has no masks, or its actions are
                neither ``Discrete`` nor ``MultiDiscrete``.
        """
        super().__init__(env)
        if nearest(env, "action_masks") is None and nearest(env, "call") is None:
            raise ValueError(f"{env} has no action_masks(), so there is no mask to show")
        self._view = make_mask_view(preset, env.single_observation_space, env.single_action_space)
        self._show(self._view.space)

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Starts episodes.

        Raises:
            ValueError: If rows are reset in the same step and infos have no mask.
        """
        observation, infos = self.env.reset(seed=seed, options=options)
        mode = self.env.metadata["autoreset_mode"]
        if mode is AutoresetMode.SAME_STEP and "action_mask" not in infos:
            raise ValueError(
                "with autoreset in the same step, the masks of final observations are read from "
                "infos; make the environment with emit_mask=True"
            )
        return self._view(observation, self._masks()), infos

    def step(self, actions: Any) -> tuple[dict[str, Any], Any, Any, Any, dict[str, Any]]:
        """Makes a step."""
        observation, rewards, terminated, truncated, infos = self.env.step(actions)
        masks = infos.get("final_info", {}).get("action_mask")
        final = view_final(
            infos,
            lambda row_observation, row: self._view(row_observation, masks[row]),
            lambda batch: self._view(batch, masks),
        )
        return self._view(observation, self._masks()), rewards, terminated, truncated, final

    def _masks(self) -> Any:
        masks, call = nearest(self.env, "action_masks"), nearest(self.env, "call")
        return masks() if masks is not None else np.stack(call("action_masks"))
