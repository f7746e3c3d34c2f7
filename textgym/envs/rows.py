"""A batch's rows, each as if it were an environment of its own.

Gymnasium's agent libraries ask a batch for what each of its environments has, and set it, by
``call``, ``get_attr`` and ``set_attr``, as ``gymnasium.vector.SyncVectorEnv`` answers them.

Departures from it:
    * What all rows share, such as spaces and sizes, is read and not set: the environment is made
      with it. ``render_mode`` is set for all rows or none.
    * What moves or copies the whole batch is no row's: ``reset``, ``step``, ``save_state`` and the
      like are refused here, and called on the batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gymnasium.vector import VectorEnv

    from textgym.envs.starts import Draws

__all__ = ["RowAttributes"]

_BY_ROW = frozenset({"action_masks", "authored", "np_random", "np_random_seed", "pair_masks"})
_RENDER = "render"
_SPACES = frozenset({"action_space", "observation_space"})
_OF_THE_BATCH = frozenset(
    {
        *("close", "fork", "reset", "restore_state", "save_state", "score_later", "scores_of"),
        "step",
    }
)
_SET_FOR_ALL = "render_mode"
_GENERATORS = "np_random"


class RowAttributes:
    """What callers have set on the rows of a batch, and what the rows have of the batch's."""

    def __init__(self, draws: Draws) -> None:
        """Knows nothing that was set yet.

        Args:
            draws: The rows' generators.
        """
        self._draws = draws
        self._set: dict[str, tuple[Any, ...]] = {}

    def call(
        self, envs: VectorEnv[Any, Any, Any], name: str, *args: Any, **kwargs: Any
    ) -> tuple[Any, ...]:
        """Calls a method, or reads an attribute, of every row.

        What each row has of its own, such as ``action_masks``, ``text`` and ``np_random``, each
        gets; spaces are a single row's; anything else all rows have alike.

        Args:
            envs: The batch.
            name: What is asked for.
            *args: What a method is called with.
            **kwargs: Likewise.

        Returns:
            What each row says, a tuple of N.

        Raises:
            AttributeError: If there is nothing of that name, or it is the whole batch's.
        """
        count = envs.num_envs
        if name in self._set:
            return tuple(
                value(*args, **kwargs) if callable(value) else value for value in self._set[name]
            )
        if name in _OF_THE_BATCH:
            raise AttributeError(f"{name} is the whole batch's: call it on the batch itself")
        if name == "text":
            texts: Any = envs
            return tuple(zip(*texts.texts(), strict=True))
        value = getattr(envs, f"single_{name}" if name in _SPACES else name)
        result = value(*args, **kwargs) if callable(value) else value
        by_row = name in _BY_ROW or name == _RENDER
        return tuple(result) if by_row and result is not None else (result,) * count

    def set(self, envs: VectorEnv[Any, Any, Any], name: str, values: Any) -> None:
        """Sets an attribute of every row: a list or tuple has one for each, anything else is all's.

        Args:
            envs: The batch.
            name: ``np_random``, ``render_mode``, or a name that the environment has no use for.
            values: What to set.

        Raises:
            ValueError: If a list is of another length than N, or rows are to differ in what they
                share.
            TypeError: If a generator is none.
            AttributeError: If the environment is made with it; nothing has changed then.
        """
        count = envs.num_envs
        given: Sequence[Any] = values if isinstance(values, list | tuple) else [values] * count
        if len(given) != count:
            raise ValueError(f"{name} has {len(given)} values, and there are {count} rows")
        if name == _GENERATORS:
            wrong = next(
                (each for each in given if not isinstance(each, np.random.Generator)), None
            )
            if wrong is not None:
                raise TypeError(f"np_random must be a numpy Generator, got {type(wrong).__name__}")
            self._draws.take(given)
        elif name == _SET_FOR_ALL:
            if any(each != given[0] for each in given):
                raise ValueError(f"all rows have one {name}; give the same to each")
            envs.render_mode = given[0]
        elif name not in self._set and (hasattr(envs, name) or name == "text"):
            raise AttributeError(
                f"{name} cannot be set for rows of a batch; make the environment with it instead"
            )
        else:
            self._set[name] = tuple(given)
