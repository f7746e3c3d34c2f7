"""A command's words into its config; what is wrong with them is said in one line.

tyro makes the config and draws its own errors in frames of many lines. They are caught here, and
what they say is said as everything else is.
"""

from __future__ import annotations

import contextlib
import io
import re
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, get_type_hints

from textgym.messages import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["CommandError", "UsageError", "options_of", "parse"]

_FRAME = "╭╮╰╯│"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_RULE = re.compile(r"\s*[─-]{3,}\s*")
_REQUIRED = re.compile(r" {5,6}\S")  # an option or a place; what explains it stands further in
_HELP = {"-h", "--help"}
_KINDS = {"{None}|INT": "a whole number or None", "{None}|FLOAT": "a number or None"}
# What tyro says, and how it is said here.
_SAID = (
    (
        r"Error parsing (\S+): invalid literal for int\(\) .*?: (.+)",
        r"\1 takes a whole number, got \2",
    ),
    (
        r"Error parsing (\S+): could not convert string to float: (.+)",
        r"\1 takes a number, got \2",
    ),
    (
        r"Error parsing (\S+): no type matching (\S+) could be .* from \[(.+?)\]\..*",
        r"\1 takes \2, got \3",
    ),
    (
        r"invalid choice (.+) for argument '(\S+)'. Expected one of \((.+?),?\).*",
        r"\2 \1: there is no such one; known: \3",
    ),
    (r"Missing value for argument '(\S+)'.*", r"\1 needs a value"),
    (r"Unrecognized options: (.+)", r"\1 belongs to no option"),
)


class CommandError(RuntimeError):
    """Bad input of a command; ``main`` prints the message as one line, without a stack trace.

    The message says what is wrong, where, and what to do.
    """


class UsageError(CommandError):
    """Words that are no command; ``main`` leaves with 2, as a shell's own commands do."""


def parse(config: type[Any], name: str, arguments: Sequence[str], settings: dict[str, Any]) -> Any:
    """Makes a config of a command's words; prints and exits where they ask for help.

    Args:
        config: The frozen dataclass.
        name: The command's, behind ``textgym``.
        arguments: What stands behind it.
        settings: More arguments of ``tyro.cli``.

    Raises:
        UsageError: If they are no config.
    """
    import tyro

    drawn = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    # Help goes to standard output and is not caught.
    try:
        with contextlib.redirect_stderr(drawn):
            return tyro.cli(config, prog=f"textgym {name}", args=arguments, **settings)
    except SystemExit as stop:
        if not stop.code:
            raise
    drawn.seek(0)
    wrong = _unknown(config, arguments) or _reworded(config, drawn.read().splitlines())
    raise UsageError(f"{wrong}; see textgym {name} --help")


def options_of(config: type[Any], prefix: str = "--") -> Iterator[str]:
    """Every option of a config, such as ``--ppo.kl-coefficient``, and the ``--no-`` of switches."""
    kinds = get_type_hints(config)
    for field in fields(config):
        option = f"{prefix}{field.name.replace('_', '-')}"
        kind = kinds[field.name]
        if isinstance(kind, type) and is_dataclass(kind):
            yield from options_of(kind, f"{option}.")
            continue
        yield option
        if kind is bool:
            start, _, end = option.rpartition(".")
            yield f"{start}.no-{end}" if start else f"--no-{option[2:]}"


def _unknown(config: type[Any], arguments: Sequence[str]) -> str:
    """What is wrong with the first option that does not exist; nothing if all do."""
    known = list(options_of(config))
    for word in arguments:
        option = word.partition("=")[0].replace("_", "-")
        if option.startswith("--") and option not in {*known, *_HELP, "--"}:
            # What was meant may be the same word in a group, or one in which a letter is wrong.
            inner = [each for each in known if each.endswith(f".{option[2:]}")]
            return f"unknown option {option}{did_you_mean(inner[0] if inner else option, known)}"
    return ""


def _reworded(config: type[Any], frame: Sequence[str]) -> str:
    """What a frame of tyro's says, in one line."""
    lines: list[str] = []
    for line in (_COLOUR.sub("", line).strip(_FRAME) for line in frame[1:]):  # behind the title
        if not _RULE.fullmatch(line):
            lines.append(line)
        elif lines:  # below are explanations
            break
    missing = [line.split()[0] for line in lines if re.match(_REQUIRED, line)]
    if missing and "Missing from " in lines[0]:
        return f"{' and '.join(missing)} {'are' if len(missing) > 1 else 'is'} required"
    said = " ".join(" ".join(lines).split())
    for pattern, words in _SAID:
        if re.fullmatch(pattern, said):
            reworded = re.sub(pattern, words, said).replace("'", "")
            return re.sub(r"\{None\}\|\w+", lambda kind: _KINDS.get(kind[0], kind[0]), reworded)
    return _of_a_field(config, said)


def _of_a_field(config: type[Any], said: str) -> str:
    """A config's own message, with the option in the place of the field that it begins with."""
    group, _, message = said.removeprefix("Error parsing ").partition(": ")
    field, _, rest = message.partition(" ")
    option = f"--{group}.{field.replace('_', '-')}"
    return f"{option} {rest}" if option in options_of(config) else said
