"""Appending a token: to N texts as arrays, to one text in plain numbers, to N texts in place.

The three do the same. ``append`` is pure and takes every case, in numpy and in torch.
``append_to_row`` is for one text, ten times as fast. ``Growth`` is for the usual step of a batch in
numpy, in which every text grows and nothing ends, and leaves all others to ``append``.

In numpy, ``append`` looks first what has to be written, and touches only that. On a device a look
would make the host wait, so every row writes there, and those that must not write what they hold.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from textgym.dynamics.states import (
    Array,
    Row,
    Rules,
    State,
    arange_like,
    copy_of,
    is_open,
    namespace,
    stop_reasons,
)
from textgym.types import StopReason

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = [
    "Growth",
    "append",
    "append_to_row",
    "legal_appends",
    "legal_ids_of",
    "permits_append",
]

_RUNNING, _END_OF_TEXT, _LENGTH = (
    int(StopReason.RUNNING),
    int(StopReason.END_OF_TEXT),
    int(StopReason.LENGTH),
)
_INT64 = np.dtype(np.int64)


def append(state: State, action: Array, rules: Rules, allowed: Array | None = None) -> State:
    """Appends one token to every open row.

    The end-of-text id is written like any other.

    Args:
        state: N rows.
        action: One id per row, ``(N,)`` int64.
        rules: The rules.
        allowed: Whether a constraint allows each action, ``(N,)`` bool; ``None`` without one.
    """
    open_rows = is_open(state, rules)
    written = open_rows & permits_append(state, action, rules)
    if allowed is not None:
        written = written & allowed
    length, steps = state.length + written, state.steps + open_rows
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
            state, ended=written & (action == rules.eos_id), spent=open_rows & spent
        ),
        automaton=state.automaton,
        authored=authored,
    )


def permits_append(state: State, action: Array, rules: Rules) -> Array:  # noqa: ARG001 - as the others
    """Returns whether each row's text may hold its action, ``(N,)`` bool."""
    return rules.legal[action]


def legal_appends(state: State, rules: Rules) -> Array:
    """Returns which ids may be appended to each row, ``(N, V)`` bool; one always may."""
    return legal_ids_of(rules, len(state.tokens))


def legal_ids_of(rules: Rules, count: int) -> Array:
    """Returns which ids may be appended to each of ``count`` rows, whatever is in them, anew."""
    if isinstance(rules.legal, np.ndarray):
        mask = np.empty((count, len(rules.legal)), dtype=np.bool_)
        mask[:] = rules.legal
        return mask
    return rules.legal.repeat(count, 1)


def append_to_row(row: Row, token: int, rules: Rules, *, legal: bool) -> Row:
    """Appends a token to one open text without candidates, constraint or replies.

    Args:
        row: The text.
        token: Its id.
        rules: The rules.
        legal: Whether it may be appended; if not, nothing is written.
    """
    steps = row.steps + 1
    reason = _LENGTH if steps >= rules.max_actions else _RUNNING
    if not legal:
        return Row(row.tokens, row.prompt_length, row.length, steps, reason)
    tokens = row.tokens.copy()
    tokens[row.length] = token
    if token == rules.eos_id:
        reason = _END_OF_TEXT
    return Row(tokens, row.prompt_length, row.length + 1, steps, reason)


class Growth:
    """The state of N texts, written in place as long as every text just grows.

    Most steps append a legal token to every row, end nothing and pay nothing. ``append`` copies all
    tokens for each of them. Here they are copied once for a stretch of such steps, and again only
    after somebody has asked for the state, which from then on is nobody's to write.
    """

    def __init__(self, rules: Rules, *, in_place: bool) -> None:
        """Begins without a state.

        Args:
            rules: The rules; with ``in_place``, their arrays are numpy's.
            in_place: Whether steps of the usual kind may be taken here. Then an action appends a
                token, to states of numpy arrays, and nothing else has to be done.
        """
        self._settled: State | None = None
        self._stretch: _Stretch | None = None
        limits = [rules.max_actions, *([] if rules.step_limit is None else [rules.step_limit])]
        self._limit, self._plain = min(limits), None
        if in_place:
            # Each id that is written and ends no text is at its own place, every other place holds
            # another id. None is outside 0..V-1, so no action outside is equal to what it looks up.
            ids = np.arange(len(rules.legal))
            goes_on = rules.legal & (ids != rules.eos_id)
            self._plain = np.where(goes_on, ids, np.roll(ids, -1))

    @property
    def state(self) -> State | None:
        """The state, never to be written to; ``None`` before there is one."""
        if self._stretch is not None:
            self._settled, self._stretch = self._stretch.state(), None
        return self._settled

    @state.setter
    def state(self, value: State | None) -> None:
        self._settled, self._stretch = value, None

    @property
    def has_begun(self) -> bool:
        """Whether there is a state, without taking it."""
        return self._stretch is not None or self._settled is not None

    def append(self, actions: Any, closed: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64] | None:
        """Appends a token to every row, if that is all that has to be done.

        Args:
            actions: What a caller gave as actions.
            closed: Rows that no action changes, ``(N,)``.

        Returns:
            The tokens, ``(N, T)``, a new array; or ``None`` if nothing has been done, because there
            is something else to do: a row is closed or may end, or the actions are to be looked at
            more closely.
        """
        if self._plain is None or type(actions) is not np.ndarray or actions.dtype != _INT64:
            return None
        # "clip" looks up the nearest place. Bytes are compared in half the time of numbers.
        looked_up = self._plain.take(actions, mode="clip")
        if actions.shape != closed.shape or looked_up.tobytes() != actions.tobytes():
            return None
        if self._stretch is None:
            if self._settled is None or np.count_nonzero(closed):
                return None
            left = self._limit - int(self._settled.steps.max()) - 1
            if left < 1:
                return None
            self._stretch = _Stretch(self._settled, left)
        return self._stretch.append(actions) if self._stretch.left else None


class _Stretch:
    """Steps in a row in which nothing ends.

    Attributes:
        left: How many more there can be before an allowance or an outside limit is used up.
    """

    __slots__ = ("_before", "_flat", "_places", "_taken", "left")

    def __init__(self, before: State, left: int) -> None:
        self._before, self._taken, self.left = before, 0, left
        # One array and no view of it: a copy of both, or a pickle, would be of two arrays.
        self._flat: npt.NDArray[np.integer] = before.tokens.flatten()
        self._places = before.length + np.arange(0, self._flat.size, before.tokens.shape[1])

    def append(self, tokens: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        self._flat[self._places] = tokens
        self._places += 1
        self._taken += 1
        self.left -= 1
        return self._tokens().astype(np.int64)

    def state(self) -> State:
        """Gives the tokens away; no more can be appended."""
        before, taken = self._before, self._taken
        return dataclasses.replace(
            before, tokens=self._tokens(), length=before.length + taken, steps=before.steps + taken
        )

    def _tokens(self) -> npt.NDArray[np.integer]:
        return self._flat.reshape(self._before.tokens.shape)


def _written(array: Array, places: Array, values: Array, where: Array) -> Array:
    """Returns a copy of ``(N, T)`` with one value in each row that is to be written, at a place."""
    result = copy_of(array)
    if isinstance(array, np.ndarray):
        rows = where.nonzero()[0]
        if len(rows) < len(array):
            places, values = places[rows], values[rows]
        result[rows, places] = values
        return result
    xp, rows = namespace(array), arange_like(array, len(array))
    # A row that is full has no place; nothing is written there anyway.
    places = xp.where(where, places, 0)
    result[rows, places] = xp.where(where, values, result[rows, places])
    return result
