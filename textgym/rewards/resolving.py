"""From what names a reward, in Python or in JSON, to one that is checked."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from textgym.messages import shown
from textgym.rewards.calling import ChatReward, FilledReward, adapt, require_call
from textgym.rewards.checking import CheckedReward, Scorer, finite
from textgym.rewards.combining import Combination, WeightedReward
from textgym.rewards.factories import missing_package
from textgym.rewards.normalising import Normalised
from textgym.rewards.operations import (
    Affine,
    Clipped,
    Difference,
    Maximum,
    Minimum,
    Product,
    Threshold,
)
from textgym.rewards.registry import find_reward, known_rewards, makes_a_reward
from textgym.rewards.sharing import make_shared

__all__ = ["COMBINATIONS", "FOLDER_REWARD", "resolve"]

_CHAT, _NONE_AS = "chat", "none_as"

COMBINATIONS: Mapping[str, type[Combination]] = MappingProxyType(
    {
        "affine": Affine,
        "clip": Clipped,
        "difference": Difference,
        "max": Maximum,
        "min": Minimum,
        "normalise": Normalised,
        "product": Product,
        "threshold": Threshold,
    }
)
"""What a dictionary may do to rewards, by name; ``"chat"`` and ``"none_as"`` do it to functions."""

FOLDER_REWARD = "model"
"""The name of what loads a reward from its folder."""


def resolve(reward: Any, reward_kwargs: Mapping[str, Any] | None = None) -> Scorer:
    """Makes one checked reward of whatever names it.

    Args:
        reward: One of

            - a known name, or ``"module:attribute"``, of a reward or of what makes one;
            - a folder with a ``config.json``, short for ``"model"`` with that ``path``;
            - a callable;
            - a list of ``[reward, weight]`` pairs, for their weighted sum;
            - a dictionary with one key: ``{name: arguments}``, where the name is one of
              ``COMBINATIONS``, whose arguments name a ``reward`` or a list of ``rewards``, or names
              a factory. Lists and dictionaries can be nested.

        reward_kwargs: If given, ``reward`` names a factory: it is called with them, once, and
            returns the reward. Not for a folder, a list or a dictionary.

    Raises:
        ValueError: If nothing has that name (the message lists the known ones), or the
            arguments do not fit together.
        ModuleNotFoundError: If a package is missing; the message says how to get it.
        TypeError: If what was named is not callable.
    """
    if isinstance(reward, list | tuple | dict):
        if reward_kwargs is not None:
            raise ValueError(
                f"reward_kwargs go with one reward, not with a {type(reward).__name__} of them"
            )
        return _of_spec(reward) if isinstance(reward, dict) else _weighted(reward)
    if isinstance(reward, Scorer) and reward_kwargs is None:
        return reward
    if isinstance(reward, str | Path):
        name = str(reward)
        if name not in known_rewards() and _is_folder(name):
            if reward_kwargs is not None:
                raise ValueError(
                    f"a folder takes no reward_kwargs; give reward={FOLDER_REWARD!r} and "
                    f"reward_kwargs={{'path': {name!r}, ...}}"
                )
            reward_kwargs = {"path": name}
            target = find_reward(FOLDER_REWARD)
        else:
            target = find_reward(name)
    else:
        name, target = _name_of(reward), reward
    if reward_kwargs is None and makes_a_reward(target):
        reward_kwargs = {}
    if reward_kwargs is not None:
        target = _build(name, target, reward_kwargs)
    if not callable(target):
        raise TypeError(f"reward {name!r} is a {type(target).__name__}, which cannot be called")
    return target if isinstance(target, Scorer) else _checked(name, target)


def _checked(name: str, target: Callable[..., Any]) -> CheckedReward:
    function = adapt(target)
    require_call(name, function)
    return CheckedReward(name, function)


def _weighted(pairs: Sequence[Any]) -> WeightedReward:
    parts = []
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != len(("reward", "weight")):
            raise ValueError(f"a list of rewards holds [reward, weight] pairs; got {pair!r}")
        parts.append((resolve(pair[0]), finite(f"the weight of {shown(pair[0])}", pair[1])))
    if not parts:
        raise ValueError("a list of rewards holds at least one [reward, weight] pair")
    return WeightedReward(tuple(parts))


def _of_spec(spec: Mapping[str, Any]) -> Scorer:
    if len(spec) != 1:
        raise ValueError(
            f"a dictionary that names a reward has one key, the name, got {len(spec)}: "
            f'{sorted(map(str, spec))}; for instance {{"rouge": {{"variant": "rouge2"}}}}'
        )
    ((name, arguments),) = spec.items()
    if not isinstance(arguments, Mapping):
        raise ValueError(  # noqa: TRY004 - a setting is wrong, not an argument
            f"what follows {name!r} is a dictionary of arguments, got {arguments!r}"
        )
    if name in (_CHAT, _NONE_AS):
        return _on_function(name, arguments)
    if name not in COMBINATIONS:
        return resolve(name, arguments)
    kind = COMBINATIONS[name]
    fields = {
        field.name: field
        for field in dataclasses.fields(kind)  # type: ignore[arg-type] # each is a dataclass
        if field.name != "moments"
    }
    required = [key for key, field in fields.items() if not _has_default(field)]
    _require_arguments(name, arguments, required, list(fields))
    given = dict(arguments)
    if "reward" in fields:
        given["reward"] = _operand(name, "reward", arguments["reward"])
    else:
        given["rewards"] = _operands(name, arguments["rewards"])
    try:
        return kind(**given)
    except ValueError as error:
        raise ValueError(f"in {name!r}: {error}") from error


def _on_function(name: str, arguments: Mapping[str, Any]) -> CheckedReward:
    """Changes how a function is called, or what it returns, before it is checked."""
    known = ["reward", "value"] if name == _NONE_AS else ["reward"]
    _require_arguments(name, arguments, known, known)
    inner = _operand(name, "reward", arguments["reward"])
    if not isinstance(inner, CheckedReward):
        raise ValueError(  # noqa: TRY004 - a setting is wrong, not an argument
            f"{name!r} is for one function, and {inner.name!r} is made of several"
        )
    if name == _CHAT:
        return CheckedReward(f"{name}({inner.name})", ChatReward(inner.function))
    try:
        value = finite("value", arguments["value"])
    except ValueError as error:
        raise ValueError(f"in {name!r}: {error}") from error
    return CheckedReward(f"{name}({inner.name})", FilledReward(inner.function, value))


def _has_default(field: dataclasses.Field[Any]) -> bool:
    missing = dataclasses.MISSING
    return field.default is not missing or field.default_factory is not missing


def _require_arguments(
    name: str, arguments: Mapping[str, Any], required: Sequence[str], known: Sequence[str]
) -> None:
    unknown = sorted(map(str, set(arguments) - set(known)))
    absent = [argument for argument in required if argument not in arguments]
    if unknown or absent:
        problem = f"does not take {unknown[0]!r}" if unknown else f"needs {absent[0]!r}"
        raise ValueError(f"{name!r} {problem}; it takes {', '.join(known)}")


def _operand(name: str, where: str, spec: Any) -> Scorer:
    try:
        return resolve(spec)
    except ValueError as error:
        raise ValueError(f"in {where} of {name!r}: {error}") from error


def _operands(name: str, specs: Any) -> tuple[Scorer, ...]:
    if not isinstance(specs, list | tuple) or not specs:
        raise ValueError(f"rewards of {name!r} must be a list of at least one, got {specs!r}")
    return tuple(
        _operand(name, f"reward {place} of {len(specs)}", spec)
        for place, spec in enumerate(specs, start=1)
    )


def _is_folder(name: str) -> bool:
    try:
        return (Path(name) / "config.json").is_file()
    except OSError:  # such as a name that is too long for one
        return False


def _build(name: str, factory: Callable[..., Any], kwargs: Mapping[str, Any]) -> Any:
    _require_fit(name, factory, kwargs)
    try:
        return make_shared(factory, kwargs)
    except ModuleNotFoundError as error:
        raise missing_package("reward", name, error) from error


def _require_fit(name: str, factory: Callable[..., Any], kwargs: Mapping[str, Any]) -> None:
    """Refuses arguments that a factory does not take, by its signature."""
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):
        return
    if not isinstance(kwargs, Mapping):
        raise ValueError(  # noqa: TRY004 - a setting is wrong, not an argument
            f"reward_kwargs of {name!r} are a dictionary of arguments, got {shown(kwargs)}"
        )
    try:
        signature.bind(**kwargs)
    except TypeError as error:
        takes = ", ".join(signature.parameters) or "nothing"
        raise ValueError(f"reward {name!r} cannot be made: {error}; it takes {takes}") from error


def _name_of(reward: Any) -> str:
    return str(getattr(reward, "__name__", type(reward).__name__))
