"""Rewards: how one is named, looked up, called, checked, and made of others.

``resolve`` turns whatever names a reward into one that can be called. Every reward runs behind one
check, so that a failing or senseless score stops the run at once and shows the text that caused it.
"""

from __future__ import annotations

from textgym.rewards.checking import CheckedReward, RewardError, Scorer
from textgym.rewards.combining import Combination, WeightedReward
from textgym.rewards.registry import RewardInfo, describe, known_rewards, register_reward
from textgym.rewards.resolving import resolve

__all__ = [
    "CheckedReward",
    "Combination",
    "RewardError",
    "RewardInfo",
    "Scorer",
    "WeightedReward",
    "describe",
    "known_rewards",
    "register_reward",
    "resolve",
]
