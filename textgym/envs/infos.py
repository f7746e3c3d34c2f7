"""Infos of a batch, as Gymnasium's vector environments give them.

Every entry is an array of length N, and ``_key`` says in which rows it means something.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from textgym.dynamics.states import Array

__all__ = ["add_entries", "add_terms", "mark", "rows_of"]


def add_entries(
    infos: dict[str, Any], count: int, rows: npt.NDArray[np.int64], **entries: npt.NDArray[Any]
) -> None:
    """Adds entries that only some rows have to ``infos``.

    Args:
        infos: Where they are added.
        count: N, the number of rows.
        rows: The numbers of the rows that have them, ``(n,)``.
        **entries: Their values, ``(n,)``.
    """
    marks = mark(rows, count)
    for key, values in entries.items():
        array = np.zeros(count, dtype=values.dtype)
        array[rows] = values
        infos[key], infos[f"_{key}"] = array, marks.copy()


def add_terms(
    infos: dict[str, Any],
    count: int,
    rows: npt.NDArray[np.int64],
    terms: dict[str, npt.NDArray[np.float64]],
) -> None:
    """Adds the parts of a weighted reward under ``reward_terms``, if there are any; see above."""
    if terms:
        nested: dict[str, Any] = {}
        add_entries(nested, count, rows, **terms)
        infos["reward_terms"], infos["_reward_terms"] = nested, mark(rows, count)


def mark(rows: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.bool_]:
    """Returns which of ``count`` rows are among the given numbers, ``(count,)`` bool."""
    mask = np.zeros(count, dtype=np.bool_)
    mask[rows] = True
    return mask


def rows_of(
    observation: Array | dict[str, Array], rows: npt.NDArray[np.int64], count: int
) -> npt.NDArray[np.object_]:
    """Makes an object array with the observations of the given rows, and ``None`` elsewhere."""
    final = np.full(count, None, dtype=object)
    for row in rows:
        if isinstance(observation, dict):
            final[row] = {key: value[row].copy() for key, value in observation.items()}
        else:
            final[row] = observation[row].copy()
    return final
