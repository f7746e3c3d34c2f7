"""What a caller may say when rows of a vector environment are reset; nothing of it is changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

__all__ = ["read_example_ids", "read_mask", "read_seeds"]

_OPTIONS = frozenset({"example_id", "reset_mask"})


def read_mask(options: Mapping[str, Any] | None, count: int) -> npt.NDArray[np.bool_]:
    """Returns which rows are reset, ``(count,)`` bool; all of them without a ``reset_mask``.

    Raises:
        ValueError: If an option is unknown, or the mask has another shape or dtype or is empty.
    """
    unknown = set(options or {}) - _OPTIONS
    if unknown:
        raise ValueError(f"unknown options {sorted(unknown)}; known: {', '.join(sorted(_OPTIONS))}")
    if options is None or "reset_mask" not in options:
        return np.ones(count, dtype=np.bool_)
    mask = _host(options["reset_mask"])
    if mask.shape != (count,) or mask.dtype != np.bool_ or not mask.any():
        raise ValueError(
            f"reset_mask must be {count} booleans, at least one of them True; got {mask.dtype} of "
            f"shape {mask.shape}: {mask}"
        )
    return mask


def read_example_ids(options: Mapping[str, Any] | None, count: int) -> npt.NDArray[Any] | None:
    """Returns the chosen example of each row, ``(count,)``, or ``None`` to draw them.

    Raises:
        ValueError: If it is neither one number nor ``count`` of them.
    """
    if options is None or options.get("example_id") is None:
        return None
    numbers = _host(options["example_id"])
    if numbers.shape not in ((), (count,)):
        raise ValueError(f"example_id must be one integer or {count}, got shape {numbers.shape}")
    return np.broadcast_to(numbers, (count,))


def read_seeds(seed: int | Sequence[int | None] | None, count: int) -> Sequence[int | None]:
    """Returns a seed, or ``None`` for no seed, for each row.

    Raises:
        ValueError: If a list has another length.
    """
    if seed is None:
        return [None] * count
    if isinstance(seed, int | np.integer):
        return [int(seed) + row for row in range(count)]
    if len(seed) != count:
        raise ValueError(f"seeds must be {count}, one for each row; got {len(seed)}")
    return seed


def _host(value: Any) -> npt.NDArray[Any]:
    return np.asarray(value.cpu() if hasattr(value, "cpu") else value)
