"""Editing one place of a text: replace, append, delete, insert, or stop."""

from __future__ import annotations

from textgym.dynamics.append import legal_appends
from textgym.dynamics.states import (
    Array,
    Rules,
    State,
    arange_like,
    is_open,
    namespace,
    stop_reasons,
)

__all__ = ["edit", "legal_edits", "permits_edit"]


def edit(state: State, action: Array, rules: Rules, allowed: Array | None = None) -> State:
    """Changes one place of every open row's completion, or ends the text as it stands.

    With ``(place, id)``, where places count from the beginning of the prompt:
        * the end-of-text id, at any place, ends the text; nothing is written;
        * an id that a text may hold, at a place of the completion, replaces what is there, and at
          the place right behind the completion it is appended, if there is room;
        * the padding id deletes the place, and what follows moves up;
        * the beginning-of-text id inserts: the token there, if it may be written, is doubled, and
          what follows moves down, if there is room. The double can then be replaced.
    All else is illegal, places of the prompt above all.

    Args:
        state: N rows.
        action: A place and an id per row, ``(N, 2)`` int64.
        rules: The rules.
        allowed: Whether a constraint allows each action, ``(N,)`` bool; ``None`` without one.
    """
    xp = namespace(state.tokens)
    place, token = action[:, 0], action[:, 1]
    open_rows = is_open(state, rules)
    acts = open_rows & permits_edit(state, action, rules)
    if allowed is not None:
        acts = acts & allowed
    writes = acts & rules.legal[token] & (token != rules.eos_id)
    deleted, inserted = acts & (token == rules.pad_id), acts & (token == rules.bos_id)
    at, columns = place[:, None], arange_like(state.tokens, state.tokens.shape[1])[None, :]
    up, down = deleted[:, None] & (columns >= at), inserted[:, None] & (columns > at)
    source = columns + up * 1 - down * 1
    rows = arange_like(state.tokens, len(state.tokens))[:, None]
    tokens = state.tokens[rows, source.clip(0, rules.width - 1)]
    length = state.length + (writes & (place == state.length)) + inserted - deleted * 1
    tokens = xp.where(writes[:, None] & (columns == at), token[:, None], tokens)
    tokens = xp.where(columns < length[:, None], tokens, rules.pad_id)
    steps = state.steps + open_rows
    return State(
        tokens=tokens,
        prompt_length=state.prompt_length,
        length=length,
        steps=steps,
        stop_reason=stop_reasons(
            state,
            ended=acts & (token == rules.eos_id),
            spent=open_rows & (steps >= rules.max_actions),
        ),
    )


def permits_edit(state: State, action: Array, rules: Rules) -> Array:
    """Returns whether each row's edit is one that ``edit`` lists, ``(N,)`` bool."""
    place, token = action[:, 0], action[:, 1]
    inside = (place >= state.prompt_length) & (place < state.length)
    room = state.length - state.prompt_length < rules.completion_tokens
    stops = token == rules.eos_id
    plain = rules.legal[token] & ~stops
    rows = arange_like(state.tokens, len(state.tokens))
    doubles = room & rules.legal[state.tokens[rows, place]]
    inserts, deletes = (token == rules.bos_id) & doubles, token == rules.pad_id
    behind = (place == state.length) & room & plain
    return stops | behind | (inside & (plain | deletes | inserts))


def legal_edits(state: State, rules: Rules) -> Array:
    """Returns the legal places, then the legal ids, ``(N, T + V)`` bool.

    A place and an id can each be legal and not go together: nothing can be deleted or inserted
    behind the last token. Such a pair has no effect.
    """
    xp = namespace(state.tokens)
    columns = arange_like(state.tokens, state.tokens.shape[1])[None, :]
    size = state.length - state.prompt_length
    room, full_of = size < rules.completion_tokens, size > 0
    last = xp.where(room, state.length, state.length - 1)
    places = (columns >= state.prompt_length[:, None]) & (columns <= last[:, None])
    ids = legal_appends(state, rules)
    ids[:, rules.pad_id] = full_of
    ids[:, rules.bos_id] = full_of & room
    return xp.concatenate([places, ids], 1)
