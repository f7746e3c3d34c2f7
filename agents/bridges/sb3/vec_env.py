"""A native batch of texts as Stable-Baselines3's ``VecEnv``: one call a step for all rows.

``make_vec_env`` of Stable-Baselines3 makes N single environments and steps them in a Python loop;
here the whole batch is stepped at once, and all texts that end together are scored together.

What Stable-Baselines3 expects and Gymnasium does not: a row that is over starts anew in the same
step, its last observation is in ``infos[i]["terminal_observation"]``, an outside time limit is
``infos[i]["TimeLimit.truncated"]``, and ``infos[i]["episode"]`` is what ``Monitor`` would give.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.vec_env import VecEnv

if TYPE_CHECKING:
    from collections.abc import Sequence

    import gymnasium as gym
    from stable_baselines3.common.vec_env.base_vec_env import (
        VecEnvIndices,
        VecEnvObs,
        VecEnvStepReturn,
    )

    from textgym.envs.vector import TextVectorEnv

__all__ = ["TextVecEnv"]


class TextVecEnv(VecEnv):
    """N texts for Stable-Baselines3; row i, seeded ``seed + i``, is the single environment."""

    def __init__(self, envs: TextVectorEnv) -> None:
        """Wraps a batch.

        Args:
            envs: A text environment with autoreset disabled, of either backend. It is not copied,
                so do not step it elsewhere as well.

        Raises:
            ValueError: If ``envs`` resets rows by itself.
        """
        if envs.autoreset_mode is not AutoresetMode.DISABLED:
            raise ValueError(
                "TextVecEnv starts rows anew itself: make its environment with "
                f'autoreset_mode="Disabled", not "{envs.autoreset_mode.value}"'
            )
        self.envs = envs
        self._actions: Any = None
        self._returns = np.zeros(envs.num_envs)
        self._lengths = np.zeros(envs.num_envs, dtype=np.int64)
        self._started = time.monotonic()
        super().__init__(envs.num_envs, envs.single_observation_space, envs.single_action_space)

    def reset(self) -> VecEnvObs:
        """Starts every row, with the seeds and options that ``seed`` and ``set_options`` left.

        Raises:
            ValueError: If an option is unknown, or only some of the rows have it.
        """
        keys = {key for row in self._options for key in row}
        if any(row.keys() != keys for row in self._options):
            raise ValueError(f"all rows need the same options; some have no {sorted(keys)}")
        options = {key: [row[key] for row in self._options] for key in keys}
        observations, infos = self.envs.reset(seed=self._seeds, options=options)
        self._reset_seeds()
        self._reset_options()
        self._returns[:], self._lengths[:] = 0.0, 0
        self.reset_infos = [_row(infos, i) for i in range(self.num_envs)]
        return cast("VecEnvObs", _host(observations))

    def step_async(self, actions: np.ndarray) -> None:
        """Keeps the actions for ``step_wait``; nothing runs beside this process."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Takes the actions and starts anew what they ended.

        Returns:
            Observations; rewards ``(N,)`` float32; whether rows are over, ``(N,)`` bool; infos.
        """
        found, paid, ended, cut, seen = self.envs.step(self._actions)
        observations, rewards = _host(found), np.asarray(_host(paid), dtype=np.float64)
        terminated, truncated = _host(ended), _host(cut)
        dones = terminated | truncated
        self._returns += rewards
        self._lengths += 1
        limited = (truncated & ~terminated).tolist()
        infos = [{**_row(seen, i), "TimeLimit.truncated": limited[i]} for i in range(self.num_envs)]
        rows = np.flatnonzero(dones).tolist()
        for i in rows:
            infos[i]["terminal_observation"] = _take(observations, i)
            infos[i]["episode"] = {
                "r": float(self._returns[i]),
                "l": int(self._lengths[i]),
                "t": round(time.monotonic() - self._started, 6),
            }
        if rows:
            again, started = self.envs.reset(options={"reset_mask": dones})
            observations = _host(again)
            for i in rows:
                self.reset_infos[i] = _row(started, i)
            self._returns[rows], self._lengths[rows] = 0.0, 0
        return observations, rewards.astype(np.float32), dones, infos

    def close(self) -> None:
        """Closes the batch."""
        self.envs.close()

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Returns an attribute for each of the rows."""
        values = self.envs.get_attr(attr_name)
        return [values[i] for i in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Sets an attribute of some rows to one value, see ``textgym.envs.rows``.

        Raises:
            AttributeError: If all rows share it, or some have no value yet.
        """
        chosen = list(self._get_indices(indices))
        if len(set(chosen)) == self.num_envs:
            self.envs.set_attr(attr_name, [value] * self.num_envs)
            return
        values = list(self.envs.get_attr(attr_name))
        for row in chosen:
            values[row] = value
        self.envs.set_attr(attr_name, values)

    def env_method(
        self,
        method_name: str,
        *method_args: Any,
        indices: VecEnvIndices = None,
        **method_kwargs: Any,
    ) -> list[Any]:
        """Calls a method once and gives each of the rows its part, as with ``action_masks``."""
        values = self.envs.call(method_name, *method_args, **method_kwargs)
        return [_host(values[i]) for i in self._get_indices(indices)]

    def env_is_wrapped(
        self, wrapper_class: type[gym.Wrapper[Any, Any, Any, Any]], indices: VecEnvIndices = None
    ) -> list[bool]:
        """Says yes to ``Monitor`` alone, whose work is done here: ``infos[i]["episode"]``."""
        from stable_baselines3.common.monitor import Monitor

        return [wrapper_class is Monitor for _ in self._get_indices(indices)]

    def get_images(self) -> Sequence[np.ndarray | None]:
        """Returns a picture of each row, with ``render_mode="rgb_array"``."""
        return self.envs.render() or [None] * self.num_envs


def _host(value: Any) -> Any:
    """Brings arrays to numpy, wherever they are."""
    if isinstance(value, dict):
        return {key: _host(inner) for key, inner in value.items()}
    return value.cpu().numpy() if hasattr(value, "cpu") else value


def _take(observations: Any, row: int) -> Any:
    if isinstance(observations, dict):
        return {key: value[row] for key, value in observations.items()}
    return observations[row]


def _row(infos: dict[str, Any], row: int) -> dict[str, Any]:
    """One row's infos out of a batch's: what ``_key`` says that it has."""
    return {
        key: _row(value, row) if isinstance(value, dict) else _host(value[row])
        for key, value in infos.items()
        if not key.startswith("_") and infos[f"_{key}"][row]
    }
