"""N texts as plain arrays of numpy or torch, the rules that they obey, and when they are over.

A row is open until its text is finished or an outside limit cuts it.

Every function is pure: it returns new arrays and writes into none that it was given, so whatever
has been handed out stays as it was. Nothing here brings a value from a device to the host, but for
``to_host``.

Shapes: N rows (texts), T places in a row, V ids, K candidates of at most L ids.
"""

from __future__ import annotations

import importlib
import operator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from textgym.types import StopReason

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

    import numpy.typing as npt

__all__ = [
    "FIELDS",
    "Array",
    "Row",
    "Rules",
    "State",
    "arange_like",
    "begin",
    "copy_of",
    "is_finished",
    "is_open",
    "is_truncated",
    "lay_out",
    "map_fields",
    "namespace",
    "narrow",
    "observe",
    "on_device_of",
    "read_only",
    "replace_rows",
    "stop_reasons",
    "take_rows",
    "to_host",
]

Array: TypeAlias = Any
"""A numpy array or a torch tensor."""

_RUNNING, _END_OF_TEXT, _LENGTH = (
    int(StopReason.RUNNING),
    int(StopReason.END_OF_TEXT),
    int(StopReason.LENGTH),
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rules:
    """What stays the same over an episode.

    Attributes:
        prompt_tokens: Room for the prompt, the beginning-of-text id included.
        completion_tokens: Room for the completion, the end-of-text id included.
        max_actions: The allowance: after so many actions a text is finished. For appended tokens it
            is ``completion_tokens``.
        pad_id: Fills a row to the right of its text. As an edit, it deletes.
        bos_id: The first id of every row. As an edit, it inserts.
        eos_id: The action that ends a text.
        legal: Which ids a completion may hold, ``(V,)`` bool. The end of text always is one,
            padding and the beginning of text never are.
        step_limit: After how many actions an outside limit cuts the episode; ``None`` for never.
        converses: Whether the end of text ends a turn, and the other side may reply.
    """

    prompt_tokens: int
    completion_tokens: int
    max_actions: int
    pad_id: int
    bos_id: int
    eos_id: int
    legal: Array
    step_limit: int | None = None
    converses: bool = False

    @property
    def width(self) -> int:
        """T, the number of places in a row."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class State:
    """N texts on their way.

    Attributes:
        tokens: Prompt, completion, padding; ``(N, T)`` int64, or int32 after ``narrow``.
        prompt_length: How many places the prompt takes, ``(N,)`` int64. The completion follows.
        length: How many places prompt and completion take, ``(N,)`` int64.
        steps: How many actions have been taken, ``(N,)`` int64.
        stop_reason: A ``StopReason``, ``(N,)`` int64.
        candidates: What can be chosen next, ``(N, K, L)`` int64, padded; ``None`` where nothing is
            to be chosen.
        automaton: Where each text is in its constraint, ``(N,)`` int64; ``None`` without one.
        authored: 1 where the agent wrote, 0 on prompt, replies and padding, ``(N, T)`` int64;
            ``None`` unless somebody replies: then all behind the prompt is the agent's.
    """

    tokens: Array
    prompt_length: Array
    length: Array
    steps: Array
    stop_reason: Array
    candidates: Array | None = None
    automaton: Array | None = None
    authored: Array | None = None


FIELDS = tuple(field.name for field in fields(State))
"""The names of a state's arrays."""

_arrays_of = operator.attrgetter(*FIELDS)


@dataclass(slots=True, eq=False)
class Row:
    """One text in plain Python numbers, never written into; ``State`` says what its fields mean.

    For a single row that is several times as fast as arrays are.

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


def lay_out(
    prompts: Sequence[Sequence[int]],
    rules: Rules,
    drafts: Sequence[Sequence[int]] | None = None,
) -> State:
    """Makes the states in which episodes start, as numpy arrays.

    A prompt that is too long keeps the beginning-of-text id and its own last
    ``prompt_tokens - 1`` ids: what stands nearest to the completion matters most. A draft that is
    too long keeps its first ``completion_tokens`` ids.

    Args:
        prompts: N prompts' ids, without special ids.
        rules: The rules.
        drafts: N drafts' ids, which follow the prompts; ``None`` to start with the prompts alone.
    """
    room = rules.prompt_tokens - 1
    count = len(prompts)
    tokens = np.full((count, rules.width), rules.pad_id, dtype=np.int64)
    tokens[:, 0] = rules.bos_id
    prompt_length = np.ones(count, dtype=np.int64)
    for row, prompt in enumerate(prompts):
        kept = prompt[max(0, len(prompt) - room) :]
        tokens[row, 1 : 1 + len(kept)] = kept
        prompt_length[row] += len(kept)
    length = prompt_length.copy()
    for row, draft in enumerate(drafts or ()):
        kept = draft[: rules.completion_tokens]
        tokens[row, length[row] : length[row] + len(kept)] = kept
        length[row] += len(kept)
    return begin(tokens, prompt_length, length, rules)


def begin(
    tokens: npt.NDArray[np.int64],
    prompt_length: npt.NDArray[np.int64],
    length: npt.NDArray[np.int64],
    rules: Rules,
) -> State:
    """Makes the states of texts that nothing has been done to, as numpy arrays.

    Args:
        tokens: Prompts, drafts and padding, ``(N, T)``.
        prompt_length: How many places the prompts take, ``(N,)``.
        length: How many places prompts and drafts take, ``(N,)``.
        rules: The rules.
    """
    return State(
        tokens=tokens,
        prompt_length=prompt_length,
        length=length,
        steps=np.zeros(len(length), dtype=np.int64),
        stop_reason=np.full(len(length), _RUNNING, dtype=np.int64),
        authored=np.zeros_like(tokens) if rules.converses else None,
    )


def observe(state: State, obs_mode: str) -> Array | dict[str, Array]:
    """Returns what an agent sees of N rows; each array is new, int64.

    Args:
        state: N rows.
        obs_mode: ``"tokens"`` for the ids alone, ``(N, T)``, followed by the candidates if there
            are any, ``(N, T + K * L)``; ``"dict"`` for ``tokens``, ``attention_mask`` (1 where
            there is text, 0 where there is padding), ``prompt_mask`` (1 on what the agent did not
            write: the prompt, and replies), each ``(N, T)``, and ``candidates``, ``(N, K * L)``.
    """
    tokens, candidates = _widened(state.tokens), state.candidates
    if obs_mode == "tokens":
        if candidates is None:
            return tokens
        return namespace(tokens).concatenate([tokens, candidates.reshape(len(tokens), -1)], 1)
    text = _before(tokens, state.length)
    foreign = (
        _before(tokens, state.prompt_length) if state.authored is None else text - state.authored
    )
    seen = {"tokens": tokens, "attention_mask": text, "prompt_mask": foreign}
    if candidates is not None:
        seen["candidates"] = copy_of(candidates.reshape(len(tokens), -1))
    return seen


def is_open(state: State, rules: Rules) -> Array:
    """Returns which rows an action still changes, ``(N,)`` bool."""
    running = state.stop_reason == _RUNNING
    return running if rules.step_limit is None else running & (state.steps < rules.step_limit)


def is_finished(state: State) -> Array:
    """Returns which texts are finished by themselves, ``(N,)`` bool."""
    return state.stop_reason != _RUNNING


def is_truncated(state: State, rules: Rules) -> Array:
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


def narrow(state: State) -> State:
    """Returns a state of numpy arrays with its tokens as int32, of which a copy costs half."""
    arrays = dict(zip(FIELDS, _arrays_of(state), strict=True))
    return State(**(arrays | {"tokens": state.tokens.astype(np.int32)}))


def take_rows(state: State, rows: Array) -> State:
    """Returns a new state of the rows whose numbers are given."""
    return map_fields(lambda array: array[rows], state)


def replace_rows(state: State, rows: Array, fresh: State) -> State:
    """Returns a new state in which ``fresh`` stands at the given row numbers."""

    def replaced(old: Array, new: Array) -> Array:
        result = copy_of(old)
        result[rows] = new
        return result

    return map_fields(replaced, state, fresh)


def map_fields(function: Callable[..., Array], *states: State) -> State:
    """Makes a state by applying a function to each array of one state, or of several alike."""
    first, *others = map(_arrays_of, states)
    made = {
        name: None if array is None else function(array, *more)
        for name, array, *more in zip(FIELDS, first, *others, strict=True)
    }
    return State(**made)


def copy_of(array: Array) -> Array:
    """Returns a copy of an array."""
    return array.copy() if isinstance(array, np.ndarray) else array.clone()


def read_only(array: Array | None) -> Array | None:
    """Returns a view of an array that refuses to be written; torch has none, nor has ``None``."""
    if not isinstance(array, np.ndarray):
        return array
    view = array.view()
    view.flags.writeable = False
    return view


def arange_like(array: Array, count: int) -> Array:
    """Returns ``0..count-1`` where an array is, ``(count,)`` int64."""
    if isinstance(array, np.ndarray):
        return np.arange(count)
    return namespace(array).arange(count, device=array.device)


def to_host(array: Any) -> npt.NDArray[Any]:
    """Returns an array in numpy, with the same values."""
    return np.asarray(array.cpu() if hasattr(array, "cpu") else array)


def on_device_of(other: Array, array: npt.NDArray[Any]) -> Array:
    """Returns a numpy array where ``other`` is: in numpy, or in torch on its device."""
    if isinstance(other, np.ndarray | np.generic):
        return array
    on_host = namespace(other).as_tensor(np.ascontiguousarray(array), device="cpu")
    return on_host.to(other.device, non_blocking=other.device.type != "mps")


def namespace(array: Array) -> ModuleType:
    """Returns the module whose functions take the array."""
    # An array that is not numpy's is torch's, so this finds a module that is already loaded.
    return np if isinstance(array, np.ndarray) else importlib.import_module("torch")


def _before(tokens: Array, end: Array) -> Array:
    places = arange_like(tokens, tokens.shape[1])
    return namespace(tokens).where(places < end[:, None], 1, 0)


def _widened(tokens: Array) -> Array:
    """Returns a copy of tokens, as int64."""
    return tokens.astype(np.int64) if isinstance(tokens, np.ndarray) else tokens.clone()


def _one(value: int) -> npt.NDArray[np.int64]:
    return np.array([value], dtype=np.int64)
