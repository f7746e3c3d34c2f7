"""Recorded episodes as a data set of Minari, Farama's format for offline learning, and back.

What ``RecordTrajectories`` writes are actions and texts, and Minari keeps an observation for every
step. They are made again by playing the actions in the environment, which does the same to the
same. Rewards are those that were recorded.

Simplification: a trajectory travels whole, as JSON in the first info of its episode, so only data
sets that were written here can be read here; their arrays can be read by anybody.
"""

from __future__ import annotations

import dataclasses
import json
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from textgym.messages import shown
from textgym.recording.trajectories import parse_trajectory

if TYPE_CHECKING:
    from collections.abc import Sequence

    import gymnasium as gym
    from minari import MinariDataset

    from textgym.recording.trajectories import Trajectory

__all__ = ["read_minari", "write_minari"]

_KEY = "trajectory"


def write_minari(
    trajectories: Sequence[Trajectory],
    env: gym.Env[Any, Any],
    dataset_id: str,
    **described: Any,
) -> MinariDataset:
    """Writes episodes as a data set, where Minari keeps its own: ``$MINARI_DATASETS_PATH``.

    Args:
        trajectories: What ``read_trajectories`` returned.
        env: An environment as they were recorded in, with the observations that are to be kept. Its
            reward is asked again, and not believed.
        dataset_id: The data set's name, such as ``"textgym/alphabet-v0"``.
        **described: What ``minari.create_dataset_from_buffers`` takes besides, such as ``author``.

    Returns:
        The data set.

    Raises:
        ModuleNotFoundError: If Minari is not installed; the message says how to get it.
        ValueError: If there are none, there is such a data set, or the environment does not make of
            the actions what was recorded.
    """
    minari = _import_minari()
    if not trajectories:
        raise ValueError("there are no trajectories to be written")
    buffers = [_play(env, trajectory, number) for number, trajectory in enumerate(trajectories)]
    with warnings.catch_warnings():
        # It would rather know an author, a mail address and so on; who has them gives them.
        warnings.filterwarnings("ignore", category=UserWarning, module="minari")
        return minari.create_dataset_from_buffers(
            dataset_id, buffers, env=env, eval_env=env, **described
        )


def read_minari(dataset: str | MinariDataset) -> list[Trajectory]:
    """Reads the trajectories of a data set that ``write_minari`` wrote, in their order.

    Args:
        dataset: Its name, or what ``minari.load_dataset`` returned.

    Raises:
        ModuleNotFoundError: If Minari is not installed; the message says how to get it.
        FileNotFoundError: If there is no data set of that name.
        ValueError: If it was written by somebody else.
    """
    if isinstance(dataset, str):
        dataset = _import_minari().load_dataset(dataset)
    read = []
    for number, episode in enumerate(dataset):
        kept = (episode.infos or {}).get(_KEY)
        if kept is None:
            raise ValueError(
                f"episode {number} of {dataset.id} has no {_KEY!r} in its infos: it was not "
                "written by textgym.write_minari"
            )
        read.append(parse_trajectory(kept[0], f"episode {number} of {dataset.id}"))
    return read


def _play(env: gym.Env[Any, Any], trajectory: Trajectory, number: int) -> Any:
    """Plays a trajectory's actions; returns Minari's buffer of its episode."""
    from minari.data_collector import EpisodeBuffer

    other = f"trajectory {number} was recorded in another environment than this one"
    try:
        observations = _played(env, trajectory)
    except ValueError as error:
        raise ValueError(f"{other}: {error}") from error
    inner: Any = env.unwrapped
    count, written = len(trajectory.actions), inner.text()[1]
    if len(observations) <= count or written != trajectory.completion:
        raise ValueError(
            f"{other}, or from a draft that was drawn without a seed: its actions write "
            f"{shown(written)} here, and wrote {shown(trajectory.completion)}"
        )
    last = np.arange(count) == count - 1
    line = json.dumps(dataclasses.asdict(trajectory))
    return EpisodeBuffer(
        seed=trajectory.seed,
        observations=_stacked(observations),
        actions=np.array(trajectory.actions, dtype=np.int64),
        rewards=list(trajectory.rewards),
        terminations=list(last & (not trajectory.truncated)),
        truncations=list(last & trajectory.truncated),
        infos={_KEY: [line, *[""] * count]},
    )


def _played(env: gym.Env[Any, Any], trajectory: Trajectory) -> list[Any]:
    """Returns what is observed while a trajectory's actions are done, until an episode ends."""
    observations = [_begin(env, trajectory)]
    for action in trajectory.actions:
        observation, _, terminated, truncated, _ = env.step(np.asarray(action))
        observations.append(observation)
        if terminated or truncated:
            break
    return observations


def _begin(env: gym.Env[Any, Any], trajectory: Trajectory) -> Any:
    """Starts the episode again: drawn by the seed, if that draws its example, or by its number."""
    number, seed = trajectory.example_id, trajectory.seed
    if seed is not None:
        observation, info = env.reset(seed=seed)
        if info["example_id"] == number >= 0:
            return observation
    given = {"prompt": trajectory.prompt} if number < 0 else {"example_id": number}
    return env.reset(seed=seed, options=given)[0]


def _stacked(observations: Sequence[Any]) -> Any:
    if isinstance(observations[0], dict):
        return {key: _stacked([one[key] for one in observations]) for key in observations[0]}
    return np.stack(observations)


def _import_minari() -> Any:
    try:
        import h5py  # noqa: F401 - it is how Minari writes, and an extra of it
        import minari
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"data sets of Minari need the package {error.name!r}, which is not installed; "
            'pip install "textgym[minari]"',
            name=error.name,
        ) from error
    return minari
