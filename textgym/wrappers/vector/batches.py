"""What the twins for vector environments have in common: where a step's endings are to be found.

With autoreset in the same step, observations and infos of the rows that ended stand under
``final_obs`` and ``final_info``, and what stands at their old places is of the next episode.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space

from textgym.dynamics.states import to_host

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy.typing as npt
    from gymnasium import spaces

__all__ = [
    "Batch",
    "begun_rows",
    "ended_authored",
    "ended_infos",
    "ended_observation",
    "entry",
    "marked",
    "nearest",
    "view_final",
    "with_new_prompts",
]

_FORWARDED = frozenset(
    {"action_masks", "autoreset_mode", "call", "device", "get_attr", "pair_masks", "set_attr"}
    | {"texts"}
)


class Batch(VectorWrapper):  # it takes no types in Gymnasium 1.1
    """A wrapper that hands on what Gymnasium's does not, where the environment has it.

    These are ``action_masks()``, ``pair_masks()``, ``texts()``, ``call()``, ``get_attr()``,
    ``set_attr()``, ``autoreset_mode`` and ``device``. What changes episodes behind a wrapper's
    back, as loading a saved state does, is not among them.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        """Wraps a vector environment.

        Raises:
            ValueError: If its metadata does not say when it resets.
        """
        super().__init__(env)
        if env.metadata.get("autoreset_mode") not in list(AutoresetMode):
            raise ValueError(
                f"{type(self).__name__} must know when {env} resets, and its "
                "metadata['autoreset_mode'] is no AutoresetMode"
            )

    def __getattr__(self, name: str) -> Any:
        value = nearest(self.env, name) if name in _FORWARDED else None
        if value is not None:
            return value
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _show(self, space: spaces.Space[Any]) -> None:
        """Declares the space of one row's observation."""
        self.single_observation_space = space
        self.observation_space = batch_space(space, self.num_envs)


def begun_rows(
    env: VectorEnv[Any, Any, Any],
    was_closed: npt.NDArray[np.bool_],
    ended: npt.NDArray[np.bool_],
) -> list[int]:
    """Returns the numbers of the rows that a step has started anew.

    Args:
        env: The vector environment.
        was_closed: Which rows had ended before the step, ``(N,)`` bool.
        ended: Which ended in it, ``(N,)`` bool.
    """
    mode = env.metadata["autoreset_mode"]
    if mode is AutoresetMode.DISABLED:
        return []
    begun = was_closed if mode is AutoresetMode.NEXT_STEP else ended
    return np.flatnonzero(begun).tolist()


def ended_infos(infos: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the infos of which those that an episode ends with are a part."""
    final: Mapping[str, Any] = infos.get("final_info", infos)
    return final


def ended_observation(observation: Any, infos: Mapping[str, Any], row: int) -> Any:
    """Returns the observation that an episode ended with in this step, in one row."""
    return _row(infos.get("final_obs", observation), row)


def ended_authored(env: VectorEnv[Any, Any, Any], row: int) -> npt.NDArray[np.int64] | None:
    """Returns whose what is in the text that ended in this step, in one row, on the host.

    Args:
        env: A ``TextVectorEnv``, however wrapped.
        row: The row's number.

    Returns:
        1 where the agent wrote, ``(T,)``; ``None`` where nobody replies.
    """
    inner: Any = env.unwrapped
    authored = inner.authored_at_end
    return None if authored is None else to_host(authored[row])


def entry(infos: Mapping[str, Any], row: int) -> dict[str, Any]:
    """Returns the infos of one row, as a single environment would have given them."""
    found: dict[str, Any] = {}
    for key, value in infos.items():
        mask = None if key.startswith("_") else infos.get(f"_{key}")
        if mask is not None and mask[row]:
            found[key] = entry(value, row) if isinstance(value, dict) else value[row]
    return found


def marked(infos: Mapping[str, Any], key: str) -> list[int]:
    """Returns the numbers of the rows in which an info means something."""
    mask = infos.get(f"_{key}")
    return [] if mask is None else np.flatnonzero(to_host(mask)).tolist()


def with_new_prompts(
    prompt_lengths: npt.NDArray[np.int64], infos: Mapping[str, Any]
) -> npt.NDArray[np.int64]:
    """Returns how many places each row's prompt takes, after the resets that infos tell of."""
    if "prompt_length" not in infos:
        return prompt_lengths
    return np.where(infos["_prompt_length"], infos["prompt_length"], prompt_lengths)


def nearest(env: VectorEnv[Any, Any, Any], name: str) -> Any:
    """Returns an attribute of the outermost layer that has it; ``None`` if none has.

    Gymnasium's wrappers of batches hand no method on, so one below them is looked for there.
    """
    layer: Any = env
    while not hasattr(layer, name) and isinstance(layer, VectorWrapper):
        layer = layer.env
    return getattr(layer, name, None)


def view_final(
    infos: dict[str, Any],
    view_row: Callable[[Any, int], Any],
    view_batch: Callable[[Any], Any] | None = None,
) -> dict[str, Any]:
    """Returns infos whose ``final_obs``, if there are any, are seen through a view.

    Args:
        infos: What a step returned; they stay as they are.
        view_row: Views the observation of a row whose number is given.
        view_batch: Views a whole batch, for environments whose ``final_obs`` is one; ``None`` to
            view the rows that ended one by one in any case.
    """
    if "final_obs" not in infos:
        return infos
    final = infos["final_obs"]
    is_rows = isinstance(final, np.ndarray) and final.dtype == object
    if view_batch is not None and not is_rows:
        return {**infos, "final_obs": view_batch(final)}
    viewed: npt.NDArray[np.object_] = np.full(len(infos["_final_obs"]), None, dtype=object)
    for row in marked(infos, "final_obs"):
        viewed[row] = view_row(_row(final, row), row)
    return {**infos, "final_obs": viewed}


def _row(batch: Any, row: int) -> Any:
    if isinstance(batch, dict):
        return {key: _row(value, row) for key, value in batch.items()}
    return batch[row]
