"""One registry of tasks: a name, what makes the task, and the packages that it needs."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from textgym.data.chats import CHATTERBOT
from textgym.data.language_packs import PACKS
from textgym.data.packages import Package
from textgym.data.reviews import REVIEWS
from textgym.data.tables import is_table
from textgym.tasks.arithmetic import Arithmetic
from textgym.tasks.continuation import Continuation
from textgym.tasks.dialogue import Dialogue
from textgym.tasks.files import FileTask, task_from_path
from textgym.tasks.guessing import Guess
from textgym.tasks.question_answering import REASONING_GYM, QuestionAnswering
from textgym.tasks.sentiment import Sentiment
from textgym.tasks.summarization import Summarization
from textgym.tasks.toys import Alphabet, Bandit, Corridor
from textgym.tasks.translation import Translation

if TYPE_CHECKING:
    from collections.abc import Callable

    from textgym.types import Task

__all__ = [
    "FileTask",
    "Package",
    "add_task",
    "get_task",
    "is_available",
    "known_tasks",
    "required_packages",
    "task_from_path",
]

_FACTORIES: dict[str, Callable[[], Task]] = {
    "Alphabet": Alphabet,
    "Arithmetic": Arithmetic,
    "Bandit": Bandit,
    "Continuation": Continuation,
    "Corridor": Corridor,
    "Dialogue": Dialogue,
    "Guess": Guess,
    "QuestionAnswering": QuestionAnswering,
    "Sentiment": Sentiment,
    "Summarization": Summarization,
    "TranslationFrench": functools.partial(Translation, "fr"),
    "TranslationGerman": functools.partial(Translation, "de"),
    "TranslationSpanish": functools.partial(Translation, "es"),
}

_PACKAGES: dict[str, tuple[Package, ...]] = {
    "Dialogue": (CHATTERBOT,),
    "QuestionAnswering": (REASONING_GYM,),
    "Sentiment": (
        REVIEWS,
        Package(module="vaderSentiment", pip="vaderSentiment>=3.3.2"),
    ),
    "TranslationFrench": (PACKS["fr"],),
    "TranslationGerman": (PACKS["de"],),
    "TranslationSpanish": (PACKS["es"],),
}

_TEXT_FILES = (".txt", ".md")


def known_tasks() -> list[str]:
    """Returns the names of the registered tasks, sorted, installed or not; see ``is_available``."""
    return sorted(_FACTORIES)


def get_task(name: str) -> Task:
    """Makes the task of that name, in whatever case it is written, or of a file.

    Args:
        name: A registered name; the path of a file that ``textgym.data.read_rows`` reads, such as
            ``.jsonl``, ``.json``, ``.csv`` or ``.parquet``, or ``datasets:NAME``, for
            ``textgym.tasks.files``, with the names of its columns behind it, if they are others
            than prompt and reference: ``data.csv?prompt=question&reference=answer``; the path of a
            ``.txt`` or ``.md`` file, or of a folder that ``textgym data split`` wrote, for
            ``Continuation``.

    Raises:
        ValueError: If the name is unknown (the message lists the known ones), or a file cannot be
            read.
        FileNotFoundError: If there is no such file.
        ModuleNotFoundError: If a file needs a library that is missing; the message says how to get
            it.
    """
    known = _find(name)
    if known is not None:
        return _FACTORIES[known]()
    if is_table(name.partition("?")[0]):
        return task_from_path(name)
    if Path(name).suffix.lower() in _TEXT_FILES or Path(name).is_dir():
        return Continuation(path=name)
    raise ValueError(
        f"unknown task {name!r}; known: {', '.join(known_tasks())}; or give the path of a .jsonl, "
        f".json, .csv, .tsv, .parquet, {' or '.join(_TEXT_FILES)} file, of a folder of textgym "
        "data split, or datasets:NAME"
    )


def add_task(name: str, factory: Callable[[], Task], packages: tuple[Package, ...] = ()) -> None:
    """Makes a task known by name; ``textgym.register_task`` gives it its ids as well.

    Args:
        name: The task's name.
        factory: Returns the task; called whenever the name is used.
        packages: The packages that the task needs.

    Raises:
        ValueError: If the name is taken by another factory.
    """
    known = _find(name)
    if known is not None and _FACTORIES[known] is not factory:
        raise ValueError(f"there is a task {known!r} already; choose another name")
    _FACTORIES[name] = factory
    _PACKAGES[name] = packages


def required_packages(name: str) -> tuple[Package, ...]:
    """Returns the packages that a task and its default reward need beside this one's own.

    Args:
        name: A registered name, in any case.

    Raises:
        ValueError: If the name is unknown; the message lists the known ones.
    """
    known = _find(name)
    if known is None:
        raise ValueError(f"unknown task {name!r}; known: {', '.join(known_tasks())}")
    return _PACKAGES.get(known, ())


def is_available(name: str) -> bool:
    """Says whether a task's packages are installed; imports none of them.

    Args:
        name: A registered name, in any case.

    Raises:
        ValueError: If the name is unknown; the message lists the known ones.
    """
    return all(package.is_installed() for package in required_packages(name))


def _find(name: str) -> str | None:
    return next((known for known in _FACTORIES if known.casefold() == name.casefold()), None)
