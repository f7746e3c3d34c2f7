"""Choosing a candidate: tokens, or short phrases, that were proposed for each text."""

from __future__ import annotations

from textgym.dynamics.states import (
    Array,
    Rules,
    State,
    arange_like,
    copy_of,
    is_open,
    namespace,
    stop_reasons,
)

__all__ = ["choose", "legal_choices", "permits_choice"]


def choose(state: State, action: Array, rules: Rules, allowed: Array | None = None) -> State:
    """Appends one of the row's candidates, as much of it as there is room for.

    A candidate of padding alone is no candidate, and choosing it is illegal. The text ends with a
    candidate whose last id is the end of text, with the last of the room, and with the allowance.
    The new state still holds the old candidates.

    Args:
        state: N rows with candidates.
        action: The number of a candidate per row, ``(N,)`` int64.
        rules: The rules.
        allowed: Whether a constraint allows each action, ``(N,)`` bool; ``None`` without one.
    """
    xp = namespace(state.tokens)
    rows = arange_like(state.tokens, len(state.tokens))
    open_rows = is_open(state, rules)
    phrase = _candidates(state)[rows, action]
    takes = open_rows & permits_choice(state, action, rules)
    if allowed is not None:
        takes = takes & allowed
    room = state.prompt_length + rules.completion_tokens - state.length
    taken = xp.where(takes, xp.minimum((phrase != rules.pad_id).sum(1), room), 0)
    tokens = copy_of(state.tokens)
    authored = None if state.authored is None else copy_of(state.authored)
    for number in range(phrase.shape[1]):
        writes = number < taken
        places = xp.where(writes, state.length + number, 0)
        tokens[rows, places] = xp.where(writes, phrase[:, number], tokens[rows, places])
        if authored is not None:
            authored[rows, places] = authored[rows, places] | writes
    length, steps = state.length + taken, state.steps + open_rows
    last = phrase[rows, xp.where(taken > 0, taken - 1, 0)]
    full = length - state.prompt_length >= rules.completion_tokens
    return State(
        tokens=tokens,
        prompt_length=state.prompt_length,
        length=length,
        steps=steps,
        stop_reason=stop_reasons(
            state,
            ended=(taken > 0) & (last == rules.eos_id),
            spent=open_rows & (full | (steps >= rules.max_actions)),
        ),
        candidates=state.candidates,
        automaton=state.automaton,
        authored=authored,
    )


def permits_choice(state: State, action: Array, rules: Rules) -> Array:
    """Returns whether each row has a candidate of that number, ``(N,)`` bool."""
    rows = arange_like(state.tokens, len(state.tokens))
    return _is_candidate(_candidates(state)[rows, action], rules)


def legal_choices(state: State, rules: Rules) -> Array:
    """Returns which candidates may be chosen in each row, ``(N, K)`` bool."""
    return _is_candidate(_candidates(state), rules)


def _candidates(state: State) -> Array:
    if state.candidates is None:
        raise ValueError("there is nothing to choose from: the state has no candidates")
    return state.candidates


def _is_candidate(phrases: Array, rules: Rules) -> Array:
    """Returns which of ``(..., L)`` phrases are text: not empty, and without an illegal id."""
    padded = phrases == rules.pad_id
    return (padded | rules.legal[phrases]).all(-1) & ~padded[..., 0]
