"""What an action does to a text: append a token, choose a candidate, edit one place.

Pure functions of ``textgym.dynamics.states``: they return new arrays, write into none that they
were given, and bring no value from a device to the host. All three kinds of action share one state,
one allowance and two ways to end.

A row is open until its text is finished or an outside limit cuts it. A closed row stays as it is,
whatever its action. An illegal action of an open row changes no text and uses one of the allowance.
Where the end of text and the end of the allowance coincide, the end of text is the reason.

Actions must be in their space; the environments see to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from textgym.dynamics.append import append, legal_appends, permits_append
from textgym.dynamics.endings import is_finished, is_open, stop_reasons, truncated
from textgym.dynamics.states import Array, Rules, State, copy_of, namespace, numbers_like

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "ACTION_KINDS",
    "ActionKind",
    "append",
    "choose",
    "edit",
    "is_finished",
    "is_open",
    "legal_appends",
    "legal_choices",
    "legal_edits",
    "permits_append",
    "permits_choice",
    "permits_edit",
    "truncated",
]


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
    rows = numbers_like(state.tokens, len(state.tokens))
    alive = is_open(state, rules)
    phrase = _candidates(state)[rows, action]
    takes = alive & permits_choice(state, action, rules)
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
    length, steps = state.length + taken, state.steps + alive
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
            spent=alive & (full | (steps >= rules.max_actions)),
        ),
        candidates=state.candidates,
        automaton=state.automaton,
        authored=authored,
    )


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
    alive = is_open(state, rules)
    acts = alive & permits_edit(state, action, rules)
    if allowed is not None:
        acts = acts & allowed
    writes = acts & rules.legal[token] & (token != rules.eos_id)
    deleted, inserted = acts & (token == rules.pad_id), acts & (token == rules.bos_id)
    here, columns = place[:, None], numbers_like(state.tokens, state.tokens.shape[1])[None, :]
    up, down = deleted[:, None] & (columns >= here), inserted[:, None] & (columns > here)
    source = columns + up * 1 - down * 1
    rows = numbers_like(state.tokens, len(state.tokens))[:, None]
    tokens = state.tokens[rows, source.clip(0, rules.width - 1)]
    length = state.length + (writes & (place == state.length)) + inserted - deleted * 1
    tokens = xp.where(writes[:, None] & (columns == here), token[:, None], tokens)
    tokens = xp.where(columns < length[:, None], tokens, rules.pad_id)
    steps = state.steps + alive
    return State(
        tokens=tokens,
        prompt_length=state.prompt_length,
        length=length,
        steps=steps,
        stop_reason=stop_reasons(
            state,
            ended=acts & (token == rules.eos_id),
            spent=alive & (steps >= rules.max_actions),
        ),
    )


def permits_choice(state: State, action: Array, rules: Rules) -> Array:
    """Returns whether each row has a candidate of that number, ``(N,)`` bool."""
    rows = numbers_like(state.tokens, len(state.tokens))
    return _is_candidate(_candidates(state)[rows, action], rules)


def permits_edit(state: State, action: Array, rules: Rules) -> Array:
    """Returns whether each row's edit is one that ``edit`` lists, ``(N,)`` bool."""
    place, token = action[:, 0], action[:, 1]
    inside = (place >= state.prompt_length) & (place < state.length)
    room = state.length - state.prompt_length < rules.completion_tokens
    stops = token == rules.eos_id
    plain = rules.legal[token] & ~stops
    rows = numbers_like(state.tokens, len(state.tokens))
    doubles = room & rules.legal[state.tokens[rows, place]]
    inserts, deletes = (token == rules.bos_id) & doubles, token == rules.pad_id
    behind = (place == state.length) & room & plain
    return stops | behind | (inside & (plain | deletes | inserts))


def legal_choices(state: State, rules: Rules) -> Array:
    """Returns which candidates may be chosen in each row, ``(N, K)`` bool."""
    return _is_candidate(_candidates(state), rules)


def legal_edits(state: State, rules: Rules) -> Array:
    """Returns the legal places, then the legal ids, ``(N, T + V)`` bool.

    A place and an id can each be legal and not go together: nothing can be deleted or inserted
    behind the last token. Such a pair has no effect.
    """
    xp = namespace(state.tokens)
    columns = numbers_like(state.tokens, state.tokens.shape[1])[None, :]
    size = state.length - state.prompt_length
    room, full_of = size < rules.completion_tokens, size > 0
    last = xp.where(room, state.length, state.length - 1)
    places = (columns >= state.prompt_length[:, None]) & (columns <= last[:, None])
    ids = legal_appends(state, rules)
    ids[:, rules.pad_id] = full_of
    ids[:, rules.bos_id] = full_of & room
    return xp.concatenate([places, ids], 1)


def _candidates(state: State) -> Array:
    if state.candidates is None:
        raise ValueError("there is nothing to choose from: the state has no candidates")
    return state.candidates


def _is_candidate(phrases: Array, rules: Rules) -> Array:
    """Returns which of ``(..., L)`` phrases are text: not empty, and without an illegal id."""
    padded = phrases == rules.pad_id
    return (padded | rules.legal[phrases]).all(-1) & ~padded[..., 0]


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionKind:
    """One kind of action.

    Attributes:
        move: What an action does.
        permits: Whether it has an effect.
        legal: A mask of the actions, for agents.
    """

    move: Callable[[State, Array, Rules, Array | None], State]
    permits: Callable[[State, Array, Rules], Array]
    legal: Callable[[State, Rules], Array]


ACTION_KINDS: Mapping[str, ActionKind] = MappingProxyType(
    {
        "append": ActionKind(move=append, permits=permits_append, legal=legal_appends),
        "choose": ActionKind(move=choose, permits=permits_choice, legal=legal_choices),
        "edit": ActionKind(move=edit, permits=permits_edit, legal=legal_edits),
    }
)
"""The kinds by name."""
