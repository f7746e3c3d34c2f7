"""How far the sampler's log-probabilities are from the update's, before anything was learned.

Both are to be the same policy. In float32 they differ by rounding; in bfloat16, or where another
engine samples, by more, and what was drawn is slightly off-policy. The figures are of the actions
of an iteration's first minibatch, which are evaluated before its first step anyway.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from agents.maths.importance import effective_share, truncated_weights

if TYPE_CHECKING:
    from torch import Tensor

    from agents.training.distributed import Processes

__all__ = ["GAP_FIGURES", "SamplerGap"]

GAP_FIGURES = ("sampler_gap", "sampler_gap_max", "importance_clipped", "importance_ess")
"""The names of the figures, see ``SamplerGap.figures``."""

_UNCOMMON = 2.0  # a weight beyond it is counted where no cap is set


class SamplerGap:
    """Collects differences, part by part, and gives their figures once."""

    def __init__(self, cap: float | None, device: torch.device) -> None:
        """Starts with no action.

        Args:
            cap: The largest importance weight that the learner uses, if it does.
            device: Where the differences are.
        """
        self._is_capped, self._cap = cap is not None, _UNCOMMON if cap is None else cap
        self._sums = torch.zeros(5, dtype=torch.float32, device=device)
        self._largest = torch.zeros((), dtype=torch.float32, device=device)

    def add(self, log_ratio: Tensor, mask: Tensor) -> None:
        """Adds a part's actions.

        Args:
            log_ratio: The update's log-probabilities less the sampler's, ``(n, C)``.
            mask: Where there was an action, ``(n, C)`` bool.
        """
        log_ratio = torch.where(mask, log_ratio.detach(), 0.0)
        gap, plain = log_ratio.abs(), truncated_weights(log_ratio, torch.inf)
        weights = plain.clamp(max=self._cap) if self._is_capped else plain
        figures = (mask.float(), gap, weights, weights.square(), (plain > self._cap).float())
        self._sums += torch.stack([torch.where(mask, each, 0.0).sum() for each in figures])
        self._largest = torch.maximum(self._largest, gap.max())

    def figures(self, processes: Processes) -> dict[str, float]:
        """What was found in all processes, each of which has to ask; nothing without an action.

        Returns:
            ``sampler_gap`` and ``sampler_gap_max``, the mean and the largest absolute difference in
            nats; ``importance_clipped``, the share of actions whose weight is above the cap, or
            above 2 without one; and ``importance_ess``, the effective sample size of the weights
            that are used as a share of the actions.
        """
        found = processes.exchange((self._sums.tolist(), float(self._largest)))
        sums = zip(*(sums for sums, _ in found), strict=True)
        count, gap, total, squares, clipped = map(sum, sums)
        if not count:
            return {}
        most, share = max(largest for _, largest in found), effective_share(count, total, squares)
        return dict(zip(GAP_FIGURES, (gap / count, most, clipped / count, share), strict=True))
