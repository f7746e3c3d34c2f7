"""The state of a batch, written in place as long as every text just grows.

Most steps append a legal token to every row, end nothing and pay nothing. The dynamics are pure and
copy all tokens for each of them. Here they are copied once for a stretch of such steps, and again
only after somebody has asked for the state, which from then on is nobody's to write.

``Growth.append`` is the twin in place of ``textgym.dynamics.choose_edit.append``, and tested to be
its equal.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from textgym.dynamics.states import Rules, State

__all__ = ["Growth"]

_INT64 = np.dtype(np.int64)


class Growth:
    """N texts, and the stretch of steps that they are in."""

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

    __slots__ = ("_before", "_flat", "_places", "_taken", "_tokens", "left")

    def __init__(self, before: State, left: int) -> None:
        self._before, self._taken, self.left = before, 0, left
        self._tokens: npt.NDArray[np.integer] = before.tokens.copy()
        self._flat = self._tokens.reshape(-1)
        self._places = before.length + np.arange(0, self._tokens.size, self._tokens.shape[1])

    def append(self, tokens: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        self._flat[self._places] = tokens
        self._places += 1
        self._taken += 1
        self.left -= 1
        return self._tokens.astype(np.int64)

    def state(self) -> State:
        """Gives the tokens away; no more can be appended."""
        before, taken = self._before, self._taken
        return dataclasses.replace(
            before, tokens=self._tokens, length=before.length + taken, steps=before.steps + taken
        )
