"""Reading the JSON value that describes a constraint; see ``compile_constraints`` for its form.

Every function raises ``ValueError`` with one line that names what is wrong in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from textgym.constraints.automata import (
    ByteAutomaton,
    Edges,
    automaton_of_anything,
    automaton_of_choices,
    automaton_of_regex,
    distances,
)
from textgym.messages import listed, require_text, require_texts, shown, whole_number

if TYPE_CHECKING:
    from textgym.types import Example, Tokenizer

__all__ = [
    "automaton_of",
    "check_choices",
    "check_keys",
    "choices_of_column",
    "minimum_of",
    "pieces_of",
    "usable_ids",
]

_KEYS = ("allow", "choices", "forbid", "min_tokens", "regex")
_COLUMN = "column"


def check_keys(spec: Mapping[str, Any]) -> None:
    """Refuses what is no dictionary of known keys that go together."""
    if not isinstance(spec, Mapping):
        raise ValueError(f"constraints must be a dictionary, got {shown(spec)}")  # noqa: TRY004 - a setting
    unknown = sorted(set(spec) - set(_KEYS))
    if unknown:
        raise ValueError(f"unknown constraint {unknown[0]!r}; known: {', '.join(_KEYS)}")
    if "regex" in spec and "choices" in spec:
        raise ValueError("constraints: regex and choices exclude each other; give one of them")


def choices_of_column(spec: Mapping[str, Any], examples: Sequence[Example]) -> Mapping[str, Any]:
    """Puts the texts of a column, all examples together, into the place of its name.

    Args:
        spec: Whose ``choices`` may be ``{"column": NAME}``.
        examples: Their column holds texts, or lists of texts.

    Returns:
        The same with ``choices`` as a sorted list without repeats.
    """
    if not isinstance(spec, Mapping) or not isinstance(spec.get("choices"), Mapping):
        return spec
    choices = spec["choices"]
    name = choices.get(_COLUMN)
    if set(choices) != {_COLUMN} or not isinstance(name, str):
        raise ValueError(
            "constraints: choices is a list of texts, or {'column': NAME} for those of the "
            f"examples' column; got {shown(choices)}"
        )
    if name not in examples[0].columns:
        raise ValueError(
            f"constraints: choices: the examples have no column {name!r}; they have: "
            f"{listed(examples[0].columns)}"
        )
    texts = set[str]()
    for example in examples:
        value = example.columns[name]
        held = value if _is_list(value) else [value]
        if not all(isinstance(text, str) for text in held):
            raise ValueError(
                f"constraints: choices: the column {name!r} must hold texts, or lists of texts; "
                f"it has {shown(value)}"
            )
        texts.update(held)
    return {**spec, "choices": sorted(texts)}


def minimum_of(spec: Mapping[str, Any], completion_tokens: int) -> int:
    """Returns how many tokens a completion has at least."""
    minimum = whole_number(spec.get("min_tokens", 0))
    if minimum is None or minimum < 0:
        raise ValueError(
            f"constraints: min_tokens must be an integer from 0 on, got {spec['min_tokens']!r}"
        )
    if minimum > completion_tokens:
        raise ValueError(
            f"constraints: min_tokens {minimum} is more than the allowance of {completion_tokens}"
        )
    return minimum


def usable_ids(
    spec: Mapping[str, Any], tokenizer: Tokenizer, legal: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Returns which ids ``allow`` and ``forbid`` leave, ``(V,)`` bool."""
    usable = legal.copy()
    if "allow" in spec:
        allowed = np.zeros_like(legal)
        allowed[[tokenizer.eos_id, *_ids("allow", spec["allow"], tokenizer)]] = True
        usable &= allowed
    if "forbid" in spec:
        usable[_ids("forbid", spec["forbid"], tokenizer)] = False
    return usable


def _ids(key: str, items: Any, tokenizer: Tokenizer) -> list[int]:
    if not _is_list(items):
        raise ValueError(f"constraints: {key} must be a list of texts or ids, got {shown(items)}")
    return [_id(key, item, tokenizer) for item in items]


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _id(key: str, item: Any, tokenizer: Tokenizer) -> int:
    if isinstance(item, str):
        require_text(item, f"constraints: {key}: the text")
        ids = tokenizer.encode(item)
        if len(ids) != 1:
            parts = [tokenizer.decode([token]) for token in ids]
            raise ValueError(
                f"constraints: {key}: {shown(item)} is no single token but {len(ids)}: "
                f"{shown(parts)} (ids {shown(ids)}); give tokens, or use regex or choices for texts"
            )
        return ids[0]
    token = whole_number(item)
    if token is None or not 0 <= token < tokenizer.vocab_size:
        raise ValueError(
            f"constraints: {key}: {item!r} is neither a text nor an id from 0 to "
            f"{tokenizer.vocab_size - 1}"
        )
    return token


def automaton_of(spec: Mapping[str, Any]) -> ByteAutomaton:
    """Returns the automaton of the texts that ``regex`` or ``choices`` permits."""
    if "regex" in spec:
        if not isinstance(spec["regex"], str):
            raise ValueError(f"constraints: regex must be a text, got {shown(spec['regex'])}")
        return automaton_of_regex(spec["regex"])
    if "choices" in spec:
        choices = spec["choices"]
        if not _is_list(choices) or not all(isinstance(text, str) for text in choices):
            raise ValueError(f"constraints: choices must be a list of texts, got {shown(choices)}")
        require_texts(choices, "constraints: the choice")
        if not choices:
            raise ValueError("constraints: choices is empty; give at least one text")
        return automaton_of_choices(choices)
    return automaton_of_anything()


def pieces_of(
    spec: Mapping[str, Any], tokenizer: Tokenizer, usable: npt.NDArray[np.bool_]
) -> list[bytes]:
    """Returns what each token writes; nothing for those that are not usable."""
    if "regex" not in spec and "choices" not in spec:
        # Only their number matters, so any byte does, and the tokenizer need not know any.
        return [b"." if use else b"" for use in usable]
    token_bytes = getattr(tokenizer, "token_bytes", None)
    if token_bytes is None:
        raise ValueError(
            f"constraints: regex and choices need to know what a token writes, and "
            f"{type(tokenizer).__name__} has no method token_bytes(id) -> bytes"
        )
    return [token_bytes(token) if use else b"" for token, use in enumerate(usable)]


def check_choices(
    choices: Sequence[str],
    automaton: ByteAutomaton,
    edges: Edges,
    minimum: int,
    completion_tokens: int,
) -> None:
    """Refuses a choice that no legal tokens can write within the allowance."""
    sources, targets = edges
    start = np.arange(len(automaton.final)) == automaton.start
    lengths = distances(targets, sources, start, completion_tokens)
    for choice in choices:
        if not lengths[minimum:, automaton.read(choice)].any():
            raise ValueError(
                f"constraints: choice {shown(choice)} cannot be written in {minimum} to "
                f"{completion_tokens} legal tokens; allow more tokens or leave it out"
            )
