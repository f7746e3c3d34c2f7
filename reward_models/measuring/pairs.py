"""How good a reward is at ordering pairs, and how far its confidence can be trusted.

Simplifications: intervals treat pairs as independent, which pairs that share a prompt are not
quite; no temperature is fitted before the calibration is measured. The reward card does both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from reward_models.measuring.calibration import brier, calibration_error, probabilities
from textgym.statistics.proportions import wilson_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reward_models.preferences.pairs import Preference
    from textgym.types import RewardFunction

__all__ = ["PairReport", "evaluate_reward"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PairReport:
    """What a reward is worth on given comparisons.

    Attributes:
        pairs: How many comparisons.
        ties: How many of them got two equal scores; each counts as half right.
        accuracy: Share of pairs that the scores order as the labels do, in [0, 1].
        low: Lower end of the accuracy's 95 % interval (Wilson).
        high: Its upper end.
        brier: Mean of ``(1 - p)^2`` with ``p = sigmoid(chosen - rejected)``; .25 for a coin.
        calibration_error: Expected calibration error of the same ``p``; see there.
    """

    pairs: int
    ties: int
    accuracy: float
    low: float
    high: float
    brier: float
    calibration_error: float


def evaluate_reward(reward: RewardFunction, preferences: Sequence[Preference]) -> PairReport:
    """Scores both completions of each comparison and counts.

    The probabilities behind ``brier`` and ``calibration_error`` take one unit of score for one
    unit of log-odds, which holds for raw Bradley-Terry scores only.

    Args:
        reward: Any reward function that reads no columns.
        preferences: The comparisons, at least one.

    Raises:
        ValueError: If there is no comparison.
    """
    if not preferences:
        raise ValueError("there are no preferences to evaluate on: give at least one")
    prompts = [preference.prompt for preference in preferences]
    texts = [p.chosen for p in preferences] + [p.rejected for p in preferences]
    scores = np.asarray(reward(prompts + prompts, texts), dtype=np.float64)
    delta = scores[: len(prompts)] - scores[len(prompts) :]
    ties = int(np.sum(delta == 0))
    right = float(np.sum(delta > 0)) + ties / 2
    low, high = wilson_interval(right, len(delta))
    probability = probabilities(delta)
    return PairReport(
        pairs=len(delta),
        ties=ties,
        accuracy=right / len(delta),
        low=low,
        high=high,
        brier=brier(probability),
        calibration_error=calibration_error(probability),
    )
