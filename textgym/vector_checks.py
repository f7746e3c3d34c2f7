"""Conventions of Gymnasium's vector environments, checked on anybody's.

Nothing here knows of texts. ``textgym.testing`` is where these checks are offered.
"""

from __future__ import annotations

import copy
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt
    from gymnasium.vector import VectorEnv

__all__ = ["check_vector_env", "require", "run_checks"]

_SEED = 123


def check_vector_env(envs: VectorEnv[Any, Any, Any], *, steps: int = 100) -> None:
    """Checks a vector environment against Gymnasium's conventions, the unwritten ones included.

    It is reset and stepped with random actions (legal ones, if it has ``action_masks``) and left in
    no particular state. What is checked: the spaces and their batches; shapes and dtypes; that
    infos are arrays of length N with ``_key`` masks; that nothing returned is written to again;
    that a seed repeats an episode and row i has the seed ``seed + i``; that ``options`` are left
    alone; what the autoreset mode promises; masks.

    Args:
        envs: The environment.
        steps: How long to step; at least one episode should end within it.

    Raises:
        AssertionError: If it breaks a convention; the message lists all that it breaks.
    """
    checks: list[Callable[[VectorEnv[Any, Any, Any], int], None]] = [
        _check_spaces,
        _check_returns,
        _check_aliasing,
        _check_seeding,
        _check_options,
        _check_autoreset,
        _check_masks,
    ]
    run_checks(type(envs).__name__, [partial(check, envs, steps) for check in checks])


def run_checks(subject: str, checks: Sequence[Callable[[], None]]) -> None:
    """Runs every check, and raises one ``AssertionError`` with all that they found."""
    problems: list[str] = []
    cause: Exception | None = None
    for check in checks:
        try:
            check()
        except AssertionError as error:
            problems.append(str(error))
        except Exception as error:
            problems.append(f"it raised {type(error).__name__}: {error}")
            cause = error
    if problems:
        raise AssertionError(f"{subject} breaks its contract: {'; '.join(problems)}") from cause


def require(condition: bool, message: str) -> None:
    """Raises an ``AssertionError`` unless the condition holds; works under ``python -O`` too."""
    if not condition:
        raise AssertionError(message)


def _check_spaces(envs: VectorEnv[Any, Any, Any], _steps: int) -> None:
    mode = envs.metadata.get("autoreset_mode")
    require(isinstance(mode, AutoresetMode), f"metadata['autoreset_mode'] is {mode!r}, no enum")
    attribute = getattr(envs, "autoreset_mode", mode)
    require(attribute == mode, f"autoreset_mode is {attribute}, but {mode} in the metadata")
    for kind in ("observation", "action"):
        batch = batch_space(getattr(envs, f"single_{kind}_space"), envs.num_envs)
        actual = getattr(envs, f"{kind}_space")
        require(actual == batch, f"{kind}_space is {actual}, but a batch of the single is {batch}")


def _check_returns(envs: VectorEnv[Any, Any, Any], steps: int) -> None:
    observation, infos = envs.reset(seed=_SEED)
    _check_observation(envs, observation)
    _check_infos(envs.num_envs, infos)
    for _ in range(steps):
        observation, rewards, terminated, truncated, infos = envs.step(_act(envs))
        _check_observation(envs, observation)
        _check_infos(envs.num_envs, infos)
        for name, value, kind in (
            ("rewards", rewards, "f"),
            ("terminations", terminated, "b"),
            ("truncations", truncated, "b"),
        ):
            array = _host(value)
            require(
                array.shape == (envs.num_envs,) and array.dtype.kind == kind,
                f"{name} are {array.dtype} of shape {array.shape}",
            )
        _reset_finished(envs, _host(terminated) | _host(truncated))


def _check_aliasing(envs: VectorEnv[Any, Any, Any], steps: int) -> None:
    kept: list[Any] = [envs.reset(seed=_SEED)]
    snapshots = [copy.deepcopy(kept[0])]
    for _ in range(steps):
        returned = envs.step(_act(envs))
        kept.append(returned)
        snapshots.append(copy.deepcopy(returned))
        _reset_finished(envs, _host(returned[2]) | _host(returned[3]))
    envs.reset(seed=_SEED)
    for number, (before, now) in enumerate(zip(snapshots, kept, strict=True)):
        require(_equal(before, now), f"what call {number} returned was written to by a later call")


def _check_seeding(envs: VectorEnv[Any, Any, Any], steps: int) -> None:
    envs.action_space.seed(_SEED)
    first = [envs.reset(seed=_SEED), *_rollout(envs, steps)]
    envs.action_space.seed(_SEED)
    second = [envs.reset(seed=_SEED), *_rollout(envs, steps)]
    require(_equal(first, second), "two episodes from the same seed and actions differ")
    # Gymnasium annotates an integer only, yet its own vector environments take a list.
    seeds: Any = [_SEED + row for row in range(envs.num_envs)]
    listed = envs.reset(seed=seeds)
    require(_equal(first[0], listed), "seed=s and seed=[s, s + 1, ...] start differently")


