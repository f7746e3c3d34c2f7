"""Rolling anybody's vector environment: legal actions, resets, and reading what it returned.

Nothing here knows of texts, and everything takes numpy arrays and torch tensors alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.spaces import MultiDiscrete
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import iterate

from textgym.dynamics.masks import action_parts, moved_to_legal
from textgym.dynamics.states import to_host

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt
    from gymnasium.vector import VectorEnv

__all__ = [
    "draw_actions",
    "equal",
    "host",
    "map_leaves",
    "masks_of",
    "pair_masks_of",
    "reset_finished",
    "roll",
    "rows_of_observation",
]

_PAIR = 2


def draw_actions(envs: VectorEnv[Any, Any, Any]) -> Any:
    """Draws an action for each row, by the action space's own generator.

    With ``action_masks`` each part of an action is moved on to a legal one, where there is one. A
    mask speaks of each part of a ``MultiDiscrete`` by itself; with ``pair_masks``, which speak of
    both parts together, an action is moved on to a legal pair.

    Returns:
        The actions; a tensor on the environment's device if it says that it is one of torch.
    """
    masks = masks_of(envs)
    actions = envs.action_space.sample()
    parts = action_parts(envs.single_action_space)
    pairs = pair_masks_of(envs)
    if pairs is not None:
        actions = _moved_to_pairs(actions, pairs)
    elif masks is not None and parts is not None:
        actions = moved_to_legal(actions, masks, *parts)
    if envs.metadata.get("torch"):
        import torch

        return torch.as_tensor(actions, device=getattr(envs, "device", "cpu"))
    return actions


def masks_of(envs: VectorEnv[Any, Any, Any]) -> npt.NDArray[Any] | None:
    """Returns what ``action_masks()`` returns, on the host; ``None`` if there is no such method."""
    method = getattr(envs, "action_masks", None)
    return None if method is None else host(method())


def pair_masks_of(envs: VectorEnv[Any, Any, Any]) -> npt.NDArray[Any] | None:
    """Returns what ``pair_masks()`` returns, on the host, where actions have two parts.

    ``None`` if they have not, or there is no such method.
    """
    space, method = envs.single_action_space, getattr(envs, "pair_masks", None)
    if method is None or not isinstance(space, MultiDiscrete) or space.shape != (_PAIR,):
        return None
    return host(method())  # type: ignore[no-any-return] # as all that an environment returns


def roll(envs: VectorEnv[Any, Any, Any], steps: int) -> list[Any]:
    """Steps with drawn actions; returns what each step returned."""
    returned = []
    for _ in range(steps):
        returned.append(envs.step(draw_actions(envs)))
        reset_finished(envs, host(returned[-1][2]) | host(returned[-1][3]))
    return returned


def _moved_to_pairs(actions: npt.NDArray[Any], pairs: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Moves drawn actions, ``(N, 2)``, on to legal ones, by ``(N, A, B)`` bool."""
    size = pairs.shape[-1]
    flat = pairs.reshape(len(pairs), -1)
    numbers = actions[:, 0] * size + actions[:, 1]
    moved = moved_to_legal(numbers, flat, np.array([flat.shape[1]]), np.array([0]))
    return np.stack(np.divmod(moved, size), axis=1)


def reset_finished(envs: VectorEnv[Any, Any, Any], ended: npt.NDArray[np.bool_]) -> None:
    """Resets the rows that ended, if the environment leaves that to its caller."""
    if envs.metadata["autoreset_mode"] is AutoresetMode.DISABLED and ended.any():
        envs.reset(options={"reset_mask": ended})


def rows_of_observation(envs: VectorEnv[Any, Any, Any], observation: Any) -> list[Any]:
    """Takes a batch of observations apart, on the host: one for each row."""
    return list(iterate(envs.observation_space, map_leaves(host, observation)))


def host(value: Any) -> Any:
    """Returns an array of numpy's with the same values; a string stays as it is."""
    if isinstance(value, str):
        return value
    return to_host(value)


def map_leaves(function: Callable[[Any], Any], value: Any) -> Any:
    """Applies a function within dictionaries and tuples."""
    if isinstance(value, dict):
        return {key: map_leaves(function, item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(map_leaves(function, item) for item in value)
    return function(value)


def equal(first: Any, second: Any) -> bool:
    """Returns whether two returned values are equal; not a number equals itself."""
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(equal(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(equal, first, second))
    left, right = np.asarray(host(first)), np.asarray(host(second))
    if left.dtype == object and left.ndim == 0:
        return bool(first == second)
    if left.dtype == object:
        return left.shape == right.shape and all(map(equal, left.tolist(), right.tolist()))
    return np.array_equal(left, right, equal_nan=left.dtype.kind == "f")
