"""What is there to name: ``textgym envs`` lists environments, ``textgym rewards`` rewards."""

from __future__ import annotations

import inspect
import json
import math
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import gymnasium as gym
import tyro  # noqa: TC002 - it resolves the annotations below when it is called
from rich.console import Console

from textgym.cli.console import listing, say
from textgym.cli.light import OURS, stand_ins
from textgym.cli.parsing import CommandError
from textgym.messages import did_you_mean, listed, shown
from textgym.registration import registered_ids
from textgym.rewards import known_rewards
from textgym.rewards.calling import ChatReward, FilledReward
from textgym.rewards.registry import find_reward, info_of, locations_of, makes_a_reward
from textgym.rewards.resolving import COMBINATIONS
from textgym.tasks import is_available, known_tasks, required_packages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textgym.envs.single import TextEnv
    from textgym.rewards import RewardInfo

__all__ = ["EnvsConfig", "RewardsConfig", "list_envs", "list_rewards"]

_MADE_OF_OTHERS = {**COMBINATIONS, "chat": ChatReward, "none_as": FilledReward}


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvsConfig:
    """List the environments that gymnasium.make knows after ``import textgym``, or explain one.

    Each task has three ids: TextGym/NAME-v0 appends tokens, TextGym/NAME-Choose-v0 chooses
    candidates, and TextGym/NAME-Edit-v0 edits a draft.
    """

    name: tyro.conf.Positional[str] = ""
    """Explain this task, or the environment of this id: its sizes, splits, columns and reward."""
    installed: bool = False
    """Only those whose data is installed."""


def list_envs(config: EnvsConfig, console: Console | None = None) -> None:
    """Prints a line for each task, or each id where nobody looks at a terminal; or one's page.

    Args:
        config: Which ones.
        console: Where to print; ``None`` for the terminal.

    Raises:
        CommandError: If there is no environment of that name.
        ModuleNotFoundError: If the data of the one to explain is not installed; the message says
            how to get it.
    """
    console = console or Console()
    if config.name:
        _explain_env(config.name, console)
        return
    rows = []
    for env_id in registered_ids():
        spec = gym.spec(env_id)
        task, kind = spec.kwargs["task"], spec.kwargs["action_kind"]
        there = is_available(task)
        if there or not config.installed:
            needs = ", ".join(package.pip for package in required_packages(task)) or "none"
            rows.append((env_id, task, kind, needs, "yes" if there else "no"))
    if not console.is_terminal:
        titles = ("id", "action", "data", "installed")
        listing(console, titles, [(row[0], *row[2:]) for row in rows])
        return
    tasks = {task: (task, there, needs) for _, task, _, needs, there in rows}
    listing(console, ("task", "installed", "data"), list(tasks.values()))
    say(
        console,
        "",
        "TextGym/TASK-v0 appends tokens, TextGym/TASK-Choose-v0 chooses candidates, and",
        "TextGym/TASK-Edit-v0 edits a draft. `textgym envs TASK` explains one.",
    )


def _explain_env(name: str, console: Console) -> None:
    """Prints a page about a task and its ids."""
    wanted, ids = _find_ids(name)
    made = {each: cast("TextEnv", gym.make(each).unwrapped) for each in ids}
    env = made[wanted]
    task, example = env.task, env.examples[0]
    needs = ", ".join(package.pip for package in required_packages(gym.spec(wanted).kwargs["task"]))
    say(console, f"{task.name}: {_summary(type(task))}", "")
    rows = [(each, one.action_kind, *_sizes(one)) for each, one in made.items()]
    listing(console, ("id", "action", "observed", "an action is"), rows)
    say(
        console,
        "",
        f"places: T = {env.prompt_tokens + env.completion_tokens}, {env.prompt_tokens} of the "
        f"prompt and {env.completion_tokens} of the completion",
        f"tokenizer: {task.tokenizer}, V = {env.tokenizer.vocab_size}",
        f"reward: {task.reward}",
        f"columns: {listed(example.columns)}",
        f"splits: {', '.join(task.splits)}; {env.num_examples:,} examples in train",
        f"data: {needs or 'nothing to install'}",
        f"a prompt: {shown(example.prompt)}",
        "",
        f'env = gymnasium.make("textgym:{wanted}")',
        f'envs = gymnasium.make_vec("textgym:{wanted}", num_envs=64)',
    )


