"""From what a command's words call a reward to the reward: a name, a folder, or JSON."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textgym.cli.parsing import CommandError
from textgym.rewards import resolve
from textgym.rewards.registry import find_reward, known_rewards
from textgym.rewards.resolving import COMBINATIONS, FOLDER_REWARD

if TYPE_CHECKING:
    from collections.abc import Mapping

    from textgym.rewards import Scorer

__all__ = ["folders_of", "named_reward", "on_device", "read_spec", "rewards_on_device"]

_PARTS = ("reward", "rewards")  # of what is made of others


def named_reward(words: str, device: str) -> Scorer:
    """Makes the reward that a command's words name.

    Args:
        words: A known name, ``"module:attribute"``, a folder, or what an environment's ``reward``
            may be, as JSON: ``{"clip": {"reward": "vader", "low": 0}}``.
        device: Where models among it compute, unless the JSON says it.

    Raises:
        CommandError: If there is no such reward, or it does not fit.
        ModuleNotFoundError: If a package is missing; the message says how to get it.
    """
    try:
        return resolve(on_device(read_spec(words), device))
    except (ValueError, TypeError) as error:
        raise CommandError(" ".join(str(error).split())) from error


def read_spec(words: str) -> Any:
    """Reads what may be JSON; all else is a name.

    Raises:
        ValueError: If it begins as JSON does and is none.
    """
    if not words.lstrip().startswith(("{", "[")):
        return words
    try:
        return json.loads(words)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"the reward {words} begins as JSON does, and is none ({error}); for instance "
            '\'{"clip": {"reward": "vader", "low": 0}}\''
        ) from error


def folders_of(spec: Any) -> list[Path]:
    """The folders of models that a reward is made of, in their order."""
    if isinstance(spec, str):
        return [Path(spec)] if _is_folder(spec) else []
    inner = spec.values() if isinstance(spec, dict) else spec if isinstance(spec, list) else ()
    return [folder for part in inner for folder in folders_of(part)]


def rewards_on_device(arguments: Mapping[str, Any], device: str) -> dict[str, Any]:
    """Writes the device into an environment's arguments, for each model that its reward is made of.

    Args:
        arguments: They may name no reward, or a factory beside its ``reward_kwargs``.
        device: Where models compute, unless the arguments say it.
    """
    reward, given = arguments.get("reward"), arguments.get("reward_kwargs")
    if reward is None:
        return dict(arguments)
    if given is None:
        return {**arguments, "reward": on_device(reward, device)}
    return {**arguments, "reward_kwargs": _arguments_on(str(reward), given, device)}


def on_device(spec: Any, device: str) -> Any:
    """Writes the device into the settings of each model that a reward is made of."""
    if isinstance(spec, list):
        return [
            [on_device(part[0], device), *part[1:]] if _is_pair(part) else part for part in spec
        ]
    if isinstance(spec, str):
        known = spec in known_rewards() or not _is_folder(spec)
        return spec if known else {FOLDER_REWARD: {"path": spec, "device": device}}
    if not isinstance(spec, dict):
        return spec
    return {name: _arguments_on(name, arguments, device) for name, arguments in spec.items()}


def _arguments_on(name: str, arguments: Any, device: str) -> Any:
    if not isinstance(arguments, dict):
        return arguments  # which is refused where it is resolved
    if name in {*COMBINATIONS, "chat", "none_as"}:
        moved = dict(arguments)
        for part in _PARTS:
            given = arguments.get(part)
            if part == "rewards" and isinstance(given, list):
                moved[part] = [on_device(one, device) for one in given]
            elif given is not None:
                moved[part] = on_device(given, device)
        return moved
    factory = find_reward(name)
    takes = callable(factory) and "device" in inspect.signature(factory).parameters
    return {"device": device, **arguments} if takes else arguments


def _is_pair(part: Any) -> bool:
    return isinstance(part, list) and bool(part)


def _is_folder(name: str) -> bool:
    try:
        return (Path(name) / "config.json").is_file()
    except OSError:  # such as a name that is too long for one
        return False
