"""Texts that a completion may be, as automata over the bytes of UTF-8, and tokens walked on them.

Bytes, because a token may hold several characters or a part of one, and because the same text is
many different rows of tokens: whichever of them is written, its bytes are the same.

Shapes: S states, V ids, C tokens of allowance.

Simplification: the character U+10FFFF, which Unicode gives no meaning, marks the end of a match
inside an automaton of a regex, so a text that has it can have it only as its last character.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "DEAD",
    "ByteAutomaton",
    "Edges",
    "Reach",
    "TokenWalker",
    "automaton_of_anything",
    "automaton_of_choices",
    "automaton_of_regex",
    "distances",
    "reach_of",
]

Edges: TypeAlias = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
"""Pairs of states, as two arrays."""

DEAD = 0
"""The state from which no text is finished any more; no byte leads out of it."""

_BYTES = 256
_END_OF_MATCH = "\U0010ffff"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ByteAutomaton:
    """A deterministic automaton over bytes, with S states; ``DEAD`` is one of them.

    Attributes:
        table: Where each byte leads from each state, ``(S, 256)`` int32.
        start: The state of the empty text.
        final: In which states the text so far is a whole one, ``(S,)`` bool.
    """

    table: npt.NDArray[np.int32]
    start: int
    final: npt.NDArray[np.bool_]

    def read(self, text: str) -> int:
        """Returns the state after a text."""
        state = self.start
        for byte in text.encode():
            state = int(self.table[state, byte])
        return state


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reach:
    """What can still become a whole completion.

    Attributes:
        final: In which states the text so far is a whole one, ``(S,)``.
        open: Whether a completion of so many tokens in this state can become a whole one that is
            neither too short nor too long, ``(C + 2, S)``.
        minimum: From how many tokens on a completion may end.
    """

    final: npt.NDArray[np.bool_]
    open: npt.NDArray[np.bool_]
    minimum: int


class TokenWalker:
    """Walks tokens on a byte automaton, many at once."""

    def __init__(self, automaton: ByteAutomaton, pieces: Sequence[bytes]) -> None:
        """Prepares the tokens.

        Args:
            automaton: S states.
            pieces: What each of the V tokens writes. A token that writes nothing leads nowhere, so
                that no completion stands still.
        """
        self._table = automaton.table
        self._lengths = np.array([len(piece) for piece in pieces], dtype=np.int64)
        self._offsets = np.cumsum(self._lengths) - self._lengths
        self._bytes = np.frombuffer(b"".join(pieces), dtype=np.uint8)
        first = np.array([piece[0] if piece else _BYTES for piece in pieces], dtype=np.int64)
        self._by_first_byte = [np.flatnonzero(first == byte) for byte in range(_BYTES)]

    def walk(
        self, states: npt.NDArray[np.int64], tokens: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        """Returns where each token leads from each state, all three ``(M,)``."""
        reached = np.where(self._lengths[tokens] > 0, states, DEAD)
        alive = np.flatnonzero(reached != DEAD)
        place = 0
        while len(alive):
            alive = alive[self._lengths[tokens[alive]] > place]
            byte = self._bytes[self._offsets[tokens[alive]] + place]
            reached[alive] = self._table[reached[alive], byte]
            alive = alive[reached[alive] != DEAD]
            place += 1
        return reached

    def leave(self, state: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Returns the tokens that lead from a state somewhere, and where to, both ``(M,)``."""
        live = np.flatnonzero(self._table[state] != DEAD)
        candidates = [self._by_first_byte[byte] for byte in live]
        tokens = np.concatenate([np.empty(0, dtype=np.int64), *candidates])
        reached = self.walk(np.full(len(tokens), state, dtype=np.int64), tokens)
        return tokens[reached != DEAD], reached[reached != DEAD]

    def edges(self, start: int, depth: int) -> Edges:
        """Returns between which states some token leads, as far as ``depth`` tokens reach.

        Returns:
            The states that it leads from and those that it leads to, both ``(E,)`` int64.
        """
        sources, targets = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
        seen = frontier = {start}
        for _ in range(depth):
            found: set[int] = set()
            for state in frontier:
                reached = np.unique(self.leave(state)[1])
                sources.append(np.full(len(reached), state, dtype=np.int64))
                targets.append(reached)
                found.update(reached.tolist())
            frontier = found - seen
            seen = seen | found
        return np.concatenate(sources), np.concatenate(targets)


def distances(
    sources: npt.NDArray[np.int64],
    targets: npt.NDArray[np.int64],
    goals: npt.NDArray[np.bool_],
    depth: int,
) -> npt.NDArray[np.bool_]:
    """Returns whether exactly k tokens lead from a state to a goal, ``(depth + 1, S)`` bool.

    Args:
        sources: Where tokens lead from, ``(E,)`` int64.
        targets: Where to, ``(E,)`` int64.
        goals: Which states are goals, ``(S,)`` bool.
        depth: The largest k.
    """
    reached = np.zeros((depth + 1, len(goals)), dtype=np.bool_)
    reached[0] = goals
    for k in range(1, depth + 1):
        reached[k, sources[reached[k - 1, targets]]] = True
    return reached


