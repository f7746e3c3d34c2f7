"""``textgym train ppo`` and its siblings: a policy, an environment, and what came of it.

Everything is in ``--out``: ``checkpoints/`` (the same command goes on from the last one), ``logs/``
(CSV, JSON and TensorBoard), ``policy/`` at the end, and ``config.json``.

``accelerate launch --multi_gpu --num_processes 2 -m textgym train ppo ...`` trains on two devices
(on CPUs as well, with the same words): each has ``--num-envs`` rows, and the main process writes.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path  # noqa: TC003  the command line is made from the annotations
from typing import TYPE_CHECKING, Any

import gymnasium as gym
from gymnasium.error import Error as GymnasiumError
from rich.console import Console

from agents.adapters import AdapterConfig
from agents.grpo import GRPO, GRPOConfig
from agents.guards import GuardError
from agents.loading import load_model
from agents.policy import TransformerPolicy
from agents.ppo import PPO, PPOConfig
from agents.presets import PRESETS, PresetName
from agents.processes import current_processes
from agents.reinforce import Reinforce, ReinforceConfig
from agents.rloo import RLOO, RLOOConfig
from agents.sb3_logger import open_logger
from textgym.checkpoints import checkpoint_folder, last_checkpoint, prune, write_json
from textgym.cli.errors import CommandError
from textgym.cli.quiet import use_quiet_transformers
from textgym.rewards import RewardError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agents.agent import Agent
    from textgym.vector import TextVectorEnv

__all__ = [
    "GRPOTraining",
    "PPOTraining",
    "RLOOTraining",
    "ReinforceTraining",
    "Training",
    "train_grpo",
    "train_ppo",
    "train_reinforce",
    "train_rloo",
]

_KEPT = 2  # checkpoints


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """Train a policy in an environment; the same command goes on after a stop."""

    env: str
    """The environment's id; ``textgym envs`` lists them."""
    out: Path
    """The folder to write into. If it has checkpoints of the same settings, they are gone on from.
    """
    policy: str = "scratch:gpt2?layers=4&width=256&heads=4"
    """The language model: a folder, smollm2, hub:NAME, or random weights of a size."""
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
    """Take published settings instead of the below; ``agents/presets.py`` says what differs from
    where they come from. They are for models of a hundred million weights and more."""
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


def train_ppo(config: PPOTraining, console: Console | None = None) -> None:
    """Trains by PPO; see ``Training``.

    Raises:
        CommandError: If both a preset and settings are given, or as the others.
    """
    settings = config.ppo
    if config.preset is not None:
        if settings != PPOConfig():
            raise CommandError("--preset sets all of --ppo: give one of them")
        settings = PRESETS[config.preset]()
    _train(config, PPO, settings, console)


def train_grpo(config: GRPOTraining, console: Console | None = None) -> None:
    """Trains by GRPO; see ``Training``."""
    _train(config, GRPO, config.grpo, console)


def train_rloo(config: RLOOTraining, console: Console | None = None) -> None:
    """Trains by RLOO; see ``Training``."""
    _train(config, RLOO, config.rloo, console)


def train_reinforce(config: ReinforceTraining, console: Console | None = None) -> None:
    """Trains by REINFORCE++; see ``Training``."""
    _train(config, Reinforce, config.reinforce, console)


def _train(config: Training, kind: Any, settings: Any, console: Console | None) -> None:
    use_quiet_transformers()
    try:
        processes = current_processes(config.device)
        console = (console or Console()) if processes.is_main else Console(quiet=True)
        _require_same(config)
        envs = _make_envs(config)
        agent: Agent = kind(_make_policy(config, envs), envs, settings)
        last = last_checkpoint(config.out / "checkpoints")
        if last is not None:
            agent.restore(last)
            console.print(f"goes on after iteration {agent.iteration}", highlight=False)
    except (ValueError, TypeError, GymnasiumError, OSError, RuntimeError, AssertionError) as error:
        # torch has the last two for a device that is not there.
        raise CommandError(" ".join(str(error).split())) from error
    agent.failure_folder = config.out
    if not processes.is_main:
        _follow(agent, config)
        return
    write_json(config.out / "config.json", _as_json(config))
    history: list[Mapping[str, float]] = []

    def after_iteration(known: dict[str, Any], _: dict[str, Any]) -> bool:
        history.append(known["metrics"])
        if agent.iteration % config.save_every == 0:
            _save(agent, config)
        return True

    logger = open_logger(config.out / "logs")
    try:
        agent.learn(config.total_steps, after_iteration, logger=logger, progress_bar=True)
    except GuardError as error:
        raise CommandError(str(error)) from error
    except RewardError:
        # That iteration has changed nothing, so the ones before it are worth keeping. After any
        # other stop weights may be half-way through an update.
        if history:
            _save(agent, config)
        processes.exchange(None)
        raise
    finally:
        logger.close()
    if history:
        _save(agent, config)
    agent.policy.save_pretrained(config.out / "policy")
    _summarise(agent, history, config, console)


