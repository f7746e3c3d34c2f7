"""A command's words into its config; what is wrong with them is said in one line.

tyro makes the config and draws its own errors in frames of many lines. They are caught here, and
what they say is said as everything else is. An option's word says also which numbers it takes.
"""

from __future__ import annotations

import contextlib
import io
import re
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, get_type_hints

from textgym.messages import did_you_mean, shown
from textgym.ranges import COUNT, NOT_NEGATIVE, POSITIVE, SEED, SHARE, Range, require_ranges

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["RANGES", "CommandError", "UsageError", "options_of", "parse"]

_COUNTS = (
    *("answers", "completion_tokens", "count", "critic_layers", "evaluation_texts", "last_words"),
    *("lora", "members", "most", "most_texts", "num_envs", "pairs", "passes", "pool", "prompts"),
    *("prompt_tokens", "repetitions", "rounds", "save_every", "seeds", "sizes", "snapshots"),
    *("steps", "test_pairs", "texts", "threads", "top_k", "vocabulary", "workers"),
)
_LONG = Range(1, 2**63 - 1)
_SOME = Range(0, 1, above=True)
_NOT_ALL = Range(0, 1, below=True)
RANGES: Mapping[str, Range] = {
    **dict.fromkeys(_COUNTS, COUNT),
    **dict.fromkeys(("most_characters", "total_timesteps"), _LONG),
    **dict.fromkeys(("kl_budget", "kl_target", "seconds", "temperature"), POSITIVE),
    **dict.fromkeys(("held_out", "test", "validation", "validation_share"), _NOT_ALL),
    **dict.fromkeys(("control", "threshold", "top_p"), _SOME),
    **dict.fromkeys(("known_every", "repeat_every"), Range(0, COUNT.high)),
    "delay": Range(0, 3600),
    "kl_coefficient": NOT_NEGATIVE,
    "lease_minutes": Range(0, 525_600, above=True),
    "noise": SHARE,
    "port": Range(0, 65_535),
    "seed": SEED,
}
"""The numbers that an option takes, by its field's name: the same in every command.

Settings that stand below a name of their own, such as a learner's, know their ranges themselves.
"""

_FRAME = "╭╮╰╯│"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_RULE = re.compile(r"\s*[─-]{3,}\s*")
_REQUIRED = re.compile(r" {5,6}\S")  # an option or a place; what explains it stands further in
_HELP = {"-h", "--help"}
_MAY_BE_EMPTY = ("--prompt",)  # a text that a model goes on from
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
    made, wrong = None, _names_nothing(arguments)
    if not wrong:
        made, wrong = _made(config, name, arguments, settings)
    if not wrong:
        wrong = _out_of_range(made)
    if wrong:
        raise UsageError(f"{wrong}; see textgym {name} --help")
    return made


def _made(
    config: type[Any], name: str, arguments: Sequence[str], settings: dict[str, Any]
) -> tuple[Any, str]:
    """The config, or what is wrong with the words."""
    import tyro

    drawn = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    # Help goes to standard output and is not caught.
    try:
        with contextlib.redirect_stderr(drawn):
            return tyro.cli(config, prog=f"textgym {name}", args=arguments, **settings), ""
    except SystemExit as stop:
        if not stop.code:
            raise
    drawn.seek(0)
    return None, _unknown(config, arguments) or _reworded(config, drawn.read().splitlines())


def _out_of_range(made: Any) -> str:
    """What is wrong with the first number of a config that is not in its option's range."""
    mine = {field.name: RANGES[field.name] for field in fields(made) if field.name in RANGES}
    try:
        require_ranges(made, mine)
    except ValueError as error:
        name, _, rest = str(error).partition(" ")
        return f"--{name.replace('_', '-')} {rest}"
    return ""


def options_of(config: type[Any], prefix: str = "--") -> Iterator[str]:
    """Every option of a config, such as ``--ppo.kl-coefficient``, and the ``--no-`` of switches."""
    kinds = get_type_hints(config)
    for field in fields(config):
        option = f"{prefix}{field.name.replace('_', '-')}"
        kind = kinds[field.name]
        if isinstance(kind, type) and is_dataclass(kind):
            yield from options_of(kind, prefix if _is_bare(config, field.name) else f"{option}.")
            continue
        yield option
        if kind is bool:
            start, _, end = option.rpartition(".")
            yield f"{start}.no-{end}" if start else f"--no-{option[2:]}"


def _is_bare(config: type[Any], name: str) -> bool:
    """Whether a group's options stand without the name of the group."""
    from tyro.conf import OmitArgPrefixes

    kind = get_type_hints(config, include_extras=True)[name]
    return OmitArgPrefixes in getattr(kind, "__metadata__", ())


def _names_nothing(arguments: Sequence[str]) -> str:
    """What is wrong with the first word that is empty, or that no name and no path can be.

    An empty path would be the current folder, which would be read whole, or written into.
    """
    option = ""
    for word in arguments:
        if "\0" in word:
            return f"{shown(word)} holds a character of code 0, which no path and no name has"
        value = word
        if word.startswith("--"):
            option, equals, value = word.partition("=")
            value = value if equals else option
        if not value and option not in _MAY_BE_EMPTY:
            return f"{option or 'a word'} is empty: give a value, or leave it out"
    return ""


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
    options = list(options_of(config))
    for prefix in (f"--{group}.", "--"):
        option = f"{prefix}{field.replace('_', '-')}"
        if message and option in options:
            return f"{option} {rest}"
    return said
