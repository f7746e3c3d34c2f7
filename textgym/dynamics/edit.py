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

__all__ = ["edit", "legal_edits", "legal_pairs", "permits_edit"]

_APPENDS, _REPLACES, _DOUBLES = 1, 2, 3


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
    place, token = action[:, :1], action[:, 1]
    return _goes_with(_kinds_of_place(state, place, rules)[:, 0], token, rules)


def legal_pairs(state: State, rules: Rules) -> Array:
    """Returns which pairs of a place and an id ``edit`` lists, ``(N, T, V)`` bool.

    Exact, where ``legal_edits`` speaks of each part by itself: the end of text stops at any place,
    and nothing is deleted or inserted behind the last token.
    """
    kinds = arange_like(state.tokens, _DOUBLES + 1)[:, None]
    ids = arange_like(state.tokens, len(rules.legal))[None, :]
    places = arange_like(state.tokens, rules.width)[None, :]
    # Rows of a small table are copied faster than the same is worked out for every pair.
    return _goes_with(kinds, ids, rules)[_kinds_of_place(state, places, rules)]


def _kinds_of_place(state: State, place: Array, rules: Rules) -> Array:
    """What can be done at places ``(N or 1, P)`` beside stopping, ``(N, P)`` int64, from 0 on.

    Nothing, appending, replacing and deleting, or these two and inserting as well.
    """
    start, length = state.prompt_length[:, None], state.length[:, None]
    inside = (place >= start) & (place < length)
    room = length - start < rules.completion_tokens
    rows = arange_like(state.tokens, len(state.tokens))[:, None]
    doubles = inside & room & rules.legal[state.tokens[rows, place]]
    return ((place == length) & room) * _APPENDS + inside * _REPLACES + doubles * 1


def _goes_with(kind: Array, token: Array, rules: Rules) -> Array:
    """Whether an id can be chosen at a place of some kind, elementwise, bool."""
    stops = token == rules.eos_id
    writes = (kind >= _APPENDS) & rules.legal[token]
    deletes = (kind >= _REPLACES) & (token == rules.pad_id)
    inserts = (kind >= _DOUBLES) & (token == rules.bos_id)
    return stops | writes | deletes | inserts


def legal_edits(state: State, rules: Rules) -> Array:
    """Returns the legal places, then the legal ids, ``(N, T + V)`` bool.

    A place and an id can each be legal and not go together: nothing can be deleted or inserted
    behind the last token. Such a pair has no effect; ``legal_pairs`` leaves it out.
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
