"""A learner's run from the command line: it goes on where it was, saves, logs, and says the result.

Everything is in ``--out``: ``checkpoints/`` (the same command goes on from the last one), ``logs/``
(CSV, JSON and TensorBoard), ``policy/`` at the end, and ``config.json``.
"""

from __future__ import annotations

import json
import shlex
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path  # noqa: TC003  the command line is made from the annotations
from typing import TYPE_CHECKING, Any, Literal

from gymnasium.error import Error as GymnasiumError
from rich.console import Console
from safetensors import SafetensorError

from agents.bridges.sb3.logger import open_logger
from agents.rollouts.engine import EngineError
from agents.training.checkpoint import save_policy
from agents.training.distributed import current_processes
from agents.training.guards import GuardError, explained_memory
from textgym.cli.console import chosen_device, keep_large_blocks, say, use_quiet_transformers
from textgym.cli.parsing import CommandError
from textgym.cli.policy.policies import (
    contents_of,
    environment_arguments,
    make_envs,
    make_policy,
    one_line,
)
from textgym.cli.policy.stopping import kept, require_room_for, stoppable
from textgym.files import (
    checkpoint_folder,
    exclusive_folder,
    last_checkpoint,
    prune,
    write_json,
)
from textgym.provenance import code_version, other_contents
from textgym.rewards import RewardError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from agents.learner import Learner
    from agents.models.policy import TransformerPolicy
    from textgym.envs.vector import TextVectorEnv

__all__ = ["FORESEEABLE", "Training", "run_training"]

_UNWRITTEN = (OSError, SafetensorError)  # a full disk, or one that is gone
_WAITED_FOR = (RewardError, EngineError)
FORESEEABLE = (ValueError, TypeError, GymnasiumError, OSError, RuntimeError, AssertionError)
"""What a wrong word of a command raises; torch has the last two for a device that is not there."""

_KEPT = 2  # checkpoints
_MADE_FROM = "made_from"  # in config.json: what lay behind its names, and the code
_FREE = ("out", "total_timesteps", "save_every", "device", "preset", "data", "held_out")
"""What a run may go on with that it was not begun with: where and how long, and what the learner
compares by itself, its settings and the pairs that it was given."""
_SHOWN, _LETTERS = 3, 80  # texts at the end, and of each side of the bar


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
    critic_layers: int | None = None
    """Blocks that the copy keeps, the lowest; None keeps all. Fewer cost less memory and time."""
    dtype: Literal["float32", "bfloat16"] | None = None
    """Of the policy's weights; None takes what its folder was saved with, and else float32. What
    learns must be float32: bfloat16 is for the model below --lora, and --ppo.bf16 for the passes
    of float32 weights."""
    attention: str | None = None
    """How attention is computed, by its name in transformers, such as eager or sdpa; None takes
    what the policy's folder was saved with, and else eager, the fastest for a few million weights
    on a CPU. sdpa is for a GPU, long texts and large models."""
    total_timesteps: int | None = None
    """Tokens to write in all, those before a stop included; None makes the learner's iterations.
    More train longer."""
    save_every: int = 10
    """Iterations between checkpoints. More lose more at a kill, and write less."""
    device: str = "auto"
    """Where everything runs: cpu, cuda, or auto for cuda if there is one; of several processes,
    each on a GPU of its own."""


def run_training(
    config: Training,
    make: Callable[[TransformerPolicy, TextVectorEnv], Learner],
    console: Console | None,
    finish: Callable[[Learner], str] = lambda _: "",
) -> None:
    """Trains as a command says.

    Args:
        config: The command.
        make: Makes the learner.
        console: Where to print; ``None`` for the terminal.
        finish: What else is to be said at the end.

    Raises:
        CommandError: If something in the command is wrong, or a guard stops the run.
        FolderInUseError: If another run writes into the folder.
        RewardError: If the reward fails; the iterations before it are kept.
    """
    use_quiet_transformers()
    keep_large_blocks()
    console = console or Console()
    try:
        config = replace(config, device=chosen_device(config.device))
        is_main = current_processes(config.device).is_main
        require_room_for(config.out)
    except FORESEEABLE as error:
        raise CommandError(" ".join(str(error).split())) from error
    # Several processes train one policy, and the main one writes.
    with exclusive_folder(config.out) if is_main else nullcontext():
        _run(config, make, console if is_main else Console(quiet=True), finish)