def _check_options(envs: VectorEnv[Any, Any, Any], _steps: int) -> None:
    before, _ = envs.reset(seed=_SEED)
    mask = np.zeros(envs.num_envs, dtype=np.bool_)
    mask[0] = True
    options = {"reset_mask": mask}
    after, infos = envs.reset(options=options)
    require("reset_mask" in options and mask[0], "reset() changes the caller's options")
    for row in range(1, envs.num_envs):
        require(
            _equal(_row(before, row), _row(after, row)),
            f"reset() changed row {row}, which reset_mask leaves out",
        )
    for key, value in infos.items():
        if key.startswith("_"):
            require(not _host(value)[1:].any(), f"infos[{key!r}] marks rows that were not reset")


def _check_autoreset(envs: VectorEnv[Any, Any, Any], steps: int) -> None:
    mode = envs.metadata["autoreset_mode"]
    envs.reset(seed=_SEED)
    ended = np.zeros(envs.num_envs, dtype=np.bool_)
    for _ in range(steps):
        _, rewards, terminated, truncated, infos = envs.step(_act(envs))
        now = _host(terminated) | _host(truncated)
        if mode is AutoresetMode.NEXT_STEP:
            quiet = not now[ended].any() and not _host(rewards)[ended].any()
            require(quiet, "the step that resets a row must pay 0 and not end it")
        if mode is AutoresetMode.SAME_STEP and now.any():
            for key in ("final_obs", "final_info"):
                require(key in infos, f"an episode ended, and the infos have no {key!r}")
                marked = _host(infos[f"_{key}"])
                require(np.array_equal(marked, now), f"'_{key}' does not mark the ended rows")
        _reset_finished(envs, now)
        ended = now


def _check_masks(envs: VectorEnv[Any, Any, Any], _steps: int) -> None:
    _, infos = envs.reset(seed=_SEED)
    if "action_mask" in infos:
        dtype = _host(infos["action_mask"]).dtype
        require(dtype == np.int8, f"infos['action_mask'] is {dtype}; Space.sample wants int8")
    masks = _masks(envs)
    if masks is not None:
        require(masks.dtype == np.bool_, f"action_masks() returns {masks.dtype}, not bool")
        require(len(masks) == envs.num_envs, f"action_masks() returns {len(masks)} rows")
        require(bool(masks.any(axis=1).all()), "a row has no legal action")


def _check_observation(envs: VectorEnv[Any, Any, Any], observation: Any) -> None:
    host = _map(_host, observation)
    require(host in envs.observation_space, "an observation is not in observation_space")


def _check_infos(count: int, infos: Mapping[str, Any]) -> None:
    for key, value in infos.items():
        if key.startswith("_"):
            mask = _host(value)
            require(
                mask.shape == (count,) and mask.dtype == np.bool_,
                f"infos[{key!r}] is {mask.dtype} of shape {mask.shape}, no mask of {count} rows",
            )
            continue
        require(f"_{key}" in infos, f"infos[{key!r}] has no mask {f'_{key}'!r}")
        if key == "final_obs" and isinstance(value, dict):
            continue
        if isinstance(value, dict):
            _check_infos(count, value)
            continue
        is_array = isinstance(value, np.ndarray) or hasattr(value, "cpu")
        require(
            is_array and len(value) == count,
            f"infos[{key!r}] is a {type(value).__name__}, no array of {count} rows",
        )


def _rollout(envs: VectorEnv[Any, Any, Any], steps: int) -> list[Any]:
    returned = []
    for _ in range(steps):
        returned.append(envs.step(_act(envs)))
        _reset_finished(envs, _host(returned[-1][2]) | _host(returned[-1][3]))
    return returned


def _reset_finished(envs: VectorEnv[Any, Any, Any], ended: npt.NDArray[np.bool_]) -> None:
    if envs.metadata["autoreset_mode"] is AutoresetMode.DISABLED and ended.any():
        envs.reset(options={"reset_mask": ended})


def _act(envs: VectorEnv[Any, Any, Any]) -> Any:
    masks, single = _masks(envs), envs.single_action_space
    actions = envs.action_space.sample()
    if masks is not None and isinstance(single, spaces.Discrete):
        # The batch's own draw, moved on to the next legal action, so that its seed decides.
        legal = [np.flatnonzero(mask) for mask in masks]
        actions = np.array(
            [row[action % len(row)] for row, action in zip(legal, actions, strict=True)]
        )
    if envs.metadata.get("torch"):
        import torch

        return torch.as_tensor(actions, device=getattr(envs, "device", "cpu"))
    return actions


def _masks(envs: VectorEnv[Any, Any, Any]) -> npt.NDArray[Any] | None:
    method = getattr(envs, "action_masks", None)
    return None if method is None else _host(method())


def _host(value: Any) -> npt.NDArray[Any]:
    return np.asarray(value.cpu() if hasattr(value, "cpu") else value)


def _row(observation: Any, row: int) -> Any:
    return _map(lambda leaf: _host(leaf)[row], observation)


def _map(function: Callable[[Any], Any], value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _map(function, item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(_map(function, item) for item in value)
    return function(value)


def _equal(first: Any, second: Any) -> bool:
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(_equal(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(_equal, first, second))
    left, right = _host(first), _host(second)
    if left.dtype == object and left.ndim == 0:
        return bool(first == second)
    if left.dtype == object:
        return left.shape == right.shape and all(map(_equal, left.tolist(), right.tolist()))
    return np.array_equal(left, right, equal_nan=left.dtype.kind == "f")
