"""What an action does in one environment: its kind, with a proposer and a constraint.

All three kinds of action share one state, one allowance and two ways to end:
    * A closed row stays as it is, whatever its action.
    * An illegal action of an open row changes no text and uses one of the allowance.
    * Where the end of text and the end of the allowance coincide, the end of text is the reason.
Actions must be in their space; the environments see to it.

The kinds are pure and know neither proposer nor constraint; here the candidates of the next choice
are proposed, and a constraint follows the text that is being written.

Simplification: a constraint runs on the host, in numpy, also when the state is on a device.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from textgym.dynamics.append import append, legal_appends, permits_append
from textgym.dynamics.choose import choose, legal_choices, permits_choice
from textgym.dynamics.edit import edit, legal_edits, legal_pairs, permits_edit
from textgym.dynamics.states import Array, arange_like, namespace, on_device_of, to_host

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy.typing as npt

    from textgym.constraints import Constraint
    from textgym.dynamics.states import Rules, State
    from textgym.proposing.proposals import Proposer

__all__ = ["ACTION_KINDS", "ActionKind", "Moves"]


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


class Moves:
    """One kind of action under one set of rules."""

    def __init__(
        self,
        kind: str,
        rules: Rules,
        proposer: Proposer | None = None,
        constraint: Constraint | None = None,
    ) -> None:
        """Puts the kind together.

        Args:
            kind: A name in ``ACTION_KINDS``.
            rules: The rules, with arrays of the kind that states will have.
            proposer: Proposes what can be chosen; for ``"choose"`` alone.
            constraint: What completions may consist of; not for ``"edit"``.
        """
        self._kind = ACTION_KINDS[kind]
        self._rules, self._proposer, self._constraint = rules, proposer, constraint

    @property
    def plain(self) -> bool:
        """Whether nothing but the dynamics is needed."""
        return self._proposer is None and self._constraint is None

    def begin(self, state: State) -> State:
        """Adds candidates and the constraint's beginning to states that are laid out."""
        if self._constraint is not None:
            automaton = self._constraint.start(len(state.tokens))
            state = dataclasses.replace(state, automaton=on_device_of(state.tokens, automaton))
        return self.propose(state)

    def __call__(self, state: State, action: Array) -> State:
        """Makes one move in every row.

        Args:
            state: N rows.
            action: In their space, ``(N,)`` or ``(N, 2)`` int64.
        """
        allowed = None if self._constraint is None else self._allowed(state, action)
        moved = self._kind.move(state, action, self._rules, allowed)
        if self._constraint is not None:
            moved = self._follow(state, moved)
        return self.propose(moved)

    def permits(self, state: State, action: Array) -> Array:
        """Returns whether each row's action is legal, ``(N,)`` bool."""
        permitted = self._kind.permits(state, action, self._rules)
        if self._constraint is None:
            return permitted
        return permitted & self._allowed(state, action)

    def legal(self, state: State) -> Array:
        """Returns which actions are legal, ``(N, A)`` bool; at least one is."""
        if self._constraint is None:
            return self._kind.legal(state, self._rules)
        if state.candidates is None:
            mask = self._constraint.mask(to_host(state.automaton), _num_written(state))
            return on_device_of(state.tokens, mask)
        candidates = to_host(state.candidates)
        allowed = np.stack([self._allows(state, phrase) for phrase in candidates.swapaxes(0, 1)], 1)
        legal = self._kind.legal(state, self._rules) & on_device_of(state.tokens, allowed)
        # Where no candidate fits, the first one, the end of text, is the way out.
        legal[:, 0] = legal[:, 0] | ~legal.any(1)
        return legal

    def pairs(self, state: State) -> Array:
        """Returns which pairs of a place and an id are legal, ``(N, T, V)`` bool.

        Raises:
            ValueError: If no text is edited, so that an action is no pair.
        """
        if self._kind.move is not edit:
            raise ValueError("only an edit is a pair; action_masks() says what is legal")
        return legal_pairs(state, self._rules)

    def propose(self, state: State) -> State:
        """Puts the end of text first, and what the proposer proposes behind it."""
        if self._proposer is None:
            return state
        proposed = self._proposer.propose(state.tokens, state.length)
        end = proposed[:, :1] * 0 + self._rules.pad_id
        end[:, 0, 0] = self._rules.eos_id
        candidates = namespace(proposed).concatenate([end, proposed], 1)
        return dataclasses.replace(state, candidates=candidates)

    def _allowed(self, state: State, action: Array) -> Array:
        """Whether the constraint allows all that an action appends, ``(N,)`` bool."""
        if state.candidates is not None:
            return self.legal(state)[arange_like(state.tokens, len(state.tokens)), action]
        return on_device_of(state.tokens, self._allows(state, to_host(action)[:, None]))

    def _allows(self, state: State, phrase: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        constraint, automaton, written = (
            self._constraint,
            to_host(state.automaton),
            _num_written(state),
        )
        allowed = np.ones(len(phrase), dtype=np.bool_)
        if constraint is None:
            return allowed
        for number in range(phrase.shape[1]):
            token = phrase[:, number]
            takes = token != self._rules.pad_id if number else np.ones_like(allowed)
            # What does not fit is not appended, and so not asked for.
            place = np.minimum(written + number, self._rules.completion_tokens)
            takes = takes & (place < self._rules.completion_tokens)
            allowed = allowed & (~takes | constraint.allows(automaton, place, token))
            automaton = np.where(takes & allowed, constraint.advance(automaton, token), automaton)
        return allowed

    def _follow(self, before: State, after: State) -> State:
        """Moves the constraint over the tokens that were appended."""
        constraint, rows = self._constraint, np.arange(len(before.tokens))
        if constraint is None:
            return after
        automaton, tokens = to_host(before.automaton), to_host(after.tokens)
        start, taken = to_host(before.length), to_host(after.length) - to_host(before.length)
        for number in range(int(taken.max(initial=0))):
            token = tokens[rows, np.where(number < taken, start + number, 0)]
            moved = constraint.advance(automaton, token)
            automaton = np.where(number < taken, moved, automaton)
        return dataclasses.replace(after, automaton=on_device_of(after.tokens, automaton))


def _num_written(state: State) -> npt.NDArray[np.int64]:
    return to_host(state.length - state.prompt_length)
