"""Every other value of every setting, for tests that walk them."""

import dataclasses
import types
import typing


def variants(config, **given):
    """Makes a config with another value of each of its fields, one at a time.

    Args:
        config: A dataclass.
        given: Values for fields of which no other one can be guessed.

    Returns:
        The configs by the field's name.
    """
    kinds = typing.get_type_hints(type(config))
    values = {
        field.name: given[field.name]
        if field.name in given
        else _other(getattr(config, field.name), kinds[field.name])
        for field in dataclasses.fields(config)
    }
    return {name: dataclasses.replace(config, **{name: value}) for name, value in values.items()}


def _other(value, kind):
    """Another value of a type: the next number, the next word, a longer text."""
    for one in _kinds(kind):
        if typing.get_origin(one) is typing.Literal:
            return next(word for word in typing.get_args(one) if word != value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value / 2 + 0.003
    if isinstance(value, str):
        return value + "x"
    if value is None:
        return {int: 3, float: 0.5, str: "x"}[
            next(k for k in _kinds(kind) if k in (int, float, str))
        ]
    raise TypeError(f"name another value than {value!r} of {kind}")


def _kinds(kind):
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        return [one for part in typing.get_args(kind) for one in _kinds(part)]
    return [kind]
