"""``textgym train ppo`` and its siblings: their settings, and what learns by them.

Everything is in ``--out``, see ``textgym.cli.policy.running``.

``accelerate launch --multi_gpu --num_processes 2 -m textgym train ppo ...`` trains on two devices
(on CPUs as well, with the same words): each has ``--num-envs`` rows, and the main process writes.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import tyro

from agents.grpo import GRPO, GRPOConfig
from agents.ppo import PPO, PPOConfig
from agents.presets import PRESETS, PresetName
from agents.reinforce import Reinforce, ReinforceConfig
from agents.rloo import RLOO, RLOOConfig
from textgym.cli.parsing import CommandError
from textgym.cli.policy.running import Training, run_training

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

__all__ = [
    "GRPOTraining",
    "PPOTraining",
    "RLOOTraining",
    "ReinforceTraining",
    "start_from_preset",
    "train_grpo",
    "train_ppo",
    "train_reinforce",
    "train_rloo",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class PPOTraining(Training):
    """Train by proximal policy optimisation; the same command goes on after a stop."""

    preset: PresetName | None = None
    """Start from published settings; what --ppo says besides changes them. ``agents/presets.py``
    says what differs from where they come from. They are for models of a hundred million weights
    and more."""
    ppo: PPOConfig = field(default_factory=PPOConfig)
    """The algorithm's settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GRPOTraining(Training):
    """Train by group relative policy optimisation; the same command goes on after a stop."""

    grpo: GRPOConfig = field(default_factory=GRPOConfig)
    """The algorithm's settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RLOOTraining(Training):
    """Train by REINFORCE with a leave-one-out baseline; the same command goes on after a stop."""

    rloo: RLOOConfig = field(default_factory=RLOOConfig)
    """The algorithm's settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReinforceTraining(Training):
    """Train by REINFORCE++; the same command goes on after a stop."""

    reinforce: ReinforceConfig = field(default_factory=ReinforceConfig)
    """The algorithm's settings."""


def start_from_preset(arguments: Sequence[str]) -> PPOTraining:
    """What the command's own flags change: the defaults, or the settings of its ``--preset``.

    Args:
        arguments: The command's words.

    Raises:
        CommandError: If there is no such preset.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--preset", nargs="?")
    name = parser.parse_known_args(arguments)[0].preset
    given: dict[str, Any] = {"env": tyro.MISSING, "out": tyro.MISSING}
    if name in {None, "None"}:
        return PPOTraining(**given)
    if name not in PRESETS:
        raise CommandError(f"--preset {name}: there is no such one; known: {', '.join(PRESETS)}")
    return PPOTraining(**given, preset=name, ppo=PRESETS[name]())


def train_ppo(config: PPOTraining, console: Console | None = None) -> None:
    """Trains by PPO; see ``run_training``."""
    settings = config.ppo
    if config.preset is not None and settings == PPOConfig():  # made by a caller, not by words
        settings = PRESETS[config.preset]()
    run_training(config, lambda policy, envs: PPO(policy, envs, settings), console)


def train_grpo(config: GRPOTraining, console: Console | None = None) -> None:
    """Trains by GRPO; see ``run_training``."""
    run_training(config, lambda policy, envs: GRPO(policy, envs, config.grpo), console)


def train_rloo(config: RLOOTraining, console: Console | None = None) -> None:
    """Trains by RLOO; see ``run_training``."""
    run_training(config, lambda policy, envs: RLOO(policy, envs, config.rloo), console)


def train_reinforce(config: ReinforceTraining, console: Console | None = None) -> None:
    """Trains by REINFORCE++; see ``run_training``."""
    run_training(config, lambda policy, envs: Reinforce(policy, envs, config.reinforce), console)
