"""Contract checks that anybody can run on their own vector environment, reward or task.

Each check raises one ``AssertionError`` that lists everything it found. They are black boxes: they
use the public interface alone. ``check_vector_env`` is for any ``gymnasium.vector.VectorEnv``,
with numpy or torch, and knows nothing of texts.
"""

from __future__ import annotations

from textgym.testing.rewards import check_reward_function
from textgym.testing.tasks import check_task
from textgym.testing.vectors import check_vector_env

__all__ = ["check_reward_function", "check_task", "check_vector_env"]
