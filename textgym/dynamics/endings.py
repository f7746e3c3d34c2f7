"""When a text is open, finished or cut off; pure, like all that is done to states.

A row is open until its text is finished or an outside limit cuts it.
"""

from __future__ import annotations

import numpy as np

from textgym.dynamics.states import Array, Rules, State, namespace
from textgym.types import StopReason

__all__ = ["is_finished", "is_open", "stop_reasons", "truncated"]

_RUNNING, _END_OF_TEXT, _LENGTH = (
    int(StopReason.RUNNING),
    int(StopReason.END_OF_TEXT),
    int(StopReason.LENGTH),
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
        steps = state.steps
        return np.zeros(len(steps), dtype=np.bool_) if isinstance(steps, np.ndarray) else steps < 0
    return state.steps >= rules.step_limit


def stop_reasons(state: State, *, ended: Array, spent: Array) -> Array:
    """Returns why texts are finished after a move, ``(N,)`` int64.

    Where the end of text and the end of the allowance coincide, the end of text is the reason.

    Args:
        state: The rows before the move.
        ended: Where the end of text was chosen, ``(N,)`` bool.
        spent: Where the allowance or the room is used up, ``(N,)`` bool.
    """
    # In most steps nothing ends; on a device, asking would cost more than it saves.
    if isinstance(ended, np.ndarray) and not np.count_nonzero(ended | spent):
        return state.stop_reason
    where = namespace(state.tokens).where
    return where(ended, _END_OF_TEXT, where(spent, _LENGTH, state.stop_reason))