def reach_of(
    final: npt.NDArray[np.bool_],
    edges: Edges,
    minimum: int,
    completion_tokens: int,
) -> Reach:
    """Works out what can still become a whole completion.

    Args:
        final: In which states the text so far is a whole one, ``(S,)`` bool.
        edges: Between which states some token leads.
        minimum: From how many tokens on a completion may end.
        completion_tokens: C, of how many tokens it consists at most.
    """
    # The number of distances below k, so that a difference counts those between two bounds.
    below = np.cumsum(distances(*edges, final, completion_tokens), axis=0)
    below = np.concatenate([np.zeros_like(below[:1]), below])
    written = np.arange(completion_tokens + 1)
    fits = below[completion_tokens + 1 - written] > below[np.maximum(minimum - written, 0)]
    # A completion that is longer than the allowance never fits.
    return Reach(final=final, open=np.concatenate([fits, np.zeros_like(fits[:1])]), minimum=minimum)


def automaton_of_anything() -> ByteAutomaton:
    """Makes the automaton of all rows of bytes: a state that every byte leads back to."""
    table = np.array([[DEAD] * _BYTES, [DEAD + 1] * _BYTES], dtype=np.int32)
    return ByteAutomaton(table=table, start=DEAD + 1, final=np.array([False, True]))


def automaton_of_choices(choices: Sequence[str]) -> ByteAutomaton:
    """Makes the automaton of some texts: their prefix tree.

    It takes a kilobyte for each byte by which a text differs from those before it: 70 megabytes for
    4,000 phrases of 20 bytes. What is longer belongs into a regex, or a task that chooses.

    Args:
        choices: The texts, at least one.
    """
    texts = [choice.encode() for choice in choices]
    children: list[dict[int, int]] = [{}, {}]  # of the dead state, and the start's
    start, ends = DEAD + 1, []
    for text in texts:
        state = start
        for byte in text:
            if byte not in children[state]:
                children[state][byte] = len(children)
                children.append({})
            state = children[state][byte]
        ends.append(state)
    table = np.full((len(children), _BYTES), DEAD, dtype=np.int32)
    for state, known in enumerate(children):
        table[state, list(known)] = list(known.values())
    final = np.zeros(len(children), dtype=np.bool_)
    final[ends] = True
    return ByteAutomaton(table=table, start=start, final=final)


def automaton_of_regex(regex: str) -> ByteAutomaton:
    r"""Makes the automaton of the texts that a regular expression matches from end to end.

    Args:
        regex: In the syntax of Rust's ``regex``: no lookaround, no backreferences, and neither
            ``^`` nor ``$``, which would say nothing. ``\w`` and the like mean what they do there.

    Raises:
        ValueError: If it is no such expression or matches no text.
        ModuleNotFoundError: If outlines-core is missing; the message says how to get it.
    """
    try:
        from outlines_core import Index, Vocabulary
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'a regex constraint needs outlines-core; pip install "textgym[constraints]"',
            name=error.name,
        ) from error
    single = {bytes([byte]): [byte] for byte in range(_BYTES)}
    mark, unused = _BYTES, _BYTES + 1
    try:
        # Alone first: within the brackets below, "a)(b" would be taken for two groups.
        Index(regex, Vocabulary(unused, single))
        # outlines-core leaves out transitions from a match to text that is none yet, as from "ab"
        # to "aba" for (ab)*. With a mark at its end no match goes on, and none is left out.
        vocabulary = Vocabulary(unused, {**single, _END_OF_MATCH.encode(): [mark]})
        index = Index(f"(?:{regex}){_END_OF_MATCH}", vocabulary)
    except ValueError as error:
        raise ValueError(
            f"the regex {regex!r} is invalid or matches no text; it is in Rust's syntax, without "
            "lookaround, backreferences, \\b, ^ and $, and it matches the whole completion"
        ) from error
    transitions, matched = index.get_transitions(), index.get_final_states()
    numbers = {state: number for number, state in enumerate(transitions, start=DEAD + 1)}
    table = np.zeros((len(numbers) + 1, _BYTES), dtype=np.int32)
    final = np.zeros(len(table), dtype=np.bool_)
    for state, arcs in transitions.items():
        final[numbers[state]] = arcs.get(mark) in matched
        for byte, target in arcs.items():
            if byte < _BYTES:
                table[numbers[state], byte] = numbers.get(target, DEAD)
    return ByteAutomaton(
        table=_without_dead_ends(table, final),
        start=numbers[index.get_initial_state()],
        final=final,
    )


def _without_dead_ends(
    table: npt.NDArray[np.int32], final: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int32]:
    """Leads every byte after which no text can be finished to ``DEAD``."""
    sources, bytes_ = np.nonzero(table)
    pairs = np.unique(np.stack([sources, table[sources, bytes_]]), axis=1)
    live, before = final.copy(), 0
    while before != (before := int(live.sum())):
        live[pairs[0, live[pairs[1]]]] = True
    return np.where(live[table], table, DEAD).astype(np.int32)
