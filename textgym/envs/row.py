"""One text in plain Python numbers: what ``TextEnv`` keeps of its state.

``Row.append`` is the scalar twin of ``textgym.dynamics.choose_edit.append``, ten times as fast for
one row, and tested to be its equal. The other kinds of action go through arrays of one row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from textgym.dynamics.states import State
from textgym.types import StopReason

if TYPE_CHECKING:
    import numpy.typing as npt

    from textgym.dynamics.states import Rules

__all__ = ["Row"]

_RUNNING, _END_OF_TEXT, _LENGTH = (
    int(StopReason.RUNNING),
    int(StopReason.END_OF_TEXT),
    int(StopReason.LENGTH),
)


@dataclass(slots=True, eq=False)
class Row:
    """A text on its way, never written into; ``State`` says what the fields mean.

    Attributes:
        tokens: ``(T,)`` int64.
        prompt_length: How many places the prompt takes.
        length: How many places prompt and completion take.
        steps: How many actions have been taken.
        stop_reason: The number of a ``StopReason``.
        candidates: ``(K, L)`` int64, or ``None``.
        automaton: Where the text is in its constraint, or ``None``.
        authored: ``(T,)`` int64, or ``None``.
    """

    tokens: npt.NDArray[np.int64]
    prompt_length: int
    length: int
    steps: int
    stop_reason: int
    candidates: npt.NDArray[np.int64] | None = None
    automaton: int | None = None
    authored: npt.NDArray[np.int64] | None = None

    @classmethod
    def of(cls, state: State) -> Row:
        """Takes the only row of a state of numpy arrays."""
        return cls(
            state.tokens[0],
            int(state.prompt_length[0]),
            int(state.length[0]),
            int(state.steps[0]),
            int(state.stop_reason[0]),
            None if state.candidates is None else state.candidates[0],
            None if state.automaton is None else int(state.automaton[0]),
            None if state.authored is None else state.authored[0],
        )

    @property
    def is_finished(self) -> bool:
        """Whether the text is finished."""
        return self.stop_reason != _RUNNING

    @property
    def completion_length(self) -> int:
        """How many tokens the agent wrote."""
        if self.authored is not None:
            return int(self.authored.sum())
        return self.length - self.prompt_length

    def append(self, token: int, rules: Rules, *, legal: bool) -> Row:
        """Appends a token to an open text.

        Args:
            token: Its id.
            rules: The rules.
            legal: Whether it may be appended; if not, nothing is written.
        """
        steps = self.steps + 1
        reason = _LENGTH if steps >= rules.max_actions else _RUNNING
        if not legal:
            return Row(self.tokens, self.prompt_length, self.length, steps, reason)
        tokens = self.tokens.copy()
        tokens[self.length] = token
        if token == rules.eos_id:
            reason = _END_OF_TEXT
        return Row(tokens, self.prompt_length, self.length + 1, steps, reason)

    def state(self) -> State:
        """Returns the text as a state of one row, to be read and not written."""
        return State(
            tokens=self.tokens[None],
            prompt_length=_one(self.prompt_length),
            length=_one(self.length),
            steps=_one(self.steps),
            stop_reason=_one(self.stop_reason),
            candidates=None if self.candidates is None else self.candidates[None],
            automaton=None if self.automaton is None else _one(self.automaton),
            authored=None if self.authored is None else self.authored[None],
        )


def _one(value: int) -> npt.NDArray[np.int64]:
    return np.array([value], dtype=np.int64)
