"""``textgym envs``: every environment's id, its kind of action, and the data that it needs."""

from __future__ import annotations

from dataclasses import dataclass

import gymnasium as gym
from rich.console import Console
from rich.table import Table

from textgym.registration import registered_ids
from textgym.tasks import is_available, required_packages

__all__ = ["EnvsConfig", "list_envs"]


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
