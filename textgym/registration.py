"""The environments' ids: one for each task and kind of action."""

from __future__ import annotations

import gymnasium as gym

from textgym.tasks import known_tasks

__all__ = ["register_ids", "registered_ids"]

_NAMESPACE = "TextGym"


def register_ids() -> None:
    """Registers ``TextGym/<Task>-v0`` for every known task that is not registered yet.

    ``import textgym`` calls it; call it again after ``register_task``.
    """
    for task in known_tasks():
        env_id = f"{_NAMESPACE}/{task}-v0"
        if env_id not in gym.registry:
            gym.register(
                env_id,
                entry_point="textgym.env:TextEnv",
                vector_entry_point="textgym.vector:TextVectorEnv",
                kwargs={"task": task},
            )


def registered_ids() -> list[str]:
    """Returns the ids of this package's environments, sorted."""
    return sorted(name for name, spec in gym.registry.items() if spec.namespace == _NAMESPACE)
