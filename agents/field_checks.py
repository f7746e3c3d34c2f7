"""What a settings dataclass says of its fields' types, required of their values."""

from __future__ import annotations

import math
from dataclasses import fields
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from textgym.messages import did_you_mean, shown

__all__ = ["require_field_types"]

_KINDS = {int: "a whole number", float: "a finite number", bool: "True or False", str: "a text"}


def require_field_types(settings: Any) -> None:
    """Requires that every field of a dataclass is what its annotation says.

    Args:
        settings: Of fields that are numbers, texts, switches or one of given words, or ``None``
            as well; fields of other kinds are not looked at.

    Raises:
        TypeError: If a value is of another type.
        ValueError: If a number is not finite, or a word is none of the given ones.
    """
    hints = get_type_hints(type(settings))
    for field in fields(settings):
        _require(field.name, getattr(settings, field.name), hints[field.name])


def _require(name: str, value: Any, hint: Any) -> None:
    kinds = [hint] if get_origin(hint) is Literal else list(get_args(hint)) or [hint]
    may_miss = NoneType in kinds
    kind = next(each for each in kinds if each is not NoneType)
    if value is None and may_miss:
        return
    if get_origin(kind) is Literal:
        known = get_args(kind)
        if value not in known:
            near = did_you_mean(str(value), known)
            raise ValueError(f"unknown {name} {value!r}; known: {', '.join(known)}{near}")
        return
    if kind not in _KINDS:
        return
    wanted = f"{name} must be {_KINDS[kind]}{' or None' if may_miss else ''}, got {shown(value)}"
    # A whole number is a number as well, and True is neither.
    allowed = (int, float) if kind is float else (kind,)
    if not isinstance(value, allowed) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(wanted)
    if kind is float and not math.isfinite(value):
        raise ValueError(wanted)
