"""A vector environment against Gymnasium's batch of single ones, step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from textgym.testing.findings import require
from textgym.testing.rolls import draw_actions, equal, host, masks_of, rows_of_observation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import gymnasium as gym
    import numpy.typing as npt
    from gymnasium.vector import VectorEnv

__all__ = ["check_parity"]

_SEED = 321
_SHOWN_CHARACTERS = 80


def check_parity(
    envs: VectorEnv[Any, Any, Any], steps: int, single: Callable[[], gym.Env[Any, Any]]
) -> None:
    """Checks that every row behaves as a single environment would, bit for bit.

    Both get the same seeds and actions. Observations, rewards, endings, infos and their masks, and
    ``action_masks`` of running rows are compared after every reset and step, in the environment's
    own autoreset mode. Two freedoms are left: rewards may have a smaller precision than Gymnasium's
    float64, and ``final_obs`` may be a whole batch, in which the rows that ended count.

    Args:
        envs: The environment.
        steps: How long to step.
        single: Makes one of the environments that it is a batch of.

    Raises:
        AssertionError: At the first difference; the message says where it is.
    """
    mode = envs.metadata["autoreset_mode"]
    # Gymnasium annotates environments of arrays only.
    makers: Any = [single] * envs.num_envs
    alone: Any = SyncVectorEnv(makers, autoreset_mode=mode)
    try:
        for name in ("single_observation_space", "single_action_space"):
            here, there = getattr(envs, name), getattr(alone, name)
            require(here == there, f"{name} is {here}, but {there} alone")
        _roll_both(envs, alone, steps)
    finally:
        alone.close()


def _roll_both(envs: VectorEnv[Any, Any, Any], alone: Any, steps: int) -> None:
    _require_same_start(envs, alone.reset(seed=_SEED), envs.reset(seed=_SEED), "after reset(seed)")
    envs.action_space.seed(_SEED)
    for step in range(steps):
        ended = _step_both(envs, alone, draw_actions(envs), f"at step {step}")
        disabled = envs.metadata["autoreset_mode"] is AutoresetMode.DISABLED
        if disabled and ended.any():
            # Gymnasium's takes the mask out of the options, so each gets its own.
            there, here = (batch.reset(options={"reset_mask": ended}) for batch in (alone, envs))
            _require_same_start(envs, there, here, f"at step {step}, after reset(reset_mask)")
            ended = np.zeros_like(ended)
        _require_same_masks(envs, alone, ended, f"at step {step}")


def _step_both(
    envs: VectorEnv[Any, Any, Any], alone: Any, actions: Any, where: str
) -> npt.NDArray[np.bool_]:
    """Steps and compares; returns which rows ended."""
    there, here = alone.step(host(actions)), envs.step(actions)
    for number, name in enumerate(("reward", "terminated", "truncated"), start=1):
        # The batch's precision decides, which a convention lets it choose for rewards.
        expected = there[number].astype(host(here[number]).dtype)
        for row, (left, right) in enumerate(zip(expected, host(here[number]), strict=True)):
            _require_same(left, right, f"{where}: {name} of row {row}")
    _require_same_start(envs, (there[0], there[4]), (here[0], here[4]), where)
    return np.asarray(there[2] | there[3])


def _require_same_start(envs: VectorEnv[Any, Any, Any], there: Any, here: Any, where: str) -> None:
    """Compares observations and infos."""
    pairs = zip(*(rows_of_observation(envs, side[0]) for side in (there, here)), strict=True)
    for row, (expected, actual) in enumerate(pairs):
        _require_same(expected, actual, f"{where}: observation of row {row}")
    _require_same_infos(there[1], here[1], f"{where}: infos")


def _require_same_infos(there: Mapping[str, Any], here: Mapping[str, Any], where: str) -> None:
    require(
        there.keys() == here.keys(),
        f"{where} have the keys {sorted(here)}, but {sorted(there)} alone",
    )
    for key in (key for key in there if not key.startswith("_")):
        place, marks = f"{where}[{key!r}]", host(there[f"_{key}"])
        require(
            np.array_equal(marks, host(here[f"_{key}"])),
            f"{place} is marked for {host(here[f'_{key}'])}, but for {marks} alone",
        )
        if isinstance(there[key], dict):
            _require_same_infos(there[key], here[key], place)
            continue
        for row in np.flatnonzero(marks).tolist():
            _require_same(_entry(there[key], row), _entry(here[key], row), f"{place} of row {row}")


def _require_same_masks(
    envs: VectorEnv[Any, Any, Any], alone: Any, ended: npt.NDArray[np.bool_], where: str
) -> None:
    masks = masks_of(envs)
    if masks is None or not alone.envs[0].has_wrapper_attr("action_masks"):
        return
    for row, expected in enumerate(alone.call("action_masks")):
        # What could be done next in a row that has ended is nobody's business.
        if not ended[row] or envs.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP:
            _require_same(expected, masks[row], f"{where}: action_masks() of row {row}")


def _entry(batch: Any, row: int) -> Any:
    if isinstance(batch, dict):
        return {key: value[row] for key, value in batch.items()}
    return batch[row]


def _require_same(expected: Any, actual: Any, where: str) -> None:
    if isinstance(expected, dict):
        keys = sorted(actual) if isinstance(actual, dict) else type(actual).__name__
        require(keys == sorted(expected), f"{where} has {keys}, but {sorted(expected)} alone")
        for key, value in expected.items():
            _require_same(value, actual[key], f"{where} [{key!r}]")
        return
    left, right = np.asarray(host(expected)), np.asarray(host(actual))
    require(
        left.dtype == right.dtype and left.shape == right.shape,
        f"{where} is {right.dtype} of shape {right.shape}, but {left.dtype} of shape {left.shape} "
        "alone",
    )
    if not equal(left, right):  # showing values takes longer than comparing them
        raise AssertionError(f"{where} is {_show(right)}, but {_show(left)} alone")


def _show(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
