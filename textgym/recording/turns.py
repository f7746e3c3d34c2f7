"""A conversation taken apart: what the agent wrote, and what the other side replied."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

__all__ = ["own_turns", "split_turns"]


def split_turns(
    ids: npt.NDArray[np.integer], authored: npt.NDArray[np.integer], eos_id: int
) -> list[tuple[bool, list[int]]]:
    """Cuts what stands behind a prompt into turns.

    A turn of the agent ends with its end of text, also where the reply to it is empty.

    Args:
        ids: The tokens behind the prompt, without padding, ``(n,)``.
        authored: 1 where the agent wrote, ``(n,)``.
        eos_id: The end of text.

    Returns:
        For each turn whether it is the agent's, and its ids.
    """
    own = authored == 1
    ends = own[:-1] & (ids[:-1] == eos_id)
    turned = np.flatnonzero((own[1:] != own[:-1]) | ends) + 1
    turns = zip(np.split(own, turned), np.split(ids, turned), strict=True)
    return [(bool(by_agent[0]), part.tolist()) for by_agent, part in turns if len(part)]


def own_turns(turns: Sequence[tuple[bool, list[int]]]) -> list[list[int]]:
    """Returns the ids of the agent's turns."""
    return [ids for by_agent, ids in turns if by_agent]
