"""What a token does to a text: pure functions of integer arrays, numpy or torch alike.

Every function returns new arrays and writes into none that it was given, so whatever has been
handed out stays as it was. Nothing here brings a value from a device to the host.

Shapes: N rows (texts), T places in a row, V ids.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from textgym.types import StopReason

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

__all__ = [
    "Array",
    "Rules",
    "State",
    "append",
    "is_finished",
    "is_open",
    "lay_out",
    "legal_actions",
    "observe",
    "replace_rows",
    "take_rows",
    "truncated",
]

Array: TypeAlias = Any
"""A numpy array or a torch tensor."""

_RUNNING, _END_OF_TEXT, _LENGTH = (
    int(StopReason.RUNNING),
    int(StopReason.END_OF_TEXT),
    int(StopReason.LENGTH),
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rules:
    """What stays the same over an episode.

    Attributes:
        prompt_tokens: Room for the prompt, the beginning-of-text id included.
        completion_tokens: The allowance: the number of actions of an episode at most.
        pad_id: Fills a row to the right of its text.
        bos_id: The first id of every row.
        eos_id: The action that ends a text.
        legal: Which actions are legal, ``(V,)`` bool. The end of text always is, padding never.
        step_limit: After how many actions an outside limit cuts the episode; ``None`` for never.
    """

    prompt_tokens: int
    completion_tokens: int
    pad_id: int
    bos_id: int
    eos_id: int
    legal: Array
    step_limit: int | None = None

    @property
    def width(self) -> int:
        """T, the number of places in a row."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class State:
    """N texts on their way.

    Attributes:
        tokens: Prompt, completion, padding; ``(N, T)`` int64.
        prompt_length: How many places the prompt takes, ``(N,)`` int64. The completion follows.
        length: How many places prompt and completion take, ``(N,)`` int64.
        steps: How much of the allowance is used, ``(N,)`` int64.
        stop_reason: A ``StopReason``, ``(N,)`` int64.
    """

    tokens: Array
    prompt_length: Array
    length: Array
    steps: Array
    stop_reason: Array


def lay_out(prompts: Sequence[Sequence[int]], rules: Rules) -> State:
    """Makes the states in which episodes start, as numpy arrays.

    A prompt that is too long keeps the beginning-of-text id and its own last
    ``prompt_tokens - 1`` ids: what stands nearest to the completion matters most.

    Args:
        prompts: N prompts' ids, without special ids.
        rules: The rules.
    """
    room = rules.prompt_tokens - 1
    count = len(prompts)
    tokens = np.full((count, rules.width), rules.pad_id, dtype=np.int64)
    tokens[:, 0] = rules.bos_id
    length = np.ones(count, dtype=np.int64)
    for row, prompt in enumerate(prompts):
        kept = prompt[max(0, len(prompt) - room) :]
        tokens[row, 1 : 1 + len(kept)] = kept
        length[row] += len(kept)
    return State(
        tokens=tokens,
        prompt_length=length,
        length=length.copy(),
        steps=np.zeros(count, dtype=np.int64),
        stop_reason=np.full(count, _RUNNING, dtype=np.int64),
    )


def append(state: State, action: Array, rules: Rules) -> State:
    """Appends one token to every open row; a closed row stays as it is, whatever its action.

    An illegal action, or one outside ``0..V-1``, writes nothing and uses one of the allowance. The
    end-of-text id is written like any other. It ends the text, and so does the last of the
    allowance; where both happen, the end of text is the reason.

    Args:
        state: N rows.
        action: One id per row, ``(N,)`` int64.
        rules: The rules.
    """
    xp = _namespace(state.tokens)
    alive = is_open(state, rules)
    # Padding is never legal, so an id that does not exist becomes an illegal one.
    token = xp.where((action >= 0) & (action < len(rules.legal)), action, rules.pad_id)
    written = alive & rules.legal[token]
    rows = _row_numbers(state.tokens)
    # A closed row can be full, and then its length is no place; nothing is written there anyway.
    places = xp.where(alive, state.length, 0)
    tokens = _copy(state.tokens)
    tokens[rows, places] = xp.where(written, token, tokens[rows, places])
    steps = state.steps + alive
    ended = written & (token == rules.eos_id)
    spent = alive & (steps >= rules.completion_tokens)
    return State(
        tokens=tokens,
        prompt_length=state.prompt_length,
        length=state.length + written,
        steps=steps,
        stop_reason=xp.where(ended, _END_OF_TEXT, xp.where(spent, _LENGTH, state.stop_reason)),
    )


def is_open(state: State, rules: Rules) -> Array:
    """Returns which rows an action still changes, ``(N,)`` bool."""
    running = state.stop_reason == _RUNNING
    return running if rules.step_limit is None else running & (state.steps < rules.step_limit)


def is_finished(state: State) -> Array:
    """Returns which texts are finished by themselves, ``(N,)`` bool."""
    return state.stop_reason != _RUNNING


def truncated(state: State, rules: Rules) -> Array:
    """Returns which rows an outside limit has cut, ``(N,)`` bool."""
    if rules.step_limit is None:
        return state.steps < 0
    return state.steps >= rules.step_limit


def legal_actions(state: State, rules: Rules) -> Array:
    """Returns which actions are legal in each row, ``(N, V)`` bool; one always is."""
    if isinstance(rules.legal, np.ndarray):
        return np.tile(rules.legal, (len(state.tokens), 1))
    return rules.legal.repeat(len(state.tokens), 1)


def observe(state: State, obs_mode: str) -> Array | dict[str, Array]:
    """Returns what an agent sees of N rows; each array is new, ``(N, T)`` int64.

    Args:
        state: N rows.
        obs_mode: ``"tokens"`` for the ids alone; ``"dict"`` for ``tokens``, ``attention_mask`` (1
            where there is text, 0 where there is padding) and ``prompt_mask`` (1 on the prompt).
    """
    tokens = _copy(state.tokens)
    if obs_mode == "tokens":
        return tokens
    return {
        "tokens": tokens,
        "attention_mask": _before(tokens, state.length),
        "prompt_mask": _before(tokens, state.prompt_length),
    }


def take_rows(state: State, rows: Array) -> State:
    """Returns a new state of the rows whose numbers are given."""
    return State(**{field.name: getattr(state, field.name)[rows] for field in fields(State)})


def replace_rows(state: State, rows: Array, fresh: State) -> State:
    """Returns a new state in which ``fresh`` stands at the given row numbers."""
    replaced = {}
    for field in fields(State):
        replaced[field.name] = _copy(getattr(state, field.name))
        replaced[field.name][rows] = getattr(fresh, field.name)
    return State(**replaced)


def _before(tokens: Array, end: Array) -> Array:
    xp = _namespace(tokens)
    places = (
        np.arange(tokens.shape[1]) if xp is np else xp.arange(tokens.shape[1], device=tokens.device)
    )
    return xp.where(places < end[:, None], 1, 0)


def _row_numbers(tokens: Array) -> Array:
    if isinstance(tokens, np.ndarray):
        return np.arange(len(tokens))
    return _namespace(tokens).arange(len(tokens), device=tokens.device)


def _copy(array: Array) -> Array:
    return array.copy() if isinstance(array, np.ndarray) else array.clone()


def _namespace(array: Array) -> ModuleType:
    # An array that is not numpy's is torch's, so this finds a module that is already loaded.
    return np if isinstance(array, np.ndarray) else importlib.import_module("torch")
