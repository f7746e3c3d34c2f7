"""What every learner logs of a collection, whatever it learns from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agents.maths.advantages import masked_mean
from textgym.types import StopReason

if TYPE_CHECKING:
    from agents.rollouts.rollout import Rollout

__all__ = ["collection_measures"]


def collection_measures(rollout: Rollout) -> dict[str, float]:
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
