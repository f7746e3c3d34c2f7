"""``textgym train ppo`` and its siblings: their settings, and what learns by them.

Everything is in ``--out``, see ``textgym.cli.policy.running``.

``accelerate launch --multi_gpu --num_processes 2 -m textgym train ppo ...`` trains on two devices
(on CPUs as well, with the same words): each has ``--num-envs`` rows, and the main process writes.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path  # noqa: TC003  the command line is made from the annotations
from typing import TYPE_CHECKING, Any

import tyro

from agents.grpo import GRPO, GRPOConfig
from agents.ppo import PPO, PPOConfig
from agents.presets import PRESETS, PresetName
from agents.reinforce import Reinforce, ReinforceConfig
from agents.rloo import RLOO, RLOOConfig
from textgym.cli.errors import CommandError
from textgym.cli.policy.running import run_training

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

__all__ = [
    "GRPOTraining",
    "PPOTraining",
    "RLOOTraining",
    "ReinforceTraining",
    "Training",
    "start_from_preset",
    "train_grpo",
    "train_ppo",
    "train_reinforce",
    "train_rloo",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """Train a policy in an environment; the same command goes on after a stop."""

    env: str
    """The environment's id, such as TextGym/Alphabet-v0; ``textgym envs`` lists them."""
    out: Path
    """The folder to write into. If it has checkpoints of the same settings, they are gone on from.
    """
    policy: str = "scratch:gpt2?layers=4&width=256&heads=4"
    """The language model: a folder, smollm2, hub:NAME, or random weights of a size. Where it has a
    tokenizer of its own, the environment takes that, unless --env-kwargs names another."""
    env_kwargs: str = "{}"
    """Arguments of the environment as JSON, such as '{"split": "train", "reward": "vader"}'."""
    num_envs: int = 64
    """Rows that are written at once, by each process. More use the processor better and need more
    memory."""
    lora: int | None = None
    """Rank of adapters to train instead of all weights; None trains all. More can learn more."""
    critic: bool = False
    """Give the values a trunk of their own, which starts as a copy of the policy. It doubles memory
    and time, and keeps returns out of the policy's trunk."""
    total_steps: int | None = None
    """Tokens to write in all; None makes the learner's iterations. More train longer."""
    save_every: int = 10
    """Iterations between checkpoints. More lose more at a kill, and write less."""
    device: str = "cpu"
    """Where everything runs, such as cuda; of several processes, each on a GPU of its own."""


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