def _find_ids(name: str) -> tuple[str, list[str]]:
    """The id that a name means, in whatever case it is written, and all ids of its task."""
    by_name: dict[str, str] = {}
    for each in registered_ids():
        task = gym.spec(each).kwargs["task"]
        by_name |= {each: each, each.partition("/")[2].removesuffix("-v0"): each}
        by_name.setdefault(task, each)
    meant = name.removeprefix("textgym:")
    found = {known.casefold(): each for known, each in by_name.items()}.get(meant.casefold())
    if found is None:
        near = did_you_mean(meant, by_name) or f"; known: {', '.join(known_tasks())}"
        raise CommandError(f"unknown environment {name}{near}; see textgym envs")
    task = gym.spec(found).kwargs["task"]
    return found, [each for each in registered_ids() if gym.spec(each).kwargs["task"] == task]


def _sizes(env: TextEnv) -> tuple[str, str]:
    """What is observed and what an action is, each in a few words."""
    width, size = env.prompt_tokens + env.completion_tokens, env.tokenizer.vocab_size
    if env.action_kind == "edit":
        return f"{width} ids", f"one of T = {width} places, and one of V = {size} ids"
    count = int(cast("gym.spaces.Discrete", env.action_space).n)
    if env.action_kind == "append":
        return f"{width} ids", f"one of V = {size} ids"
    (observed,) = cast("gym.spaces.Box", env.observation_space).shape
    return f"{observed} ids", f"one of K = {count} candidates"


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
    lines = _lines(known_rewards()).items()
    kept = {name: cells for name, (cells, there) in lines if there or not config.installed}
    if console.is_terminal:
        rows = [(name, *_in_brief(*cells)) for name, cells in kept.items()]
        listing(console, ("name", "reads", "range", "what it measures"), rows)
    else:
        titles = ("name", "reads", "range", "package", "installed", "what it measures")
        listing(console, titles, [(name, *cells) for name, cells in kept.items()])
    say(
        console,
        "",
        f"made of others, as {{name: settings}}: {', '.join(_MADE_OF_OTHERS)}",
        "`textgym rewards NAME` explains any of these.",
    )


def _in_brief(
    reads: str, where: str, package: str, installed: str, what: str
) -> tuple[str, str, str]:
    """A reward's line for a terminal, where a package is named if it is missing."""
    needs = "" if installed == "yes" else f" (needs {package}, which is not installed)"
    return reads, where, f"{what}{needs}"


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
    if not callable(target):
        raise CommandError(
            f"{name} is a {type(target).__name__}, which cannot be called: it is no reward"
        )
    info = info_of(target)
    lines = [
        f"{name}  {target.__module__}:{getattr(target, '__qualname__', type(target).__qualname__)}",
        "",
        inspect.getdoc(target) or "Nobody said what it is.",
    ]
    if name not in _MADE_OF_OTHERS:
        lines += ["", f"reads: {', '.join(info.reads) or 'nothing'}", f"range: {_range(info)}"]
    if info.needs:
        there = "installed" if info.installed else f'pip install "textgym[{info.extra}]"'
        lines.append(f"needs: {', '.join(info.needs)} ({there})")
    if makes_a_reward(target):
        lines += _settings(name, target)
    else:
        lines += ["", f"gymnasium.make(..., reward={json.dumps(name)})"]
    say(console, *lines)


def _settings(name: str, target: Any) -> list[str]:
    """The settings of what makes a reward, and how it is asked for with them."""
    lines = ["", "settings:"]
    settings = [
        setting
        for taker in (target, *info_of(target).settings)
        for setting in inspect.signature(taker).parameters.values()
        if setting.kind is not setting.VAR_KEYWORD
    ]
    for setting in {each.name: each for each in settings}.values():
        default = "needed" if setting.default is setting.empty else f"default {setting.default!r}"
        lines.append(f"  {setting.name}: {setting.annotation}, {default}")
    example = f'"{settings[0].name}": ...' if settings else ""
    return [*lines, "", f'gymnasium.make(..., reward={{"{name}": {{{example}}}}})']
