"""What recorded completions are worth under another reward."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from textgym import rewards

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from textgym.recording.trajectories import Trajectory

__all__ = ["rescore", "rescore_many"]


def rescore(
    trajectories: Sequence[Trajectory],
    reward: Any,
    reward_kwargs: Mapping[str, Any] | None = None,
    batch_size: int = 64,
) -> list[float]:
    """Scores the completions of trajectories, as an environment with this reward would have.

    Of a conversation, the agent's turns are scored, joined by line breaks, as they were then. An
    episode that was cut is scored too, as if its text had been finished there.

    Args:
        trajectories: From ``read_trajectories``.
        reward: What ``textgym.rewards.resolve`` takes: a name, ``"module:attribute"``, a folder, a
            callable, or a list of ``[reward, weight]`` pairs.
        reward_kwargs: If given, ``reward`` names a factory that is called with them.
        batch_size: How many completions the reward gets at once.

    Returns:
        One score per trajectory, in their order.

    Raises:
        ValueError: If ``batch_size`` is not positive, the reward is unknown, or trajectories have
            different columns.
        RewardError: If the reward fails; a column that it needs and JSON has not is missing.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be positive, got {batch_size}")
    function = rewards.resolve(reward, reward_kwargs)
    names = set(trajectories[0].columns) if trajectories else set()
    for number, trajectory in enumerate(trajectories):
        if set(trajectory.columns) != names:
            raise ValueError(
                f"trajectory {number} has the columns {sorted(trajectory.columns)}, but the first "
                f"has {sorted(names)}; rescore the trajectories of one task at a time"
            )
    scores: list[float] = []
    for start in range(0, len(trajectories), batch_size):
        batch = trajectories[start : start + batch_size]
        columns: dict[str, list[Any]] = {
            name: [trajectory.columns[name] for trajectory in batch] for name in names
        }
        if function.reads_ids:
            columns["completion_ids"] = [list(trajectory.completion_ids) for trajectory in batch]
        scores += function(
            [trajectory.prompt for trajectory in batch],
            [trajectory.completion for trajectory in batch],
            **columns,
        )
    return scores


def rescore_many(
    trajectories: Sequence[Trajectory], reward_table: Mapping[str, Any], batch_size: int = 64
) -> dict[str, list[float]]:
    """Scores the same completions under several rewards, to compare them.

    Args:
        trajectories: From ``read_trajectories``.
        reward_table: A reward for each name of the caller's choice; see ``rescore``.
        batch_size: How many completions a reward gets at once.

    Returns:
        For each name one score per trajectory.

    Raises:
        ValueError: As ``rescore``.
        RewardError: As ``rescore``.
    """
    return {
        name: rescore(trajectories, reward, batch_size=batch_size)
        for name, reward in reward_table.items()
    }
