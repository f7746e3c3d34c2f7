"""Appending one token to every text: the way of most steps; see ``textgym.dynamics.choose_edit``.

In numpy, what has to be written is looked up first, and only that is touched. On a device a look
would make the host wait, so there every row writes, and those that must not write what they hold.
"""

from __future__ import annotations

import numpy as np

from textgym.dynamics.endings import is_open, stop_reasons
from textgym.dynamics.states import Array, Rules, State, copy_of, namespace, numbers_like

__all__ = ["append", "legal_appends", "permits_append"]


def append(state: State, action: Array, rules: Rules, allowed: Array | None = None) -> State:
    """Appends one token to every open row.

    The end-of-text id is written like any other.

    Args:
        state: N rows.
        action: One id per row, ``(N,)`` int64.
        rules: The rules.
        allowed: Whether a constraint allows each action, ``(N,)`` bool; ``None`` without one.
    """
    alive = is_open(state, rules)
    written = alive & permits_append(state, action, rules)
    if allowed is not None:
        written = written & allowed
    length, steps = state.length + written, state.steps + alive
    spent, authored = steps >= rules.max_actions, state.authored
    if authored is not None:
        # Replies take room without taking actions.
        spent = spent | (length - state.prompt_length >= rules.completion_tokens)
        authored = _written(authored, state.length, written, written)
    return State(
        tokens=_written(state.tokens, state.length, action, written),
        prompt_length=state.prompt_length,
        length=length,
        steps=steps,
        stop_reason=stop_reasons(
            state, ended=written & (action == rules.eos_id), spent=alive & spent
        ),
        automaton=state.automaton,
        authored=authored,
    )


def permits_append(state: State, action: Array, rules: Rules) -> Array:  # noqa: ARG001 - as the others
    """Returns whether each row's text may hold its action, ``(N,)`` bool."""
    return rules.legal[action]


def legal_appends(state: State, rules: Rules) -> Array:
    """Returns which ids may be appended to each row, ``(N, V)`` bool; one always may."""
    if isinstance(rules.legal, np.ndarray):
        return np.tile(rules.legal, (len(state.tokens), 1))
    return rules.legal.repeat(len(state.tokens), 1)


def _written(array: Array, places: Array, values: Array, where: Array) -> Array:
    """Returns a copy of ``(N, T)`` with one value in each row that is to be written, at a place."""
    result = copy_of(array)
    if isinstance(array, np.ndarray):
        rows = where.nonzero()[0]
        if len(rows) < len(array):
            places, values = places[rows], values[rows]
        result[rows, places] = values
        return result
    xp, rows = namespace(array), numbers_like(array, len(array))
    # A row that is full has no place; nothing is written there anyway.
    places = xp.where(where, places, 0)
    result[rows, places] = xp.where(where, values, result[rows, places])
    return result
