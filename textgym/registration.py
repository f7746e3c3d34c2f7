"""The environments' ids: one for each task and kind of action."""

from __future__ import annotations

import gymnasium as gym

from textgym.tasks import known_tasks

__all__ = ["register_ids", "registered_ids"]

_NAMESPACE = "TextGym"
_SUFFIXES = {"append": "", "choose": "-Choose", "edit": "-Edit"}


def register_ids() -> None:
    """Registers every known task with every kind of action, unless it is registered already.

    ``TextGym/<Task>-v0`` appends tokens, ``TextGym/<Task>-Choose-v0`` chooses candidates, and
    ``TextGym/<Task>-Edit-v0`` edits a draft. ``import textgym`` calls this; call it again after
    ``register_task``.
    """
    for task in known_tasks():
        for kind, suffix in _SUFFIXES.items():
            env_id = f"{_NAMESPACE}/{task}{suffix}-v0"
            if env_id not in gym.registry:
                gym.register(
                    env_id,
                    entry_point="textgym.envs.single:TextEnv",
                    vector_entry_point="textgym.envs.vector:TextVectorEnv",
                    kwargs={"task": task, "action_kind": kind},
                )


def registered_ids() -> list[str]:
    """Returns the ids of this package's environments, sorted."""
    return sorted(name for name, spec in gym.registry.items() if spec.namespace == _NAMESPACE)
