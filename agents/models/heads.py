"""The head by which a language model edits: it points at a place, and helps to say what goes there.

The logit of a place is the product of a projection of the text's last hidden state, which has seen
the whole text, and the hidden state at the place. The logits of the ids to write there are those of
the language model's own output layer, at the hidden state before the place; that state has not seen
what follows, so a projection of the text's last state and of the state at the place is added to it.
Deleting and inserting are the output layer's rows of the padding and of the beginning of text.

All weights start at zero, where every place is as likely as any other, and every id as likely as
the language model says.

Source: Vinyals et al., "Pointer Networks" (2015), with the bilinear score of Luong et al. (2015).

Simplification: the output layer knows the chosen place by these three states alone; there is no
second forward pass over the text with the place marked.
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
    """Logits of places, and the hidden states that the output layer turns into logits of ids.

    Attributes:
        silent: Whether to act as with the first weights, all zero, whatever was learned since.
    """

    def __init__(self, width: int, *, device: torch.device) -> None:
        """Makes a head whose weights are zero.

        Args:
            width: Of a hidden state.
            device: Where to put them.
        """
        super().__init__()
        # A head that learns needs all its digits, whatever the model is loaded as.
        self._pointer = nn.Linear(width, width, dtype=torch.float32, device=device)
        self._context = nn.Linear(2 * width, width, dtype=torch.float32, device=device)
        self._behind = nn.Parameter(torch.zeros(width, dtype=torch.float32, device=device))
        for parameter in self.parameters():
            nn.init.zeros_(parameter)
        self.silent = False

    def place_logits(self, hidden: Tensor, lengths: Tensor, columns: int) -> Tensor:
        """The logits of the places of texts, the one right behind each text included.

        Args:
            hidden: Last hidden states, ``(N, L, width)``; what stands at padding is not read.
            lengths: Of the texts, ``(N,)`` int64, from 1 to L.
            columns: T, the places of a row.

        Returns:
            ``(N, T)`` float32; 0 beyond the place behind the text.
        """
        places = torch.arange(hidden.shape[1] + 1, device=hidden.device)
        inside = (places < lengths[:, None])[..., None]
        hidden = hidden.float()
        keys = torch.where(inside, F.pad(hidden, (0, 0, 0, 1)), self._behind)
        with torch.autocast(hidden.device.type, enabled=False):
            query = self._pointer(_states_at(hidden, lengths - 1))
        logits = (keys * query[:, None]).sum(dim=-1) / hidden.shape[-1] ** 0.5
        logits = torch.where(places <= lengths[:, None], logits, 0.0)
        if self.silent:
            logits = torch.zeros_like(logits)
        return F.pad(logits, (0, columns - logits.shape[1]))

    def token_states(self, hidden: Tensor, lengths: Tensor, places: Tensor) -> Tensor:
        """The states that the output layer turns into logits of the ids to write.

        Args:
            hidden: As in ``place_logits``.
            lengths: As there.
            places: Where something is to be written, ``(N,)`` int64, from 1 to ``lengths``.

        Returns:
            ``(N, width)``, as narrow as ``hidden`` is.
        """
        before = _states_at(hidden, places - 1)
        if self.silent:
            return before
        inside = (places < lengths)[:, None]
        states = _states_at(hidden, places.clamp(max=hidden.shape[1] - 1)).float()
        at_place = torch.where(inside, states, self._behind)
        last = _states_at(hidden, lengths - 1).float()
        with torch.autocast(hidden.device.type, enabled=False):
            added: Tensor = self._context(torch.cat([last, at_place], dim=-1))
        return (before + added).to(before.dtype)


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


def _states_at(hidden: Tensor, places: Tensor) -> Tensor:
    """One state a text, ``(N, width)``, at ``places``, ``(N,)``."""
    return hidden[torch.arange(len(hidden), device=hidden.device), places]