def _follow(agent: Agent, config: Training) -> None:
    """Trains as one of the processes that are not the main one."""
    try:
        agent.learn(config.total_steps)
    except GuardError as error:
        raise CommandError(str(error)) from error
    except RewardError:
        # A launcher ends all processes once one has ended, and the main one is saving.
        agent.processes.exchange(None)
        raise


def _as_json(config: Training) -> dict[str, Any]:
    return json.loads(json.dumps(asdict(config), default=str))  # type: ignore[no-any-return] # it is an object


def _require_same(config: Training) -> None:
    """Requires that what is gone on from was made in the same way.

    Raises:
        ValueError: If it was not, or a number is out of its range.
    """
    if config.save_every < 1:
        raise ValueError(f"--save-every must be at least 1, got {config.save_every}")
    path = config.out / "config.json"
    if last_checkpoint(config.out / "checkpoints") is None or not path.is_file():
        return
    before, now = json.loads(path.read_text(encoding="utf-8")), _as_json(config)
    for name in ("env", "env_kwargs", "num_envs", "policy", "lora", "critic"):
        if before.get(name) != now[name]:
            raise ValueError(
                f"{config.out} was made with --{name.replace('_', '-')} {before.get(name)}, not "
                f"{now[name]}: give the same, or another --out"
            )


def _make_envs(config: Training) -> TextVectorEnv:
    try:
        given = json.loads(config.env_kwargs)
    except json.JSONDecodeError as error:
        raise ValueError(f"--env-kwargs is no JSON ({error}): {config.env_kwargs}") from error
    if not isinstance(given, dict):
        raise ValueError(f"--env-kwargs must be a JSON object, got {config.env_kwargs}")  # noqa: TRY004 - as above, the text is wrong
    envs: Any = gym.make_vec(
        config.env if ":" in config.env else f"textgym:{config.env}",
        num_envs=config.num_envs,
        backend="torch",
        device=config.device,
        autoreset_mode="Disabled",
        **given,
    )
    return envs.unwrapped  # type: ignore[no-any-return] # make_vec says VectorEnv


def _make_policy(config: Training, envs: TextVectorEnv) -> TransformerPolicy:
    width = envs.prompt_tokens + envs.completion_tokens
    adapters = None if config.lora is None else AdapterConfig(rank=config.lora)
    settings: dict[str, Any] = {"device": config.device, "width": width}
    model, _ = load_model(config.policy, envs.tokenizer, lora=adapters, **settings)
    critic = load_model(config.policy, envs.tokenizer, **settings)[0] if config.critic else None
    return TransformerPolicy(model, critic, edits=envs.action_kind == "edit")


def _save(agent: Agent, config: Training) -> None:
    folder = config.out / "checkpoints"
    agent.save(checkpoint_folder(folder, agent.iteration))
    prune(folder, keep=_KEPT)


def _summarise(
    agent: Agent, history: list[Mapping[str, float]], config: Training, console: Console
) -> None:
    """Prints what came of it."""
    if not history:
        console.print(f"nothing to do: {agent.iteration} iterations were made before")
        return
    first, last = history[0], history[-1]
    seconds: dict[str, float] = {}
    for metrics in history:
        for name, value in metrics.items():
            if name.startswith("seconds_"):
                phase = name.removeprefix("seconds_")
                seconds[phase] = seconds.get(phase, 0.0) + value
    phases = ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items())
    kl = f", KL {last['kl']:.2f} nats" if "kl" in last else ""
    console.print(
        f"reward {first['reward']:.3f} to {last['reward']:.3f}{kl}, {agent.iteration} iterations, "
        f"{agent.num_timesteps:,} tokens\n{phases}\n{config.out / 'policy'}",
        highlight=False,
        soft_wrap=True,
    )
