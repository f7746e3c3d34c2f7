"""The judge: what a text is worth, and the people who say so.

What most people come for is here by name, and loaded when it is first asked for, so that importing
this package costs nothing; ``reward_models.preferences``, for one, has more of its kind.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reward_models.card import CardConfig, make_card, read_card_data, write_card
    from reward_models.judging.judge import judge
    from reward_models.learning.settings import RewardTrainingConfig, RewardTrainingData
    from reward_models.learning.training import train_reward_model
    from reward_models.measuring.pairs import evaluate_reward
    from reward_models.models.ensemble import EnsembleReward
    from reward_models.models.transformer import PreferenceModel
    from reward_models.preferences import (
        Answer,
        Pair,
        Preference,
        PreferenceStore,
        read_preferences,
    )
    from reward_models.reading.loading import load_reward

__all__ = [
    "Answer",
    "CardConfig",
    "EnsembleReward",
    "Pair",
    "Preference",
    "PreferenceModel",
    "PreferenceStore",
    "RewardTrainingConfig",
    "RewardTrainingData",
    "evaluate_reward",
    "judge",
    "load_reward",
    "make_card",
    "read_card_data",
    "read_preferences",
    "train_reward_model",
    "write_card",
]

_ROOMS = {
    "Answer": "preferences",
    "CardConfig": "card",
    "EnsembleReward": "models.ensemble",
    "Pair": "preferences",
    "Preference": "preferences",
    "PreferenceModel": "models.transformer",
    "PreferenceStore": "preferences",
    "RewardTrainingConfig": "learning.settings",
    "RewardTrainingData": "learning.settings",
    "evaluate_reward": "measuring.pairs",
    "judge": "judging.judge",
    "load_reward": "reading.loading",
    "make_card": "card",
    "read_card_data": "card",
    "read_preferences": "preferences",
    "train_reward_model": "learning.training",
    "write_card": "card",
}

if not TYPE_CHECKING:  # else any name at all would pass the type checker

    def __getattr__(name: str) -> Any:
        if name not in _ROOMS:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
