"""Text generation as a Gymnasium environment.

``gymnasium.make("textgym:TextGym/Sentiment-v0")`` is the first thing to type. Importing this
package registers its environments; everything else is loaded when it is first asked for, and
neither torch nor transformers before they are needed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from textgym.registration import register_ids, register_task, registered_ids

if TYPE_CHECKING:
    from textgym.dynamics.masks import split_mask
    from textgym.envs.single import TextEnv
    from textgym.envs.vector import TextVectorEnv
    from textgym.recording.minari import read_minari, write_minari
    from textgym.recording.rescoring import rescore, rescore_many
    from textgym.recording.trajectories import Trajectory, read_trajectories
    from textgym.rewards import RewardError, known_rewards, register_reward
    from textgym.tasks import get_task, is_available, known_tasks, required_packages
    from textgym.tokenizers import load_tokenizer, train_tokenizer
    from textgym.types import Conversation, Example, RewardFunction, StopReason, Task, Tokenizer

__all__ = [
    "Conversation",
    "Example",
    "RewardError",
    "RewardFunction",
    "StopReason",
    "Task",
    "TextEnv",
    "TextVectorEnv",
    "Tokenizer",
    "Trajectory",
    "get_task",
    "is_available",
    "known_rewards",
    "known_tasks",
    "load_tokenizer",
    "read_minari",
    "read_trajectories",
    "register_ids",
    "register_reward",
    "register_task",
    "registered_ids",
    "required_packages",
    "rescore",
    "rescore_many",
    "split_mask",
    "train_tokenizer",
    "write_minari",
]

_MODULES = {
    "textgym.dynamics.masks": ("split_mask",),
    "textgym.envs.single": ("TextEnv",),
    "textgym.envs.vector": ("TextVectorEnv",),
    "textgym.recording.minari": ("read_minari", "write_minari"),
    "textgym.recording.rescoring": ("rescore", "rescore_many"),
    "textgym.recording.trajectories": ("Trajectory", "read_trajectories"),
    "textgym.rewards": ("RewardError", "known_rewards", "register_reward"),
    "textgym.tasks": (
        "get_task",
        "is_available",
        "known_tasks",
        "required_packages",
    ),
    "textgym.tokenizers": ("load_tokenizer", "train_tokenizer"),
    "textgym.types": (
        "Conversation",
        "Example",
        "RewardFunction",
        "StopReason",
        "Task",
        "Tokenizer",
    ),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}
_ROOMS = (
    "constraints",
    "dynamics",
    "envs",
    "proposing",
    "recording",
    "rendering",
    "rewards",
    "testing",
    "tokenizers",
    "wrappers",
)


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_ROOMS})


register_ids()
