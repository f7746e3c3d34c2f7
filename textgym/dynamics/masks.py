"""What a mask of actions says: how long it is for a space, and which actions keep to it.

Nothing here knows of texts. A mask is as long as all parts of an action together, n for
``Discrete(n)`` and ``sum(nvec)`` for ``MultiDiscrete(nvec)``, and speaks of each part by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["action_parts", "moved_to_legal", "split_mask"]


def action_parts(
    space: spaces.Space[Any],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None:
    """Returns how many values each part of an action has, and its first; ``None`` if unmaskable."""
    if isinstance(space, spaces.Discrete):
        return np.array([space.n]), np.array([space.start])
    if isinstance(space, spaces.MultiDiscrete):
        return space.nvec.ravel().astype(np.int64), space.start.ravel().astype(np.int64)
    return None


def split_mask(space: spaces.Space[Any], mask: npt.NDArray[Any]) -> Any:
    """Makes of a mask what ``space.sample(mask=...)`` takes: of several parts, a mask for each.

    The parts are drawn by themselves. Of an edit, a place and an id that do not go together may
    come out; ``textgym.wrappers.FlattenAction`` draws legal pairs alone. A batch of edits has a
    space that Gymnasium draws from without a mask.

    Args:
        space: A ``Discrete`` or a ``MultiDiscrete``: an environment's, or that of a batch in which
            an action is one number.
        mask: What ``action_masks()`` gives, or ``info["action_mask"]``: ``(n,)``, or for a batch
            ``(N, n)``.

    Returns:
        int8: the mask itself for ``Discrete``, and else a tuple.

    Raises:
        TypeError: If the space is another one.
        ValueError: If the mask is not as long as the space's parts together.
    """
    wanted = np.asarray(mask).astype(np.int8)
    if not isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        raise TypeError(f"masks are of Discrete and MultiDiscrete spaces, and this is {space}")
    sizes = space.n if isinstance(space, spaces.Discrete) else space.nvec
    if wanted.size != np.sum(sizes) or np.ndim(sizes) > 1:
        raise ValueError(f"the mask has the shape {wanted.shape}, which is not that of {space}")
    if isinstance(space, spaces.Discrete):
        return wanted
    return tuple(np.split(wanted.ravel(), np.cumsum(sizes)[:-1]))


def moved_to_legal(
    actions: npt.NDArray[Any],
    masks: npt.NDArray[Any],
    sizes: npt.NDArray[np.int64],
    starts: npt.NDArray[np.int64],
) -> npt.NDArray[Any]:
    """Moves each part of drawn actions on to a legal value, where there is one.

    Args:
        actions: In their space, ``(N,)`` or ``(N, parts)``.
        masks: What is legal, ``(N, sizes.sum())`` bool; masks of another shape change nothing.
        sizes: How many values each part has, ``(parts,)``.
        starts: The first value of each part, ``(parts,)``.
    """
    drawn = actions.reshape(len(actions), -1)
    if masks.shape != (len(drawn), sizes.sum()):
        return actions
    legal = drawn.copy()
    for part, mask in enumerate(np.split(masks, np.cumsum(sizes)[:-1], axis=1)):
        for row, choices in enumerate(map(np.flatnonzero, mask)):
            if choices.size:
                # The batch's own draw, moved on to a legal value, so that its seed decides.
                number = int(drawn[row, part] - starts[part]) % len(choices)
                legal[row, part] = starts[part] + choices[number]
    return legal.reshape(actions.shape)
