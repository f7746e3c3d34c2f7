"""How good a reward is at ordering pairs, and how far its confidence can be trusted.

Several answers to one pair, and several pairs of one prompt, are no independent trials: what
intervals draw are prompts, or without them texts.

Simplification: no temperature is fitted before the calibration is measured; the reward card does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from textgym.statistics.bootstrap import cluster_mean_interval
from textgym.statistics.calibration import brier, calibration_error, probabilities
from textgym.statistics.linked import Link
from textgym.statistics.proportions import share_interval

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from numpy.typing import NDArray

    from reward_models.preferences.pairs import Preference
    from textgym.types import RewardFunction

__all__ = ["PairReport", "chance_warnings", "drawn_with", "evaluate_reward"]

_COIN = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class PairReport:
    """What a reward is worth on given comparisons.

    Attributes:
        pairs: How many comparisons.
        ties: How many of them got two equal scores; each counts as half right.
        accuracy: Share of pairs that the scores order as the labels do, in [0, 1].
        low: Lower end of the accuracy's 95 % interval, by drawing prompts, or texts without one.
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
    low, high = share_interval(
        (np.sign(delta) + 1) / 2, drawn_with(preferences), np.random.default_rng(0)
    )
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


def chance_warnings(
    right: NDArray[np.float64],
    preferences: Sequence[Preference],
    clusters: Sequence[Hashable],
    rng: np.random.Generator,
) -> list[str]:
    """Says where a reward cannot be told from a coin, or from a look at which text is longer.

    Args:
        right: 1 where the reward orders a pair as people did, .5 where it ties, ``(N,)``.
        preferences: The pairs, ``(N,)``.
        clusters: What each pair belongs to, such as its prompt, ``(N,)``.
        rng: What draws the intervals.

    Returns:
        A line for each; none where the 95 % intervals are clear of both, or where all pairs hang
        together, so that there are no intervals.
    """
    if len(set(clusters)) == 1:
        return []
    said = []
    low, high = share_interval(right, clusters, rng)
    if high < _COIN:
        said.append(
            "worse than a coin: the answers contradict those learned from; are chosen and rejected "
            "swapped in a part of the data?"
        )
    elif low <= _COIN:
        said.append(
            f"no better than a coin, as far as {len(right):,} pairs tell: the accuracy lies "
            f"between {low:.3f} and {high:.3f} (95 %)"
        )
    longer = np.array([(np.sign(len(p.chosen) - len(p.rejected)) + 1) / 2 for p in preferences])
    word = "longer" if longer.mean() >= _COIN else "shorter"
    by_length = longer if word == "longer" else 1 - longer
    low, high = cluster_mean_interval(right - by_length, clusters, rng)
    if low <= 0:
        said.append(
            f"no better than taking the {word} text, which is right in {by_length.mean():.3f}: the "
            f"difference lies between {low:+.3f} and {high:+.3f} (95 %)"
        )
    return said


def drawn_with(pairs: Sequence[Preference]) -> list[Hashable]:
    """What intervals draw each pair with, ``(N,)``: its prompt, or without one its two texts.

    What must stay together of them, because it hangs together, ``textgym.statistics.linked`` says.
    """
    return [p.prompt or Link(*sorted((p.chosen, p.rejected))) for p in pairs]
