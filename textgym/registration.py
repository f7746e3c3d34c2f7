"""The environments' ids: one for each task and kind of action."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gymnasium as gym
from gymnasium.envs.registration import parse_env_id

from textgym.messages import shown
from textgym.tasks import add_task, known_tasks

if TYPE_CHECKING:
    from collections.abc import Callable

    from textgym.data.packages import Package
    from textgym.types import Task

__all__ = ["register_ids", "register_task", "registered_ids"]

_NAMESPACE = "TextGym"
_SUFFIXES = {"append": "", "choose": "-Choose", "edit": "-Edit"}


def register_task(
    name: str, factory: Callable[[], Task], packages: tuple[Package, ...] = ()
) -> None:
    """Makes a task known by name, so that an environment can be asked for it in JSON, and its ids.

    ``TextGym/<name>-v0`` appends tokens, ``TextGym/<name>-Choose-v0`` chooses candidates, and
    ``TextGym/<name>-Edit-v0`` edits a draft.

    Args:
        name: The task's name; CamelCase by convention.
        factory: Returns the task; called whenever the name is used.
        packages: The packages that the task needs.

    Raises:
        ValueError: If the name is taken by another factory, or can be no part of an id. Nothing is
            registered then.
    """
    if not isinstance(name, str) or not all(_can_be_an_id(name, kind) for kind in _SUFFIXES):
        raise ValueError(
            f"a task's name is a part of its ids, in which Gymnasium takes letters, digits and any "
            f"of _:.- alone; got {shown(name)}"
        )
    known = {task.casefold() for task in known_tasks()}
    for kind in _SUFFIXES:
        if name.casefold() not in known and _id_of(name, kind) in gym.registry:
            raise ValueError(f"there is an environment {_id_of(name, kind)!r} already")
    add_task(name, factory, packages)
    register_ids()


def register_ids() -> None:
    """Registers every known task with every kind of action, unless it is registered already.

    ``import textgym`` and ``register_task`` call this; call it again where ids were taken out of
    Gymnasium's registry.
    """
    for task in known_tasks():
        for kind in _SUFFIXES:
            if _id_of(task, kind) not in gym.registry:
                gym.register(
                    _id_of(task, kind),
                    entry_point="textgym.envs.single:TextEnv",
                    vector_entry_point="textgym.envs.vector:TextVectorEnv",
                    kwargs={"task": task, "action_kind": kind},
                )


def registered_ids() -> list[str]:
    """Returns the ids of this package's environments, sorted."""
    return sorted(name for name, spec in gym.registry.items() if spec.namespace == _NAMESPACE)


def _id_of(task: str, kind: str) -> str:
    return f"{_NAMESPACE}/{task}{_SUFFIXES[kind]}-v0"


def _can_be_an_id(task: str, kind: str) -> bool:
    try:
        return parse_env_id(_id_of(task, kind)) == (_NAMESPACE, f"{task}{_SUFFIXES[kind]}", 0)
    except gym.error.Error:
        return False
