"""PURE: the terms of the PPO objective. Everything is ``(N, T)`` with a mask of the same shape.

Source: Schulman et al., "Proximal Policy Optimization Algorithms" (2017), and the value clipping of
OpenAI's baselines. Means are over the true entries of the mask.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from agents.advantages import masked_mean

__all__ = ["PolicyLoss", "clipped_policy_loss", "clipped_value_loss"]


class PolicyLoss(NamedTuple):
    """The policy's loss and what it says about the step, all scalars."""

    loss: Tensor
    clip_fraction: Tensor
    """Share of actions whose clipped term was the active one."""
    approximate_kl: Tensor
    """KL from the collecting policy to the current one, estimated by k3, in nats per token."""


def clipped_policy_loss(
    log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor, mask: Tensor, clip: float
) -> PolicyLoss:
    """The clipped surrogate, ``mean(max(-A * r, -A * clip(r, 1 - clip, 1 + clip)))``.

    Args:
        log_probs: ``(N, T)``, of the actions under the current policy, with gradient.
        old_log_probs: ``(N, T)``, under the policy that acted.
        advantages: ``(N, T)``.
        mask: ``(N, T)`` bools.
        clip: How far the ratio may move from 1 before it stops paying.
    """
    log_ratio = torch.where(mask, log_probs - old_log_probs, 0.0)
    ratio = log_ratio.exp()
    plain = -advantages * ratio
    clipped = -advantages * ratio.clamp(1 - clip, 1 + clip)
    loss = masked_mean(torch.maximum(plain, clipped), mask)
    with torch.no_grad():
        clip_fraction = masked_mean((clipped > plain).float(), mask)
        approximate_kl = masked_mean(torch.expm1(log_ratio) - log_ratio, mask)
    return PolicyLoss(loss, clip_fraction, approximate_kl)


def clipped_value_loss(
    values: Tensor, old_values: Tensor, returns: Tensor, mask: Tensor, clip: float | None
) -> Tensor:
    """Half the squared error, the worse of the plain and the clipped prediction.

    Args:
        values: ``(N, T)`` predictions with gradient.
        old_values: ``(N, T)`` predictions when the data was collected.
        returns: ``(N, T)`` targets.
        mask: ``(N, T)`` bools.
        clip: How far a prediction may move from the old one; None leaves it free.

    Returns:
        A scalar.
    """
    error = (values - returns).square()
    if clip is not None:
        near = old_values + (values - old_values).clamp(-clip, clip)
        error = torch.maximum(error, (near - returns).square())
    return 0.5 * masked_mean(error, mask)
