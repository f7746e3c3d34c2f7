"""What a completion may consist of: from a JSON value to masks over the next token.

A text that must match is an automaton over bytes (``textgym.constraints.automata``); which tokens
keep a match within reach, also within the allowance, is worked out once for each of its states, so
that a step is a few table lookups whatever the number of rows.

Shapes: N rows (texts), V ids, S states, C tokens of allowance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from textgym.constraints.automata import DEAD, Reach, TokenWalker, reach_of
from textgym.constraints.specs import (
    automaton_of,
    check_choices,
    check_keys,
    choices_of_column,
    minimum_of,
    pieces_of,
    usable_ids,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from textgym.types import Tokenizer

__all__ = ["Constraint", "choices_of_column", "compile_constraints"]

_UNSEEN = -1
_FIRST_MASKS = 16


class Constraint(Protocol):
    """Which tokens are legal next; all arrays are numpy's, and each one returned is new.

    An automaton state is an integer that stands for what has been written. It is carried along by
    ``advance``; nothing else may be done with it.
    """

    def start(self, count: int) -> npt.NDArray[np.int64]:
        """Returns the automaton states of ``count`` empty completions, ``(count,)``."""

    def mask(
        self, automaton: npt.NDArray[np.int64], written: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.bool_]:
        """Returns the legal tokens of each row, ``(N, V)``; at least one always is.

        Args:
            automaton: The rows' automaton states, ``(N,)``.
            written: How many tokens of completion the rows have, ``(N,)``.
        """

    def allows(
        self,
        automaton: npt.NDArray[np.int64],
        written: npt.NDArray[np.int64],
        tokens: npt.NDArray[np.int64],
    ) -> npt.NDArray[np.bool_]:
        """Returns whether one token per row is legal, ``(N,)``; an id that does not exist is not.

        Args:
            automaton: The rows' automaton states, ``(N,)``.
            written: How many tokens of completion the rows have, ``(N,)``.
            tokens: One id per row, ``(N,)``.
        """

    def advance(
        self, automaton: npt.NDArray[np.int64], tokens: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        """Returns the automaton states after one token per row, ``(N,)``.

        An illegal token leaves a state as it is, and so does the end of text.
        """


class _Compiled:
    """The constraint that ``compile_constraints`` makes.

    Its automaton states are ``written * S + state``: with the number of tokens in them, ``advance``
    knows without being told which tokens were legal.
    """

    def __init__(
        self, walker: TokenWalker, start: int, reach: Reach, eos_id: int, vocab_size: int
    ) -> None:
        self._walker = walker
        self._start = start
        self._reach = reach
        self._eos_id = eos_id
        self._row_of = np.full(reach.open.shape, _UNSEEN, dtype=np.int64)
        self._masks = np.empty((_FIRST_MASKS, vocab_size), dtype=np.bool_)
        self._numbers: dict[bytes, int] = {}

    def start(self, count: int) -> npt.NDArray[np.int64]:
        return np.full(count, self._start, dtype=np.int64)

    def mask(
        self, automaton: npt.NDArray[np.int64], written: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.bool_]:
        rows = self._rows(automaton % len(self._reach.final), written)
        return self._masks[rows]

    def allows(
        self,
        automaton: npt.NDArray[np.int64],
        written: npt.NDArray[np.int64],
        tokens: npt.NDArray[np.int64],
    ) -> npt.NDArray[np.bool_]:
        exists = (tokens >= 0) & (tokens < self._masks.shape[1])
        rows = self._rows(automaton % len(self._reach.final), written)
        return self._masks[rows, np.where(exists, tokens, self._eos_id)] & exists

    def advance(
        self, automaton: npt.NDArray[np.int64], tokens: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        written, states = np.divmod(automaton, len(self._reach.final))
        legal = self.allows(automaton, written, tokens)
        # The end of text writes nothing, so it leads nowhere.
        reached = self._walker.walk(states, np.where(legal, tokens, self._eos_id))
        moved = (written + 1) * len(self._reach.final) + reached
        return np.where(reached == DEAD, automaton, moved)

    def _rows(
        self, states: npt.NDArray[np.int64], written: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        rows = self._row_of[written, states]
        unseen = rows == _UNSEEN
        if unseen.any():
            pairs = np.unique(np.stack([written[unseen], states[unseen]]), axis=1)
            for count, state in pairs.T.tolist():
                self._row_of[count, state] = self._number(self._mask_of(count, state))
            rows = self._row_of[written, states]
        return rows

    def _mask_of(self, written: int, state: int) -> npt.NDArray[np.bool_]:
        tokens, reached = self._walker.leave(state)
        mask = np.zeros(self._masks.shape[1], dtype=np.bool_)
        mask[tokens[self._reach.open[written + 1, reached]]] = True
        mask[self._eos_id] = self._reach.final[state] and written >= self._reach.minimum
        if not mask.any():
            mask[self._eos_id] = True
        return mask

    def _number(self, mask: npt.NDArray[np.bool_]) -> int:
        """Returns the place of a mask among the different ones, putting it there if it is new."""
        number = self._numbers.setdefault(np.packbits(mask).tobytes(), len(self._numbers))
        if number == len(self._masks):
            self._masks = np.concatenate([self._masks, np.empty_like(self._masks)])
        self._masks[number] = mask
        return number


def compile_constraints(
    spec: Mapping[str, Any],
    tokenizer: Tokenizer,
    legal: npt.NDArray[np.bool_],
    completion_tokens: int,
) -> Constraint:
    """Makes the constraint that a JSON value describes.

    A completion that keeps to the masks satisfies all of it, whether it ends itself or is ended by
    the allowance: a token is legal only if a whole completion is still within reach. Where a
    completion has nowhere to go, as a full one, the end of text is legal.

    Args:
        spec: Any of these; what is given holds together.
            ``forbid``: tokens that are illegal, as ids or as texts that are single tokens. The same
            text may still be written by other tokens.
            ``allow``: the tokens that are legal, in the same way. The end of text needs no mention.
            ``min_tokens``: the end of text is illegal before so many tokens.
            ``regex``: what the whole completion matches; see ``automaton_of_regex``.
            ``choices``: the texts of which the whole completion is one, however it is tokenized. An
            environment also takes ``{"column": NAME}``, see ``choices_of_column``.
        tokenizer: The tokenizer. For ``regex`` and ``choices`` it has a method ``token_bytes(id)``
            that says what a token adds to a text's UTF-8.
        legal: What the tokenizer itself permits, ``(V,)``.
        completion_tokens: C, the allowance; the end of text, if it is chosen, is one of them.

    Raises:
        ValueError: If the value is not of this form, or nothing satisfies it.
        ModuleNotFoundError: If ``regex`` lacks its package; the message says how to get it.
    """
    check_keys(spec)
    minimum = minimum_of(spec, completion_tokens)
    usable = usable_ids(spec, tokenizer, legal)
    if not usable[tokenizer.eos_id]:
        minimum = completion_tokens
    usable[tokenizer.eos_id] = False
    if not usable.any():
        raise ValueError("constraints: forbid and allow leave no token legal")
    automaton = automaton_of(spec)
    walker = TokenWalker(automaton, pieces_of(spec, tokenizer, usable))
    edges = walker.edges(automaton.start, completion_tokens)
    reach = reach_of(automaton.final, edges, minimum, completion_tokens)
    if not reach.open[0, automaton.start]:
        raise ValueError(
            "constraints: nothing satisfies them all with at most "
            f"{completion_tokens} legal tokens; allow more tokens or ask for less"
        )
    if "choices" in spec:
        check_choices(spec["choices"], automaton, edges, minimum, completion_tokens)
    return _Compiled(walker, automaton.start, reach, tokenizer.eos_id, len(legal))
