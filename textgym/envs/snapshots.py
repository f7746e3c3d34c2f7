"""Moments of episodes to go back to, which episodes they fit, and which rows can be copied.

What search and grouped sampling need: a state is never written into, so keeping one is free.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from textgym.messages import shown
from textgym.tokenizers import legal_ids

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from textgym.dynamics.states import Row, State
    from textgym.envs.episodes import Episodes
    from textgym.envs.world import World
    from textgym.types import Example, Tokenizer

__all__ = ["BatchSnapshot", "Snapshot", "kinship", "read_sources", "require_fit", "spelled"]

_COMPARED = 64  # prompts by which examples are told apart
_NAMED_PARTS = 3  # of a world that is another one: with the task nearly all of it is


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """An episode of a ``TextEnv`` at one moment, to go back to; opaque, and picklable."""

    row: Row
    previous: Row | None
    example: Example
    example_id: int
    score: float | None
    potential: float
    generator: Mapping[str, Any]
    seed: int | None
    taken_from: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSnapshot:
    """The episodes of a ``TextVectorEnv`` at one moment, to go back to; opaque, and picklable."""

    state: State
    previous: State | None
    episodes: Episodes
    at_end: State | None
    has_stepped: bool
    generators: tuple[Mapping[str, Any], ...]
    seeds: tuple[int, ...]
    taken_from: Mapping[str, str]


def kinship(world: World) -> dict[str, str]:
    """Returns what two environments must have in common for a snapshot to fit both, in words.

    All that decides what a text is and what becomes of it; how it is shown, and what an illegal
    action does, may differ. Objects are told apart by their kind alone, tokenizers by what each id
    writes, and examples by their number and by some of their prompts.
    """
    settings, rules, task = world.settings, world.rules, world.task
    candidates, length = world.candidates_shape()
    return {
        "task": task.name + (", which replies" if rules.converses else ""),
        "action_kind": settings.action_kind,
        "split": f"{settings.split}, {len(world.examples)} examples #{_digest_of(world.examples)}",
        "size": f"{rules.prompt_tokens}+{rules.completion_tokens} tokens",
        "max_actions": str(rules.max_actions),
        "tokenizer": _tokenizer(world.tokenizer),
        "reward": spelled(task.reward if settings.reward is None else settings.reward),
        "reward_kwargs": spelled(settings.reward_kwargs),
        "dense": str(settings.dense),
        "constraints": spelled(settings.constraints),
        "candidates": f"{candidates} of {length}",
        "proposer": spelled([settings.proposer, settings.proposer_kwargs]),
        "drafter": spelled([settings.drafter, settings.drafter_kwargs]),
    }


def require_fit(snapshot: Any, kind: type, wanted: Mapping[str, str]) -> None:
    """Refuses what is no snapshot of the right kind, and one of another world.

    Args:
        snapshot: What may be one.
        kind: The class that it must have.
        wanted: What the environment is, as ``kinship`` says.

    Raises:
        TypeError: If it is something else.
        ValueError: If it is of another world; the message says in what they differ.
    """
    if not isinstance(snapshot, kind):
        raise TypeError(f"a snapshot is what save_state() returned here, got {shown(snapshot)}")
    taken_from: Mapping[str, str] = snapshot.taken_from  # type: ignore[attr-defined] # both kinds have it
    differing = [key for key in wanted if taken_from.get(key) != wanted[key]]
    if differing:
        parts = [
            f"{key} is {taken_from.get(key)}, not {wanted[key]}" for key in differing[:_NAMED_PARTS]
        ]
        raise ValueError(f"the snapshot is of another world: its {'; its '.join(parts)}")


def spelled(value: Any) -> str:
    """Writes a setting as JSON, in which an object is the name of its kind."""
    return json.dumps(value, sort_keys=True, default=_named)


def _named(value: Any) -> Any:
    """Gives JSON something to write for what it does not know."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Path | np.generic):
        return str(value)
    kind = value if hasattr(value, "__qualname__") else type(value)
    return f"{kind.__module__}:{kind.__qualname__}"


def _tokenizer(tokenizer: Tokenizer) -> str:
    ids = np.flatnonzero(legal_ids(tokenizer))
    decode_rows = getattr(tokenizer, "decode_rows", None)
    if decode_rows is None:
        pieces = tokenizer.decode_batch(ids[:, None].tolist())
    else:
        rows = np.stack([ids, np.full(len(ids), tokenizer.pad_id)], axis=1)
        pieces = decode_rows(rows, np.zeros(len(ids), dtype=np.int64))
    special = [tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id, *tokenizer.forbidden_ids]
    digest = _digest([str(special), *pieces])
    return f"{type(tokenizer).__name__} of {tokenizer.vocab_size} ids #{digest}"


def _digest_of(examples: Sequence[Example]) -> str:
    places = np.linspace(0, len(examples) - 1, min(len(examples), _COMPARED)).astype(int)
    return _digest([examples[place].prompt for place in places.tolist()])


def _digest(texts: Sequence[str]) -> str:
    return hashlib.blake2b(json.dumps(texts).encode(), digest_size=4).hexdigest()


def read_sources(sources: Any, count: int) -> npt.NDArray[np.int64]:
    """Checks which row each of ``count`` rows is to become a copy of.

    Raises:
        ValueError: If they are no such row numbers.
    """
    rows = np.asarray(sources)
    if rows.shape != (count,) or rows.dtype.kind not in "iu":
        raise ValueError(f"sources must be {count} integers, got {sources!r}")
    if ((rows < 0) | (rows >= count)).any():
        raise ValueError(f"sources must be rows 0 to {count - 1}, got {sources!r}")
    return rows.astype(np.int64)