def _run(
    config: Training,
    make: Callable[[TransformerPolicy, TextVectorEnv], Learner],
    console: Console,
    finish: Callable[[Learner], str],
) -> None:
    """Trains in a folder that no other run writes into."""
    try:
        _require_same(config)
        with explained_memory("the policy's size, or --num-envs"):
            learner = _make_learner(config, make)
        last = last_checkpoint(config.out / "checkpoints")
        made_from = _made_from(config, learner)
        notes = [] if last is None else _require_same_contents(config, made_from)
        if last is not None:
            learner.restore(last)
    except FORESEEABLE as error:
        raise CommandError(" ".join(str(error).split())) from error
    learner.failure_folder = config.out
    if not learner.processes.is_main:
        _follow(learner, config)
        finish(learner)  # what is measured is measured by all
        return
    _introduce(learner, config, console)
    say(console, *notes, *learner.changes, *learner.processes.without_effect(learner.config))
    with _explained(config):
        write_json(config.out / "config.json", _as_json(config) | {_MADE_FROM: made_from})
        history = _learn(learner, config, console)
        if history:
            _save(learner, config)
        save_policy(learner, config.out / "policy")
    _summarise(learner, history, config, console)
    said = finish(learner)
    if said:
        say(console, said)


def _learn(learner: Learner, config: Training, console: Console) -> list[Mapping[str, float]]:
    """Trains to the end; returns the metrics of each iteration."""
    history: list[Mapping[str, float]] = []
    logger = open_logger(config.out / "logs")
    with stoppable(alone=learner.processes.count == 1) as stop:

        def after_iteration(known: dict[str, Any], _: dict[str, Any]) -> bool:
            history.append(known["metrics"])
            if learner.iteration % config.save_every == 0:
                _save(learner, config)
                if not console.is_terminal:  # there a bar says it
                    _say_iteration(learner, history[-1], console)
            return not stop.asked

        try:
            learner.learn(
                _tokens_left(learner, config),
                after_iteration,
                logger=logger,
                reset_num_timesteps=False,
                progress_bar=True,
            )
        except _UNWRITTEN:
            raise
        except BaseException as error:
            # An iteration that has changed nothing leaves those before it worth keeping; weights
            # that are half-way through an update are no checkpoint. A launcher ends all processes
            # once one has ended, and after a reward's or an engine's failure alone the others wait.
            waited_for = isinstance(error, _WAITED_FOR)
            if history and learner.is_whole and (waited_for or learner.processes.count == 1):
                _save(learner, config)
            if waited_for:
                learner.processes.exchange(None)
            raise
        finally:
            logger.close()
        if stop.asked:
            _save(learner, config)
            raise KeyboardInterrupt
    return history


@contextmanager
def _explained(config: Training) -> Iterator[None]:
    """Says of a run that ends early why, and what is kept of it.

    Raises:
        CommandError: If a guard stopped it, or what it reads or writes is at fault.
        RewardError: If the reward failed.
        KeyboardInterrupt: If somebody stopped it.
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(kept(config.out)) from stop
    except RewardError as error:
        raise RewardError(f"{error}; {kept(config.out)}") from error
    except _UNWRITTEN as error:
        said = " ".join(str(error).split())
        room = ": make room there" if "No space" in said or "quota" in said else ""
        raise CommandError(
            f"cannot write into {config.out} ({said}){room}; {kept(config.out)}"
        ) from error
    except (GuardError, EngineError, ValueError) as error:
        raise CommandError(f"{' '.join(str(error).split())}; {kept(config.out)}") from error


def _make_learner(
    config: Training, make: Callable[[TransformerPolicy, TextVectorEnv], Learner]
) -> Learner:
    envs = make_envs(
        config.env,
        environment_arguments(config.env_kwargs, config.policy),
        num_envs=config.num_envs,
        device=config.device,
    )
    policy = make_policy(
        config.policy,
        envs,
        device=config.device,
        lora=config.lora,
        critic=config.critic,
        critic_layers=config.critic_layers,
        dtype=config.dtype,
        attention=config.attention,
    )
    return make(policy, envs)


def _follow(learner: Learner, config: Training) -> None:
    """Trains as one of the processes that are not the main one.

    Where weights are cut, it helps to put them together whenever the main one saves.
    """
    first = learner.iteration

    def helps() -> None:
        if learner.processes.sharded and learner.iteration > first:
            learner.save(checkpoint_folder(config.out / "checkpoints", learner.iteration))

    try:
        learner.learn(_tokens_left(learner, config), reset_num_timesteps=False)
    except GuardError as error:
        raise CommandError(str(error)) from error
    except _WAITED_FOR as error:
        if learner.is_whole:
            helps()
        # A launcher ends all processes once one has ended, and the main one is saving.
        learner.processes.exchange(None)
        if isinstance(error, EngineError):
            raise CommandError(str(error)) from error
        raise
    helps()
    save_policy(learner, config.out / "policy")


def _tokens_left(learner: Learner, config: Training) -> int | None:
    """What a run has still to write, also after a stop; ``None`` if it is to make iterations."""
    total = config.total_timesteps
    return None if total is None else max(0, total - learner.num_timesteps)


def _as_json(config: Training) -> dict[str, Any]:
    return json.loads(json.dumps(asdict(config), default=str))  # type: ignore[no-any-return] # it is an object


def _require_same(config: Training) -> None:
    """Requires that what is gone on from was made in the same way.

    Raises:
        ValueError: If it was not.
    """
    if last_checkpoint(config.out / "checkpoints") is None:
        return
    before, now = _begun_with(config), _as_json(config)
    for name, value in now.items():
        if name in _FREE or isinstance(value, dict) or name not in before:
            continue  # a learner's own settings are compared where its checkpoint is read
        if before[name] != value:
            raise ValueError(
                f"{config.out} was made with --{name.replace('_', '-')} {before[name]}, not "
                f"{value}: give the same, or another --out"
            )


def _begun_with(config: Training) -> dict[str, Any]:
    """What a run in the folder was begun with; nothing if nobody wrote it down."""
    path = config.out / "config.json"
    if not path.is_file():
        return {}
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged ({error}): remove it, and the same command goes on"
        ) from error
    return dict(before)


def _made_from(config: Training, learner: Learner) -> dict[str, Any]:
    """Hashes what lies behind a run's names, by what to call it, and says which code it is of."""
    named = [config.policy, json.loads(config.env_kwargs)]
    contents = contents_of(named, config.env, learner.envs)
    return {"contents": contents, "code": code_version()}


