"""Text generation as a Gymnasium environment.

``gymnasium.make("textgym:TextGym/Sentiment-v0")`` is the first thing to type. Importing this
package registers its environments and loads neither torch nor transformers.
"""

from __future__ import annotations

from textgym.envs.single import TextEnv
from textgym.envs.vector import TextVectorEnv
from textgym.recording.rescoring import rescore, rescore_many
from textgym.recording.trajectories import Trajectory, read_trajectories
from textgym.registration import register_ids, registered_ids
from textgym.rewards import RewardError, known_rewards, register_reward
from textgym.tasks import get_task, is_available, known_tasks, register_task, required_packages
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
    "read_trajectories",
    "register_ids",
    "register_reward",
    "register_task",
    "registered_ids",
    "required_packages",
    "rescore",
    "rescore_many",
    "train_tokenizer",
]

register_ids()
