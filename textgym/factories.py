"""From ``"module:attribute"`` in a JSON value to the function or class that it names."""

from __future__ import annotations

import functools
import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["load_factory"]


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
    module, colon, attribute = name.partition(":")
    if not (module and colon and attribute):
        raise ValueError(
            f'unknown {kind} {name!r}; known: {", ".join(known)}; or give "module:attribute" or '
            "an object"
        )
    try:
        factory = functools.reduce(getattr, attribute.split("."), importlib.import_module(module))
    except ModuleNotFoundError as error:
        package = (error.name or module).partition(".")[0]
        raise ModuleNotFoundError(
            f"{kind} {name!r} needs the package {package!r}, which is not installed; "
            f"install {package}",
            name=error.name,
        ) from error
    except AttributeError as error:
        raise ValueError(f"{kind} {name!r}: the module {module!r} has no {attribute!r}") from error
    if not callable(factory):
        raise ValueError(  # noqa: TRY004 - a setting is wrong, not an argument
            f"{kind} {name!r} is a {type(factory).__name__}, which cannot be called"
        )
    return factory
