"""One registry of tasks: a name, and what makes the task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textgym.tasks.sentiment import Sentiment
from textgym.tasks.toys import Alphabet, Bandit

if TYPE_CHECKING:
    from collections.abc import Callable

    from textgym.types import Task

__all__ = ["get_task", "known_tasks", "register_task"]

_FACTORIES: dict[str, Callable[[], Task]] = {
    "Alphabet": Alphabet,
    "Bandit": Bandit,
    "Sentiment": Sentiment,
}


def known_tasks() -> list[str]:
    """Returns the names of the registered tasks, sorted."""
    return sorted(_FACTORIES)


def get_task(name: str) -> Task:
    """Makes the task of that name, in whatever case it is written.

    Raises:
        ValueError: If the name is unknown; the message lists the known ones.
    """
    for known, factory in _FACTORIES.items():
        if known.casefold() == name.casefold():
            return factory()
    raise ValueError(f"unknown task {name!r}; known: {', '.join(known_tasks())}")


def register_task(name: str, factory: Callable[[], Task]) -> None:
    """Makes a task known by name, so that an environment can be asked for it in JSON.

    Args:
        name: The task's name; CamelCase by convention.
        factory: Returns the task; called whenever the name is used.

    Raises:
        ValueError: If the name is taken by another factory.
    """
    for known, other in _FACTORIES.items():
        if known.casefold() == name.casefold() and other is not factory:
            raise ValueError(f"there is a task {known!r} already; choose another name")
    _FACTORIES[name] = factory
