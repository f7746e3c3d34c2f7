"""What is there to name: ``textgym envs`` lists environments, ``textgym rewards`` rewards."""

from __future__ import annotations

import inspect
import json
import math
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import tyro  # noqa: TC002 - it resolves the annotations below when it is called
from rich.console import Console
from rich.table import Table
from rich.text import Text

from textgym.cli.light import OURS, stand_ins
from textgym.cli.parsing import CommandError
from textgym.registration import registered_ids
from textgym.rewards import known_rewards
from textgym.rewards.calling import ChatReward, FilledReward
from textgym.rewards.registry import find_reward, info_of, locations_of, makes_a_reward
from textgym.rewards.resolving import COMBINATIONS
from textgym.tasks import is_available, required_packages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textgym.rewards import RewardInfo

__all__ = ["EnvsConfig", "RewardsConfig", "list_envs", "list_rewards"]

_MADE_OF_OTHERS = {**COMBINATIONS, "chat": ChatReward, "none_as": FilledReward}


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvsConfig:
    """List the environments that gymnasium.make knows after ``import textgym``."""

    installed: bool = False
    """Only those whose data is installed."""


def list_envs(config: EnvsConfig, console: Console | None = None) -> None:
    """Prints one line for each id.

    Args:
        config: Which ids.
        console: Where to print; ``None`` for the terminal.
    """
    table = Table(box=None, pad_edge=False)
    for title in ("id", "action", "data", "installed"):
        table.add_column(title, no_wrap=True)
    for env_id in registered_ids():
        spec = gym.spec(env_id)
        task = spec.kwargs["task"]
        there = is_available(task)
        if there or not config.installed:
            needs = ", ".join(package.pip for package in required_packages(task)) or "none"
            table.add_row(env_id, spec.kwargs["action_kind"], needs, "yes" if there else "no")
    (console or Console()).print(table)


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardsConfig:
    """List the rewards that can be asked for by name, or explain one of them.

    The name goes into gymnasium.make(..., reward=NAME), or with settings reward={NAME: {...}}.
    `reads` are the columns that a task must have, `range` is where scores lie, and `package` is
    what must be installed besides. Others add names by the entry point group textgym.rewards.
    """

    name: tyro.conf.Positional[str] = ""
    """Explain this reward: what it measures, its settings, and how to ask for it."""
    installed: bool = False
    """Only those whose packages are installed."""


def list_rewards(config: RewardsConfig, console: Console | None = None) -> None:
    """Prints one line for each reward, or a page about one.

    Args:
        config: Which ones.
        console: Where to print; ``None`` for the terminal.

    Raises:
        CommandError: If there is no reward of that name.
        ModuleNotFoundError: If the one to explain cannot be imported; the message says what to
            install.
    """
    console = console or Console()
    if config.name:
        with stand_ins() if _is_ours(config.name) else nullcontext():
            _explain(config.name, console)
        return
    table = Table(box=None, pad_edge=False)
    for title in ("name", "reads", "range", "package", "installed"):
        table.add_column(title, no_wrap=True)
    table.add_column("what it measures", overflow="fold")
    for name, (cells, there) in _lines(known_rewards()).items():
        if there or not config.installed:
            # As plain text: the square brackets of an extra are no markup.
            table.add_row(name, *map(Text, cells))
    console.print(table)
    console.print(
        f"\nmade of others, as {{name: settings}}: {', '.join(_MADE_OF_OTHERS)}\n"
        "`textgym rewards NAME` explains any of these.",
        soft_wrap=True,
    )


def _is_ours(name: str) -> bool:
    """Whether a reward is in this project, whose modules need nothing heavy to be described."""
    return all(home.partition(".")[0] in OURS for home in locations_of(name) or {name})


def _lines(names: Sequence[str]) -> dict[str, tuple[list[str], bool]]:
    """What stands behind each name; other people's modules are imported with all that they need."""
    with stand_ins():
        ours = {name: _line(name) for name in names if _is_ours(name)}
    return {name: ours.get(name) or _line(name) for name in names}


def _line(name: str) -> tuple[list[str], bool]:
    """What stands behind a reward's name, and whether it can be used."""
    try:
        target = find_reward(name)
    except ModuleNotFoundError as error:
        return ["", "", str(error.name), "no", str(error)], False
    except ValueError as error:
        return ["", "", "", "no", str(error)], False
    info = info_of(target)
    package = f"textgym[{info.extra}]" if info.extra else ", ".join(info.needs) or "none"
    return [
        ", ".join(info.reads) or "nothing",
        _range(info),
        package,
        "yes" if info.installed else "no",
        _summary(target),
    ], info.installed


def _range(info: RewardInfo) -> str:
    if info.low is None and info.high is None:
        return "any"
    low, high = info.low, info.high
    left = "(-inf" if low is None or math.isinf(low) else f"[{low:g}"
    return f"{left}, {'inf)' if high is None or math.isinf(high) else f'{high:g}]'}"


def _summary(target: Any) -> str:
    lines = (inspect.getdoc(target) or "nobody said").splitlines()
    return lines[0].rstrip(".").replace("``", "")


def _explain(name: str, console: Console) -> None:
    try:
        target = _MADE_OF_OTHERS.get(name) or find_reward(name)
    except ValueError as error:
        raise CommandError(str(error)) from error
    info = info_of(target)
    console.print(f"[bold]{name}[/bold]  {target.__module__}:{target.__qualname__}\n")
    console.print(inspect.getdoc(target) or "Nobody said what it is.", markup=False)
    if name not in _MADE_OF_OTHERS:
        reads = ", ".join(info.reads) or "nothing"
        console.print(f"\nreads: {reads}\nrange: {_range(info)}", markup=False)
    if info.needs:
        there = "installed" if info.installed else f'pip install "textgym[{info.extra}]"'
        console.print(f"needs: {', '.join(info.needs)} ({there})", markup=False)
    if not makes_a_reward(target):
        console.print(f"\ngymnasium.make(..., reward={json.dumps(name)})", markup=False)
        return
    settings = list(inspect.signature(target).parameters.values())
    console.print("\nsettings:")
    for setting in settings:
        default = "needed" if setting.default is setting.empty else f"default {setting.default!r}"
        console.print(f"  {setting.name}: {setting.annotation}, {default}", markup=False)
    example = f'"{settings[0].name}": ...' if settings else ""
    console.print(
        f'\ngymnasium.make(..., reward={{"{name}": {{{example}}}}})', markup=False, soft_wrap=True
    )
