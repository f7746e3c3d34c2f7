"""Conventions of Gymnasium's vector environments, checked on anybody's.

Nothing here knows of texts. ``textgym.testing`` is where these checks are offered.
"""

from __future__ import annotations

import copy
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from textgym.dynamics.masks import action_parts
from textgym.dynamics.states import on_device_of
from textgym.testing.findings import require, run_checks
from textgym.testing.moments import check_copies, check_snapshots, pickled
from textgym.testing.parity import check_parity
from textgym.testing.rolls import (
    draw_actions,
    equal,
    host,
    map_leaves,
    masks_of,
    pair_masks_of,
    reset_finished,
    roll,
    rows_of_observation,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import gymnasium as gym
    import numpy.typing as npt
    from gymnasium.vector import VectorEnv

__all__ = ["check_vector_env"]

_SEED = 123
_TURNS = (-3, -2, -1, 1, 2)
_REFUSALS = 8  # steps before which actions are tried that must be refused


def check_vector_env(
    envs: VectorEnv[Any, Any, Any],
    *,
    steps: int = 100,
    single: Callable[[], gym.Env[Any, Any]] | None = None,
) -> None:
    """Checks a vector environment against Gymnasium's conventions, the unwritten ones included.

    It is reset and stepped with random actions (legal ones, if it has ``action_masks``, also for
    ``MultiDiscrete``, and legal pairs, if it has ``pair_masks``) and left in no particular state.
    What is checked: the spaces and their batches; shapes and dtypes; that infos are arrays of
    length N with ``_key`` masks; that nothing returned is written to again; that a seed repeats an
    episode and row i has the seed ``seed + i``; that ``options`` are left alone; what the autoreset
    mode promises; masks; that an action outside the space raises and changes nothing, in no row,
    where actions are numbers; that deep copies and pickles of it, where they can be made, go on as
    it does, and that ``restore_state``, if it has it, goes back to where ``save_state`` was called,
    all in the middle of episodes. With ``single``, also that every row is bit for bit such an
    environment, as in Gymnasium's ``SyncVectorEnv``.

    Args:
        envs: The environment.
        steps: How long to step; at least one episode should end within it.
        single: Makes one of the environments that it is a batch of.

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
        _check_refusals,
        partial(check_copies, make=copy.deepcopy, name="deep copy"),
        partial(check_copies, make=pickled, name="pickle"),
        check_snapshots,
    ]
    if single is not None:
        checks.append(partial(check_parity, single=single))
    run_checks(type(envs).__name__, [partial(check, envs, steps) for check in checks])


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
        observation, rewards, terminated, truncated, infos = envs.step(draw_actions(envs))
        _check_observation(envs, observation)
        _check_infos(envs.num_envs, infos)
        for name, value, kind in (
            ("rewards", rewards, "f"),
            ("terminations", terminated, "b"),
            ("truncations", truncated, "b"),
        ):
            array = host(value)
            require(
                array.shape == (envs.num_envs,) and array.dtype.kind == kind,
                f"{name} are {array.dtype} of shape {array.shape}",
            )
        reset_finished(envs, host(terminated) | host(truncated))


def _check_aliasing(envs: VectorEnv[Any, Any, Any], steps: int) -> None:
    kept: list[Any] = [envs.reset(seed=_SEED)]
    snapshots = [copy.deepcopy(kept[0])]
    for _ in range(steps):
        returned = envs.step(draw_actions(envs))
        kept.append(returned)
        snapshots.append(copy.deepcopy(returned))
        reset_finished(envs, host(returned[2]) | host(returned[3]))
    envs.reset(seed=_SEED)
    for number, (before, now) in enumerate(zip(snapshots, kept, strict=True)):
        require(equal(before, now), f"what call {number} returned was written to by a later call")


def _check_seeding(envs: VectorEnv[Any, Any, Any], steps: int) -> None:
    envs.action_space.seed(_SEED)
    first = [envs.reset(seed=_SEED), *roll(envs, steps)]
    envs.action_space.seed(_SEED)
    second = [envs.reset(seed=_SEED), *roll(envs, steps)]
    require(equal(first, second), "two episodes from the same seed and actions differ")
    # Gymnasium annotates an integer only, yet its own vector environments take a list.
    seeds: Any = [_SEED + row for row in range(envs.num_envs)]
    listed = envs.reset(seed=seeds)
    require(equal(first[0], listed), "seed=s and seed=[s, s + 1, ...] start differently")


def _check_options(envs: VectorEnv[Any, Any, Any], _steps: int) -> None:
    before, _ = envs.reset(seed=_SEED)
    mask = np.zeros(envs.num_envs, dtype=np.bool_)
    mask[0] = True
    options = {"reset_mask": mask}
    after, infos = envs.reset(options=options)
    require("reset_mask" in options and mask[0], "reset() changes the caller's options")
    pairs = zip(*(rows_of_observation(envs, batch) for batch in (before, after)), strict=True)
    for row, (left, right) in enumerate(pairs):
        require(
            row == 0 or equal(left, right),
            f"reset() changed row {row}, which reset_mask leaves out",
        )
    for key, value in infos.items():
        if key.startswith("_"):
            require(not host(value)[1:].any(), f"infos[{key!r}] marks rows that were not reset")


def _check_autoreset(envs: VectorEnv[Any, Any, Any], steps: int) -> None:
    mode = envs.metadata["autoreset_mode"]
    envs.reset(seed=_SEED)
    ended = np.zeros(envs.num_envs, dtype=np.bool_)
    for _ in range(steps):
        _, rewards, terminated, truncated, infos = envs.step(draw_actions(envs))
        now = host(terminated) | host(truncated)
        if mode is AutoresetMode.NEXT_STEP:
            quiet = not now[ended].any() and not host(rewards)[ended].any()
            require(quiet, "the step that resets a row must pay 0 and not end it")
        if mode is AutoresetMode.SAME_STEP and now.any():
            for key in ("final_obs", "final_info"):
                require(key in infos, f"an episode ended, and the infos have no {key!r}")
                marked = host(infos[f"_{key}"])
                require(np.array_equal(marked, now), f"'_{key}' does not mark the ended rows")
        reset_finished(envs, now)
        ended = now


def _check_masks(envs: VectorEnv[Any, Any, Any], steps: int) -> None:
    _, infos = envs.reset(seed=_SEED)
    _check_mask(envs, infos)
    for _ in range(steps):
        _, _, terminated, truncated, infos = envs.step(draw_actions(envs))
        _check_mask(envs, infos)
        reset_finished(envs, host(terminated) | host(truncated))


def _check_mask(envs: VectorEnv[Any, Any, Any], infos: Mapping[str, Any]) -> None:
    masks, parts = masks_of(envs), action_parts(envs.single_action_space)
    if "action_mask" in infos:
        dtype = host(infos["action_mask"]).dtype
        require(dtype == np.int8, f"infos['action_mask'] is {dtype}; Space.sample wants int8")
    if masks is None or parts is None:
        return
    sizes, _ = parts
    require(masks.dtype == np.bool_, f"action_masks() returns {masks.dtype}, not bool")
    shape = (envs.num_envs, int(sizes.sum()))
    require(masks.shape == shape, f"action_masks() returns the shape {masks.shape}, not {shape}")
    for part, mask in enumerate(np.split(masks, np.cumsum(sizes)[:-1], axis=1)):
        for row in np.flatnonzero(~mask.any(axis=1)):
            where = f" for part {part} of its action" if len(sizes) > 1 else ""
            require(condition=False, message=f"row {row} has no legal action{where}")
    if "action_mask" in infos and "_action_mask" in infos:
        rows = host(infos["_action_mask"])
        same = np.array_equal(host(infos["action_mask"])[rows], masks[rows])
        require(same, "infos['action_mask'] and action_masks() differ")
    pairs = pair_masks_of(envs)
    if pairs is not None:
        _check_pairs(masks, pairs, sizes)


def _check_pairs(
    masks: npt.NDArray[np.bool_], pairs: npt.NDArray[Any], sizes: npt.NDArray[np.int64]
) -> None:
    """That pairs are legal is asked by the actions that are drawn: they must not be refused."""
    shape = (len(masks), *sizes.tolist())
    require(
        pairs.dtype == np.bool_ and pairs.shape == shape,
        f"pair_masks() returns {pairs.dtype} of shape {pairs.shape}, not bool of {shape}",
    )
    together = np.concatenate([pairs.any(axis=2), pairs.any(axis=1)], axis=1)
    for row, place in np.argwhere(masks & ~together).tolist():
        part, value = (0, place) if place < sizes[0] else (1, place - int(sizes[0]))
        require(
            condition=False,
            message=f"action_masks() allows {value} for part {part} of row {row}'s action, and no "
            "pair in pair_masks() has it",
        )


def _check_refusals(envs: VectorEnv[Any, Any, Any], steps: int) -> None:
    parts = action_parts(envs.single_action_space)
    if parts is None:
        return
    envs.action_space.seed(_SEED)
    envs.reset(seed=_SEED)
    undisturbed = roll(envs, steps)
    envs.action_space.seed(_SEED)
    envs.reset(seed=_SEED)
    ended = np.zeros(envs.num_envs, dtype=np.bool_)
    for number, expected in enumerate(undisturbed):
        actions = draw_actions(envs)
        # A row that has just ended may ignore its action.
        if number < _REFUSALS and not ended.any():
            _require_refusals(envs, actions, parts[0])
        returned = envs.step(actions)
        require(
            equal(expected, returned),
            "a step that raised, for an action outside the space, has changed something",
        )
        ended = host(returned[2]) | host(returned[3])
        reset_finished(envs, ended)


def _require_refusals(
    envs: VectorEnv[Any, Any, Any], actions: Any, sizes: npt.NDArray[np.int64]
) -> None:
    """Moves the last row's legal action out of its space, one part at a time.

    It is moved by whole sizes of the space, so that a table that is looked up from its end, or
    counted round, says that it is legal. The last row's, because whoever steps one row after the
    other has stepped all others by then.
    """
    for part, size in enumerate(sizes.tolist()):
        for turns in _TURNS:
            outside = host(actions).astype(np.int64)
            outside.reshape(envs.num_envs, -1)[-1, part] += turns * size
            try:
                envs.step(on_device_of(actions, outside))
            except Exception:  # noqa: S112 - any error is a refusal
                continue
            taken = outside[-1].tolist()
            require(condition=False, message=f"the action {taken} is outside the space, and taken")


def _check_observation(envs: VectorEnv[Any, Any, Any], observation: Any) -> None:
    on_host = map_leaves(host, observation)
    require(on_host in envs.observation_space, "an observation is not in observation_space")


def _check_infos(count: int, infos: Mapping[str, Any]) -> None:
    for key, value in infos.items():
        if key.startswith("_"):
            mask = host(value)
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
