"""One number for an action of two parts, for learners that want a ``Discrete`` space.

The twin for vector environments is ``textgym.wrappers.vector.FlattenAction``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["FlattenAction", "flat_size", "flatten_mask"]

_PARTS = 2


def flat_size(space: spaces.Space[Any]) -> tuple[int, int]:
    """Returns the sizes of the two parts of an action.

    Raises:
        ValueError: If the space has not two parts.
    """
    if not isinstance(space, spaces.MultiDiscrete) or space.shape != (_PARTS,):
        raise ValueError(f"FlattenAction is for MultiDiscrete actions of two parts, not {space}")
    return int(space.nvec[0]), int(space.nvec[1])


def flatten_mask(mask: Any, first: int) -> Any:
    """Makes a mask of pairs, ``(..., A * B)``, of one of parts, ``(..., A + B)``.

    Args:
        mask: The parts' masks behind each other, numpy or torch.
        first: A, the size of the first part.
    """
    pairs = mask[..., :first, None] & mask[..., None, first:]
    return pairs.reshape(*mask.shape[:-1], -1)


class FlattenAction(RecordConstructorArgs, gym.ActionWrapper[Any, Any, Any]):
    """Makes ``Discrete(A * B)`` of ``MultiDiscrete([A, B])``: action n is ``(n // B, n % B)``.

    ``action_masks()`` is of pairs, and an ``action_mask`` in the infos becomes one of pairs as
    well. Where the environment has ``pair_masks()``, as ``TextEnv`` has, a pair is legal if it is
    so there; elsewhere, if both of its parts are. A mask has A * B places: with large vocabularies
    it is what takes memory.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        """Wraps an environment.

        Args:
            env: The environment.

        Raises:
            ValueError: If its actions have not two parts.
        """
        RecordConstructorArgs.__init__(self)
        gym.ActionWrapper.__init__(self, env)
        self._first, self._second = flat_size(env.action_space)
        self.action_space = spaces.Discrete(self._first * self._second)

    def action(self, action: Any) -> npt.NDArray[np.int64]:
        """Returns the two parts of an action."""
        return np.array(divmod(int(action), self._second))

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Starts an episode; see the environment."""
        observation, info = self.env.reset(**kwargs)
        return observation, self._flat(info)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Takes an action.

        Args:
            action: Its number.

        Raises:
            ValueError: If it is not in the space.
        """
        if action not in self.action_space:
            raise ValueError(f"action {action} is not in 0..{self.action_space.n - 1}")  # type: ignore[attr-defined] # Gymnasium types the wrapper's space loosely
        observation, reward, terminated, truncated, info = self.env.step(self.action(action))
        return observation, reward, terminated, truncated, self._flat(info)

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Returns which pairs are legal, ``(A * B,)`` bool."""
        if self.env.has_wrapper_attr("pair_masks"):
            return self.env.get_wrapper_attr("pair_masks")().reshape(-1)  # type: ignore[no-any-return] # numpy's
        mask = self.env.get_wrapper_attr("action_masks")()
        return flatten_mask(mask, self._first)  # type: ignore[no-any-return] # numpy in, numpy out

    def _flat(self, info: dict[str, Any]) -> dict[str, Any]:
        if "action_mask" not in info:
            return info
        if self.env.has_wrapper_attr("pair_masks"):
            return {**info, "action_mask": self.action_masks().astype(np.int8)}
        return {**info, "action_mask": flatten_mask(info["action_mask"], self._first)}
