"""What a policy reads and what it answers: whole texts, the actions taken in them, and figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

__all__ = ["Act", "Episodes", "Evaluation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Episodes:
    """N whole texts of at most T tokens, and at most C actions in each.

    Attributes:
        tokens: The final texts, right-padded, ``(N, T)`` int64: the very ids that were sampled,
            never decoded and encoded again.
        places: The index of the last token before each action, ``(N, C)`` int64.
        actions: Ids, or numbers of candidates, ``(N, C)`` int64, or places and ids of edits,
            ``(N, C, 2)``; what ends a text where ``mask`` is false.
        mask: True iff text n was open before step c, ``(N, C)`` bool.
        legal: The legal actions: ``(A,)`` bool if they never change, else packed by ``pack_mask``,
            ``(N, C, ceil(A / 8))`` uint8. Of edits, the places and behind them the ids that were
            legal at the chosen place, each packed.
        kept: What top-k and top-p left of them, packed in the same way; ``None`` without such
            limits. An action that alone was left has a log-probability of 0 and no gradient.
        candidates: What could be chosen, ``(N, C, K, L)`` int64; ``None`` if there were none.
        texts: The whole text before each action, ``(N, C, T)`` int64, where texts are edited;
            ``None`` where they grow, and ``tokens`` holds what was there before.
        pad_id: The padding's id.
    """

    tokens: Tensor
    places: Tensor
    actions: Tensor
    mask: Tensor
    legal: Tensor
    kept: Tensor | None = None
    candidates: Tensor | None = None
    texts: Tensor | None = None
    pad_id: int

    def __len__(self) -> int:
        """N."""
        return len(self.tokens)


class Act(NamedTuple):
    """What the open rows of an environment do next, in the order in which they were asked."""

    action: Tensor
    """``(count,)`` int64."""
    log_prob: Tensor
    """Under the distribution that it was drawn from, ``(count,)`` float32."""
    value: Tensor | None
    """Of the state before it, ``(count,)`` float32; ``None`` where a critic of its own says so."""
    kept: Tensor | None
    """What top-k and top-p left, ``(count, A)`` bool; ``None`` where all that is legal."""
    legal: Tensor | None = None
    """Of edits, what was legal: the places, filled up to whole bytes of ``pack_mask``, and the ids
    at the chosen place, ``(count, A)`` bool, as is ``kept``; ``None`` where a mask says it."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What one forward pass says about the actions of whole texts.

    Attributes:
        log_probs: Of the given actions, under the distribution that they were drawn from, over what
            top-k and top-p left, ``(N, C)`` float32, 0 outside the mask.
        values: Of the states before the actions, ``(N, C)`` float32, 0 outside the mask.
        entropies: Of the distributions over what was legal, ``(N, C)`` float32 in nats, 0 outside
            the mask; ``None`` unless they were asked for.
        unlimited: The log-probabilities over all that was legal, as if there were no limits;
            ``None`` where there were none.
    """

    log_probs: Tensor
    values: Tensor
    entropies: Tensor | None = None
    unlimited: Tensor | None = None

    @property
    def legal_log_probs(self) -> Tensor:
        """The log-probabilities over all that was legal, which divergences are measured by."""
        return self.log_probs if self.unlimited is None else self.unlimited

    @classmethod
    def of_actions(
        cls,
        shape: Sequence[int],
        at: tuple[Tensor, ...],
        log_probs: Tensor,
        values: Tensor,
        entropies: Tensor | None,
        unlimited: Tensor | None = None,
    ) -> Evaluation:
        """Puts figures of M single actions where those are in the texts.

        Args:
            shape: ``(N, C)``.
            at: The texts and the actions in them, ``(M,)`` int64 each.
            log_probs: ``(M,)``.
            values: ``(M,)``.
            entropies: ``(M,)``, if there are any.
            unlimited: ``(M,)``, if they differ.
        """
        blank = torch.zeros(shape, device=log_probs.device)
        figures = (log_probs, values, entropies, unlimited)
        placed = [None if each is None else blank.index_put(at, each) for each in figures]
        return cls(*placed)  # type: ignore[arg-type] # the first two are there
