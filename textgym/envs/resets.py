"""What a caller may say when one text or rows of a batch are reset; nothing of it is changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from textgym.dynamics.states import to_host
from textgym.messages import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from textgym.envs.world import World
    from textgym.types import Example

__all__ = ["Chosen", "ResetOptions", "read_options", "read_row_options", "read_seeds"]

Chosen: TypeAlias = "tuple[Sequence[Example], npt.NDArray[np.int64]]"
"""Examples, and their numbers in the split; -1 for a caller's own prompt."""

_OPTIONS = ("example_id", "group", "prompt", "reset_mask")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResetOptions:
    """What the options of a reset mean.

    Attributes:
        mask: Which rows are reset, ``(N,)`` bool.
        chosen: What the rows that are reset start with; ``None`` to draw it.
        group: How many rows that follow each other start alike.
    """

    mask: npt.NDArray[np.bool_]
    chosen: Chosen | None
    group: int


def read_options(options: Mapping[str, Any] | None, count: int, world: World) -> ResetOptions:
    """Reads the options of a reset of ``count`` rows.

    Raises:
        ValueError: If an option is unknown, has another shape, names no example, or does not go
            with the others.
        TypeError: If the options are no dictionary, an example no integer or a prompt no text.
    """
    given = _given(options, _OPTIONS)
    if "example_id" in given and "prompt" in given:
        raise ValueError("example_id and prompt are two ways to start; give one of them")
    mask = _read_mask(given, count)
    group = _read_group(given, mask)
    rows, chosen = np.flatnonzero(mask), None
    if "example_id" in given:
        numbers = to_host(given["example_id"])
        if numbers.shape not in ((), (count,)):
            raise ValueError(
                f"example_id must be one integer or {count}, got shape {numbers.shape}"
            )
        # Rows that are not reset may have any number.
        ids = [world.example_id(number) for number in np.broadcast_to(numbers, (count,))[rows]]
        chosen = [world.examples[number] for number in ids], np.array(ids)
    elif "prompt" in given:
        prompts = given["prompt"]
        prompts = [prompts] * count if isinstance(prompts, str) else prompts
        if not hasattr(prompts, "__len__") or len(prompts) != count:
            raise ValueError(f"prompt must be one text or {count}, got {shown(prompts)}")
        # Rows that are not reset may have anything.
        own = [world.example_of(prompts[row]) for row in rows.tolist()]
        chosen = own, np.full(len(own), -1)
    return ResetOptions(mask=mask, chosen=chosen, group=group)


def read_row_options(options: Mapping[str, Any] | None) -> dict[str, Any]:
    """Reads the options of a reset of a single text: ``example_id``, or ``prompt``, or neither.

    Raises:
        ValueError: If an option is unknown, or both are given.
        TypeError: If the options are no dictionary.
    """
    given = _given(options, ("example_id", "prompt"))
    if len(given) > 1:
        raise ValueError("example_id and prompt are two ways to start; give one of them")
    return given


def read_seeds(seed: int | Sequence[int | None] | None, count: int) -> Sequence[int | None]:
    """Returns a seed, or ``None`` for no seed, for each row.

    Raises:
        ValueError: If a list has another length, or it is neither a number nor a list.
    """
    if seed is None:
        return [None] * count
    if isinstance(seed, int | np.integer):
        return [int(seed) + row for row in range(count)]
    if isinstance(seed, str) or not hasattr(seed, "__len__"):
        raise ValueError(f"a seed must be an integer, or {count} of them, got {shown(seed)}")
    if len(seed) != count:
        raise ValueError(f"seeds must be {count}, one for each row; got {len(seed)}")
    return [int(one) if isinstance(one, np.integer) else one for one in seed]


def _given(options: Mapping[str, Any] | None, known: Sequence[str]) -> dict[str, Any]:
    if options is not None and not isinstance(options, Mapping):
        raise TypeError(f"options must be a dictionary, got {shown(options)}")
    given = {key: value for key, value in (options or {}).items() if value is not None}
    unknown = sorted(map(str, set(given) - set(known)))
    if unknown:
        raise ValueError(f"unknown options {unknown}; known: {', '.join(known)}")
    return given


def _read_mask(given: Mapping[str, Any], count: int) -> npt.NDArray[np.bool_]:
    if "reset_mask" not in given:
        return np.ones(count, dtype=np.bool_)
    mask = to_host(given["reset_mask"])
    if mask.shape != (count,) or mask.dtype != np.bool_ or not mask.any():
        raise ValueError(
            f"reset_mask must be {count} booleans, at least one of them True; got {mask.dtype} of "
            f"shape {mask.shape}: {mask}"
        )
    return mask


def _read_group(given: Mapping[str, Any], mask: npt.NDArray[np.bool_]) -> int:
    group = given.get("group", 1)
    whole = isinstance(group, int | np.integer) and not isinstance(group, bool)
    if not whole or group < 1 or len(mask) % group:
        raise ValueError(f"group must be a positive divisor of {len(mask)} rows, got {group!r}")
    together = mask.reshape(-1, group)
    if (together != together[:, :1]).any():
        raise ValueError(f"reset_mask must reset groups of {group} rows as a whole: {mask}")
    if group > 1 and {"example_id", "prompt"} & set(given):
        raise ValueError("a group starts with an example that is drawn; leave example_id, prompt")
    return int(group)
