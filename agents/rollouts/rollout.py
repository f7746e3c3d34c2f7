"""What was collected, whole episodes as tensors, and what a forward pass says about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt
    from torch import Tensor

__all__ = ["Evaluation", "Rollout"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """E whole episodes of at most C actions, in the order in which they were asked for.

    Attributes:
        tokens: The final texts, right-padded, ``(E, L)`` int64: the very ids that were sampled,
            never decoded and encoded again.
        prompt_lengths: ``(E,)`` int64, the beginning-of-text id included.
        lengths: Of the texts, ``(E,)`` int64.
        places: The index of the last token before each action, ``(E, C)`` int64.
        actions: Ids, or numbers of candidates, ``(E, C)`` int64, or places and ids of edits,
            ``(E, C, 2)``; what ends a text where ``mask`` is false.
        log_probs: Of the actions, under the distribution they were drawn from, ``(E, C)`` float32.
        values: Of the states before the actions, ``(E, C)`` float32; ``None`` with a critic.
        rewards: ``(E, C)`` float32.
        mask: True iff episode e was open before step t, ``(E, C)`` bool.
        legal: The legal actions: ``(A,)`` bool if they never change, else packed by ``pack_mask``,
            ``(E, C, ceil(A / 8))`` uint8. What top-k and top-p dropped is not legal. Of edits, the
            places and behind them the ids that were legal at the chosen place, each packed.
        candidates: What could be chosen, ``(E, C, K, L)`` int64; ``None`` if there were none.
        texts: The whole text before each action, ``(E, C, T)`` int64, where texts are edited;
            ``None`` where they grow, and ``tokens`` holds what was there before.
        pad_id: The padding's id.
        truncated: Episodes that an outside limit cut off, ``(E,)`` bool.
        scores: What the reward said of each finished text, ``(E,)`` float64, NaN if truncated.
        stop_reasons: ``(E,)`` int64, see ``StopReason``.
        example_ids: Where each episode started, ``(E,)`` int64.
        env_seconds: Time spent in the environment, its reward included.
        reward_seconds: Time spent in the reward.
    """

    tokens: Tensor
    prompt_lengths: Tensor
    lengths: Tensor
    places: Tensor
    actions: Tensor
    log_probs: Tensor
    values: Tensor | None
    rewards: Tensor
    mask: Tensor
    legal: Tensor
    candidates: Tensor | None
    texts: Tensor | None
    pad_id: int
    truncated: Tensor
    scores: npt.NDArray[np.float64]
    stop_reasons: npt.NDArray[np.int64]
    example_ids: npt.NDArray[np.int64]
    env_seconds: float
    reward_seconds: float

    def __len__(self) -> int:
        """E."""
        return len(self.tokens)

    @property
    def num_actions(self) -> int:
        """How many actions were taken in all."""
        return int(self.mask.sum())

    @property
    def sizes(self) -> Tensor:
        """How many tokens a model reads to evaluate each episode, padding included, ``(E,)``."""
        if self.texts is None:
            return self.lengths
        longest = torch.where(self.mask, self.places, 0).max() + 1
        return self.mask.sum(dim=1) * longest

    def completions(self) -> list[list[int]]:
        """What was written after the prompts, the end-of-text id included."""
        starts, ends = self.prompt_lengths.tolist(), self.lengths.tolist()
        rows = self.tokens.tolist()
        return [row[a:b] for row, a, b in zip(rows, starts, ends, strict=True)]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What one forward pass says about the actions of whole texts.

    Attributes:
        log_probs: Of the given actions, ``(N, C)`` float32, 0 outside the mask.
        values: Of the states before the actions, ``(N, C)`` float32, 0 outside the mask.
        entropies: Of the distributions over what was legal, ``(N, C)`` float32 in nats, 0 outside
            the mask; ``None`` unless they were asked for.
    """

    log_probs: Tensor
    values: Tensor
    entropies: Tensor | None = None

    @classmethod
    def of(
        cls,
        shape: Sequence[int],
        at: tuple[Tensor, ...],
        log_probs: Tensor,
        values: Tensor,
        entropies: Tensor | None,
    ) -> Evaluation:
        """Puts figures of single actions where they belong.

        Args:
            shape: ``(N, C)``.
            at: The texts and the actions in them, ``(M,)`` int64 each.
            log_probs: ``(M,)``.
            values: ``(M,)``.
            entropies: ``(M,)``, if there are any.
        """
        blank = torch.zeros(shape, device=log_probs.device)
        log_probs, values = (blank.index_put(at, each) for each in (log_probs, values))
        return cls(log_probs, values, None if entropies is None else blank.index_put(at, entropies))
