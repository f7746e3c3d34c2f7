"""One number for an action of two parts, in every row of a vector environment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import batch_space

from textgym.dynamics.states import namespace
from textgym.wrappers.flattening import flat_size, flatten_mask
from textgym.wrappers.vector.batches import Batch, nearest

if TYPE_CHECKING:
    from gymnasium.vector import VectorEnv

__all__ = ["FlattenAction"]


class FlattenAction(Batch):
    """Makes ``Discrete(A * B)`` of ``MultiDiscrete([A, B])``, as the single wrapper does.

    Masks of pairs are exact over a ``TextVectorEnv``, whose ``pair_masks()`` says which are legal.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        """Wraps a vector environment.

        Args:
            env: The vector environment.

        Raises:
            ValueError: If its actions have not two parts.
        """
        super().__init__(env)
        self._first, self._second = flat_size(env.single_action_space)
        self.single_action_space = spaces.Discrete(self._first * self._second)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Starts episodes; see the environment."""
        observations, infos = self.env.reset(**kwargs)
        return observations, self._flat(infos)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Takes one action in every row.

        Args:
            actions: Their numbers, ``(N,)`` integers, numpy or torch. One outside the space has a
                part outside the environment's, which refuses it.
        """
        numbers = actions if hasattr(actions, "cpu") else np.asarray(actions)
        pairs = namespace(numbers).stack([numbers // self._second, numbers % self._second], 1)
        observations, rewards, terminated, truncated, infos = self.env.step(pairs)
        return observations, rewards, terminated, truncated, self._flat(infos)

    def action_masks(self) -> Any:
        """Returns which pairs are legal, ``(N, A * B)`` bool."""
        inner: Any = self.env.unwrapped
        if hasattr(inner, "pair_masks"):
            return inner.pair_masks().reshape(self.num_envs, -1)
        masks = nearest(self.env, "action_masks")
        if masks is None:
            raise AttributeError(f"{self.env} has no action_masks()")
        return flatten_mask(masks(), self._first)

    def _flat(self, infos: dict[str, Any], *, at_end: bool = False) -> dict[str, Any]:
        flat, inner = dict(infos), self.env.unwrapped
        if "action_mask" in flat:
            mask = flat["action_mask"]
            pairs = flatten_mask(mask, self._first)
            if hasattr(inner, "pair_masks"):
                # Rows that the infos are not of have a mask of zeros, which stays one.
                legal = inner.pair_masks(at_end=at_end) & mask.any(-1)[:, None, None]
                as_int8 = legal.astype(np.int8) if isinstance(mask, np.ndarray) else legal.char()
                pairs = as_int8.reshape(self.num_envs, -1)
            flat["action_mask"] = pairs
        if "final_info" in flat:
            flat["final_info"] = self._flat(flat["final_info"], at_end=True)
        return flat