def _require_same_contents(config: Training, made_from: Mapping[str, Any]) -> list[str]:
    """Requires that what lies behind the names is what it was.

    Returns:
        A line if the code is another one, which may be meant.

    Raises:
        ValueError: If data or weights are others; the message names them.
    """
    before = _begun_with(config).get(_MADE_FROM)
    if before is None:
        return []
    others = other_contents(before["contents"], made_from["contents"])
    if others:
        raise ValueError(
            f"{config.out} was begun with other contents of {others}: give what it was begun with, "
            "or another --out"
        )
    changed = [name for name, said in made_from["code"].items() if before["code"].get(name) != said]
    return [f"goes on with other code ({', '.join(changed)}) than it was begun with"] * bool(
        changed
    )


def _save(learner: Learner, config: Training) -> None:
    folder = config.out / "checkpoints"
    learner.save(checkpoint_folder(folder, learner.iteration))
    prune(folder, keep=_KEPT)


def _introduce(learner: Learner, config: Training, console: Console) -> None:
    """Prints what is about to be done."""
    learned = [p.numel() for p in learner.policy.parameters() if p.requires_grad]
    made = f", goes on after iteration {learner.iteration}" if learner.iteration else ""
    say(
        console,
        f"{type(learner).__name__} of {sum(learned):,} weights in {config.env}, {learner.episodes} "
        f"texts an iteration{made}; curves in {config.out / 'logs'}",
    )


def _say_iteration(learner: Learner, metrics: Mapping[str, float], console: Console) -> None:
    names = [name for name in ("reward", "accuracy", "kl") if name in metrics]
    figures = ", ".join(f"{name} {_shown(name, metrics[name]):.3f}" for name in names)
    say(console, f"iteration {learner.iteration}: {figures}")


def _shown(name: str, value: float) -> float:
    """A figure as it is printed: a divergence is never below 0, though its estimate may be."""
    return max(0.0, value) if name == "kl" else value


def _summarise(
    learner: Learner, history: list[Mapping[str, float]], config: Training, console: Console
) -> None:
    """Prints what came of it."""
    if not history:
        say(console, f"nothing to do: {learner.iteration} iterations were made before")
        return
    first, last = history[0], history[-1]
    seconds: dict[str, float] = {}
    for metrics in history:
        for name, value in metrics.items():
            if name.startswith("seconds_"):
                phase = name.removeprefix("seconds_")
                seconds[phase] = seconds.get(phase, 0.0) + value
    phases = ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items())
    measured = next(name for name in ("reward", "accuracy") if name in last)
    kl = f", {_shown('kl', last['kl']):.2f} nats from the start (KL)" if "kl" in last else ""
    lines = [
        *(_texts(learner) if measured == "reward" else ()),
        f"{measured} {first[measured]:.3f} to {last[measured]:.3f}, the means of the first and the "
        f"last of {len(history)} iterations{kl}; {learner.num_timesteps:,} tokens",
        phases,
        shlex.join(_looked_at(config)),
    ]
    say(console, *lines)


def _looked_at(config: Training) -> list[str]:
    """The command that shows what the policy writes."""
    words = ["textgym", "generate", "--policy", str(config.out / "policy"), "--env", config.env]
    given = [] if config.env_kwargs == "{}" else ["--env-kwargs", config.env_kwargs]
    return [*words, *given, "--count", str(_SHOWN)]


def _texts(learner: Learner) -> list[str]:
    """Some of the texts that the last iteration learned from, a line each."""
    prompts, completions = learner.envs.texts()
    pairs = list(zip(prompts, completions, strict=True))
    return [
        "the last texts, such as",
        *(f"  {one_line(*pair, letters=_LETTERS)}" for pair in pairs[:_SHOWN]),
    ]
