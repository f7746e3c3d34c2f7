"""``textgym check``: whether an environment, a reward or a task of anybody's keeps its contract."""

from __future__ import annotations

import contextlib
import io
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
import tyro  # noqa: TC002 - it resolves the annotations below when it is called
from gymnasium.utils.env_checker import check_env
from rich.console import Console

from textgym.cli.console import say
from textgym.cli.parsing import CommandError
from textgym.cli.reward.naming import folders_of, read_spec
from textgym.data.tables import is_table
from textgym.messages import did_you_mean
from textgym.rewards import known_rewards, resolve
from textgym.rewards.factories import is_location, load_attribute
from textgym.tasks import get_task, known_tasks
from textgym.testing import check_reward_function, check_task, check_vector_env
from textgym.types import Task

__all__ = ["CheckConfig", "check_subject"]

Kind = Literal["env", "reward", "task"]
_ROWS = 3
_TEXT_FILES = (".txt", ".md")


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckConfig:
    """Check that an environment, a reward or a task keeps its contract, and list what it breaks.

    An environment is played at random, alone and as a batch; a reward is asked about odd texts; a
    task's splits are read. Leaves with 1 if something is broken.
    """

    name: tyro.conf.Positional[str]
    """An environment's id; a reward's name, folder or JSON; a task's name or file; or
    "module:attribute", where the module may be a file of the current folder."""
    kind: Literal["auto", "env", "reward", "task"] = "auto"
    """What it is; auto finds out. Say env for a function that makes one."""
    env_kwargs: str = "{}"
    """Arguments of an environment as JSON."""
    columns: str = "{}"
    """A value for each column that a reward reads, as JSON, such as '{"reference": "a text"}'."""
    steps: int = 100
    """Steps that a batch of environments is played for. One episode should end within them."""


def check_subject(config: CheckConfig, console: Console | None = None) -> None:
    """Checks, and says what was checked.

    Args:
        config: What to check.
        console: Where to print; ``None`` for the terminal.

    Raises:
        CommandError: If it breaks its contract, or there is no such thing.
        ModuleNotFoundError: If a package is missing; the message says how to get it.
    """
    console = console or Console()
    try:
        kind, subject = _find(config)
    except ValueError as error:
        raise CommandError(str(error)) from error
    checked = {"env": _check_env, "reward": _check_reward, "task": _check_task}[kind]
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always")
        try:
            said = checked(subject, config)
        except AssertionError as error:
            raise CommandError(" ".join(str(error).split())) from error
        except (ValueError, TypeError, gym.error.Error) as error:
            raise CommandError(f"{config.name}: {' '.join(str(error).split())}") from error
    notes = dict.fromkeys(" ".join(str(note.message).split()) for note in noted)
    say(console, *(f"note: {note}" for note in notes))
    say(console, f"{config.name} keeps the contract of {said}")


def _find(config: CheckConfig) -> tuple[Kind, Any]:
    """Finds what a name names, and of which kind that is.

    Raises:
        CommandError: If it names nothing.
        ValueError: If what it names cannot be imported.
    """
    name = config.name
    kind = _kind_of_name(name) if config.kind == "auto" else config.kind
    if kind == "task":
        return kind, (load_attribute("task", name, name) if is_location(name) else name)
    if kind == "reward" or (kind == "env" and ("/" in name or name in gym.registry)):
        return kind, name
    if not is_location(name):
        known = [*gym.registry, *known_rewards(), *known_tasks()]
        raise CommandError(
            f"{name} is no environment, reward or task{did_you_mean(name, known)}; give an id, a "
            'name, a file, a folder, or "module:attribute"'
        )
    found = load_attribute(config.kind if kind else "subject", name, name)
    return kind or _kind_of(found), found


def _kind_of_name(name: str) -> Kind | None:
    """What a name is by its looks; ``None`` if it must be loaded first."""
    if name.startswith(("{", "[")) or name in known_rewards() or folders_of(name):
        return "reward"
    folded = {task.casefold() for task in known_tasks()}
    if name.casefold() in folded or is_table(name) or Path(name).suffix.lower() in _TEXT_FILES:
        return "task"
    return "env" if name in gym.registry or "/" in name.partition(":")[2] else None


def _kind_of(found: Any) -> Kind:
    if isinstance(found, gym.Env | gym.vector.VectorEnv):
        return "env"
    if isinstance(found, type) and issubclass(found, gym.Env | gym.vector.VectorEnv):
        return "env"
    looks = [name for name in vars(Task) if not name.startswith("_")]
    return "task" if "examples" in looks and hasattr(found, "examples") else "reward"


def _check_env(subject: Any, config: CheckConfig) -> str:
    """Checks an environment by itself, and as a batch if it has a batch of its own."""
    kwargs = _read_json(config.env_kwargs, "--env-kwargs")

    def alone() -> Any:
        if isinstance(subject, gym.Env | gym.vector.VectorEnv):
            return subject
        return gym.make(subject, **kwargs) if isinstance(subject, str) else subject(**kwargs)

    made = alone()
    if isinstance(made, gym.vector.VectorEnv):
        check_vector_env(made, steps=config.steps)
        return f"a batch of {made.num_envs} environments"
    if not isinstance(made, gym.Env):
        raise CommandError(f"{config.name} is a {type(made).__name__} and no environment")
    with contextlib.redirect_stdout(io.StringIO()):  # it is rendered as well
        check_env(made.unwrapped)
    batch = gym.make_vec(subject, num_envs=_ROWS, **kwargs) if isinstance(subject, str) else None
    if batch is None or isinstance(batch, gym.vector.SyncVectorEnv):
        return "an environment, by Gymnasium's checks; it has no batch of its own"
    check_vector_env(batch, steps=config.steps, single=alone)
    return f"an environment, alone and in a batch of {_ROWS}, which agree"


def _check_reward(subject: Any, config: CheckConfig) -> str:
    """Checks a reward on odd texts."""
    columns = _read_json(config.columns, "--columns")
    reward = resolve(read_spec(subject) if isinstance(subject, str) else subject)
    missing = [name for name in reward.reads if name not in columns]
    if missing:
        example = json.dumps(dict.fromkeys(missing, "a text"))
        raise CommandError(
            f"{config.name} reads {' and '.join(missing)}: give a value, --columns '{example}'"
        )
    check_reward_function(reward, columns=columns)
    return (
        "a reward: finite scores that repeat themselves, that do not depend on the batch, and "
        "arguments that are left alone"
    )


def _check_task(subject: Any, _: CheckConfig) -> str:
    """Checks a task's splits and prompts."""
    made = subject() if isinstance(subject, type) else subject
    task = get_task(made) if isinstance(made, str) else made
    check_task(task)
    return f"a task: {', '.join(task.splits)}, of which no text is in two"


def _read_json(words: str, option: str) -> dict[str, Any]:
    try:
        given = json.loads(words)
    except json.JSONDecodeError as error:
        raise CommandError(f"{option} is no JSON ({error}): {words}") from error
    if not isinstance(given, dict):
        raise CommandError(f"{option} must be a JSON object, got {words}")
    return given
