"""Several completions of one prompt, side by side: what algorithms without a critic learn from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agents.rollouts.metrics import collection_measures

if TYPE_CHECKING:
    from torch import Tensor

    from agents.rollouts.rollout import Rollout

__all__ = ["group_metrics", "require_contrast", "require_groups"]

_FEWEST = 2


def require_contrast(group: int) -> None:
    """Requires at least two completions of a prompt.

    Raises:
        ValueError: If there are fewer.
    """
    if group < _FEWEST:
        raise ValueError(f"group_size must be at least {_FEWEST}, got {group}")


def require_groups(episodes: int, group: int) -> None:
    """Requires that an iteration's texts are whole groups.

    Raises:
        ValueError: If they are not.
    """
    if episodes % group:
        raise ValueError(
            f"{episodes} texts an iteration are no whole groups of {group}: make episodes, or "
            "num_envs where it is not set, a multiple of that"
        )


def group_metrics(rollout: Rollout, scores: Tensor, group: int) -> dict[str, float]:
    """What is logged of a collection in groups.

    Args:
        rollout: The collection, the completions of a prompt next to each other.
        scores: What each episode was paid, ``(E,)``.
        group: Completions of one prompt.

    Returns:
        ``collection_measures``, and the share of groups whose completions all have one score.
    """
    apart = scores.reshape(-1, group)
    equal = (apart == apart[:, :1]).all(dim=1).float().mean()
    return {**collection_measures(rollout), "groups_without_contrast": float(equal)}
