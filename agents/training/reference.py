"""A rollout read again without gradients, and the frozen policy that KL is measured against."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from agents.models.episodes import Evaluation
from agents.training.updates import parts
from textgym.pretrained.adapters import has_adapters

if TYPE_CHECKING:
    from torch import Tensor

    from agents.models.policy import TransformerPolicy
    from agents.rollouts.rollout import Rollout

__all__ = ["evaluate_all", "frozen_reference"]


def frozen_reference(
    policy: TransformerPolicy, given: TransformerPolicy | None
) -> TransformerPolicy | None:
    """What KL is measured against: without a critic, as nobody asks what it expects.

    Args:
        policy: What learns.
        given: Another one; ``None`` for the policy as it is.

    Returns:
        The given one, frozen in place, or a copy; ``None`` if it is the policy without its
        adapters.

    Raises:
        ValueError: If policy and reference share weights.
    """
    if given is None:
        return None if has_adapters(policy.model) else policy.without_critic().frozen_copy()
    reference, learns = given.without_critic(), {p.data_ptr() for p in policy.parameters()}
    if any(p.data_ptr() in learns for p in reference.parameters()):
        raise ValueError(
            "policy and reference share weights: leave the reference out, or load it a second time"
        )
    reference.requires_grad_(requires_grad=False)
    return reference


@torch.no_grad()
def evaluate_all(
    policy: TransformerPolicy,
    rollout: Rollout,
    *,
    temperature: float,
    bf16: bool,
    most_tokens: int,
    wanted: Tensor | None = None,
) -> Evaluation:
    """Evaluates a rollout in passes of bounded size; see ``TransformerPolicy.evaluate``.

    Args:
        policy: Whose log-probabilities and values.
        rollout: The texts.
        temperature: The sampler's.
        bf16: Whether to compute in bfloat16.
        most_tokens: The most tokens of a forward pass.
        wanted: Numbers of those to evaluate, ``(n,)`` int64, the others get 0; ``None`` for all.
    """
    if wanted is None:
        wanted = torch.arange(len(rollout), device=rollout.tokens.device)
    log_probs = torch.zeros_like(rollout.log_probs)
    values = torch.zeros_like(rollout.log_probs)
    for rows in parts(wanted, rollout.read_lengths[wanted], most_tokens):
        result = policy.evaluate(rollout, rows, temperature, bf16=bf16)
        log_probs[rows], values[rows] = result.log_probs, result.values
    return Evaluation(log_probs, values)
