"""What a language model needs to edit: a pointer to a place, and what else to know of it.

A place is scored by a product of the last hidden state, which has seen the whole text, and the
place's own. What is written there is judged by the language model's own output layer, at the hidden
state before the place, which has not seen what follows; so a projection of the last state and of
the place's own is added to it. Deleting and inserting are the output layer's rows of the padding
and of the beginning of text.

All weights start at zero, by which every place is as likely as any other, and every id as likely as
the language model says.

Source: Vinyals et al., "Pointer Networks" (2015), with the bilinear score of Luong et al. (2015).

Simplification: the place that is chosen is known to the output layer by these three states alone;
the text is not read again with a mark at the place.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["EditHead", "silenced"]


class EditHead(nn.Module):
    """Scores places, and makes the hidden states from which ids are judged.

    Attributes:
        silent: Whether to be as it started, whatever was learned since.
    """

    def __init__(self, width: int, *, dtype: torch.dtype, device: torch.device) -> None:
        """Makes a head that knows nothing.

        Args:
            width: Of a hidden state.
            dtype: Of the weights.
            device: Where to put them.
        """
        super().__init__()
        self._pointer = nn.Linear(width, width, dtype=dtype, device=device)
        self._context = nn.Linear(2 * width, width, dtype=dtype, device=device)
        self._behind = nn.Parameter(torch.zeros(width, dtype=dtype, device=device))
        for parameter in self.parameters():
            nn.init.zeros_(parameter)
        self.silent = False

    def place_logits(self, hidden: Tensor, lengths: Tensor, columns: int) -> Tensor:
        """Scores the places of texts, the one right behind each text included.

        Args:
            hidden: Last hidden states, ``(N, L, width)``; what stands at padding is not read.
            lengths: Of the texts, ``(N,)`` int64, from 1 to L.
            columns: T, the places of a row.

        Returns:
            ``(N, T)`` float32; 0 beyond the place behind the text.
        """
        every = torch.arange(hidden.shape[1] + 1, device=hidden.device)
        here = torch.where(
            (every < lengths[:, None])[..., None], F.pad(hidden, (0, 0, 0, 1)), self._behind
        )
        query = self._pointer(_at(hidden, lengths - 1)).float()
        scores = (here.float() * query[:, None]).sum(dim=-1) / hidden.shape[-1] ** 0.5
        scores = torch.where(every <= lengths[:, None], scores, 0.0)
        if self.silent:
            scores = torch.zeros_like(scores)
        return F.pad(scores, (0, columns - scores.shape[1]))

    def token_states(self, hidden: Tensor, lengths: Tensor, places: Tensor) -> Tensor:
        """Makes the states that the output layer turns into logits of ids.

        Args:
            hidden: As above.
            lengths: As above.
            places: Where something is to be written, ``(N,)`` int64, from 1 to ``lengths``.

        Returns:
            ``(N, width)``.
        """
        before = _at(hidden, places - 1)
        if self.silent:
            return before
        inside = (places < lengths)[:, None]
        here = torch.where(inside, _at(hidden, places.clamp(max=hidden.shape[1] - 1)), self._behind)
        last = _at(hidden, lengths - 1)
        added: Tensor = self._context(torch.cat([last, here.to(last.dtype)], dim=-1))
        return before + added


@contextmanager
def silenced(head: EditHead | None) -> Iterator[None]:
    """Leaves an edit head as it started for a ``with`` block; nothing happens if there is none.

    Not for several threads at once.
    """
    was_silent = head is not None and head.silent
    try:
        if head is not None:
            head.silent = True
        yield
    finally:
        if head is not None:
            head.silent = was_silent


def _at(hidden: Tensor, places: Tensor) -> Tensor:
    return hidden[torch.arange(len(hidden), device=hidden.device), places]
