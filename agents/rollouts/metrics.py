"""What every learner logs of a collection, whatever it learns from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agents.maths.advantages import has_contrast, masked_mean
from textgym.types import StopReason

if TYPE_CHECKING:
    from torch import Tensor

    from agents.rollouts.rollout import Rollout

__all__ = ["collection_metrics", "group_metrics"]


def collection_metrics(rollout: Rollout) -> dict[str, float]:
    """Measures a collection.

    Returns:
        Mean and (population) deviation of what episodes were paid; the mean number of actions; the
        share of texts that ended by themselves; and the entropy, in nats an action, as the mean
        surprisal of the sampled actions.
    """
    paid = rollout.rewards.sum(dim=1)
    return {
        "reward": float(paid.mean()),
        "reward_std": float(paid.std(correction=0)),
        "length": float(rollout.mask.sum(dim=1).float().mean()),
        "ended": float(np.mean(rollout.stop_reasons == StopReason.END_OF_TEXT)),
        "entropy": float(masked_mean(-rollout.log_probs, rollout.mask)),
    }


def group_metrics(rollout: Rollout, scores: Tensor, group: int) -> dict[str, float]:
    """What is logged of a collection in groups.

    Args:
        rollout: The collection, the completions of a prompt next to each other.
        scores: What each episode was paid, ``(N,)``, or for what, ``(N, K)``.
        group: Completions of one prompt.

    Returns:
        ``collection_metrics``, and the share of groups whose completions all have one score.
    """
    equal = (~has_contrast(scores, group)).float().mean()
    return {**collection_metrics(rollout), "groups_without_contrast": float(equal)}
