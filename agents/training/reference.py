"""A rollout read again: by the policy that learns, and by the reference that it is compared with.

Whole texts go through in one pass, with the precision of the agent's config, and without gradients;
each of the processes reads its share.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from agents.maths.advantages import masked_mean
from agents.models.heads import silenced
from agents.training.guards import SMALLER_PASSES, explained_memory, require_agreement
from agents.training.updates import evaluate_all
from textgym.pretrained.adapters import adapters_off, has_adapters

if TYPE_CHECKING:
    from torch import Tensor

    from agents.learner import Agent
    from agents.models.policy import TransformerPolicy
    from agents.rollouts.rollout import Evaluation, Rollout

__all__ = ["acted_log_probs", "evaluate_reference", "evaluate_rollout", "frozen_reference"]


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


def evaluate_rollout(agent: Agent, policy: TransformerPolicy, rollout: Rollout) -> Evaluation:
    """Evaluates a whole rollout.

    Args:
        agent: Whose config and processes.
        policy: Whose log-probabilities and values.
        rollout: The texts.
    """
    every = torch.arange(len(rollout), device=rollout.tokens.device)
    with agent.processes.together(), explained_memory(SMALLER_PASSES):
        result = evaluate_all(
            policy,
            rollout,
            temperature=agent.config.temperature,
            bf16=agent.config.bf16,
            most_tokens=agent.config.micro_batch_tokens,
            wanted=agent.processes.deal(every, rollout.sizes),
        )
    agent.processes.sum_([result.log_probs, result.values])
    return result


def evaluate_reference(agent: Agent, rollout: Rollout) -> Evaluation:
    """Evaluates a whole rollout with the reference, which may be the policy's own base.

    Its log-probabilities are what it is for; its values are nobody's, and no critic is run.
    """
    if agent.reference is not None:
        return evaluate_rollout(agent, _packed(agent, agent.reference), rollout)
    with adapters_off(agent.policy), silenced(agent.policy.edit_head):
        return evaluate_rollout(agent, _packed(agent, agent.actor), rollout)


def acted_log_probs(agent: Agent, rollout: Rollout) -> Tensor:
    """The log-probabilities that the update compares with, ``(E, C)``.

    In bfloat16 they are computed anew by the update's own forward pass, and the sampler's own must
    be near.

    Raises:
        GuardError: If they are not.
    """
    if not agent.config.bf16:
        return rollout.log_probs
    log_probs = evaluate_rollout(agent, agent.policy, rollout).log_probs
    gap = float(masked_mean((log_probs - rollout.log_probs).abs(), rollout.mask))
    require_agreement(gap, bf16=True)
    return log_probs


def _packed(agent: Agent, reference: TransformerPolicy) -> TransformerPolicy:
    config = agent.config
    if config.bf16 and not config.updates_on_policy:
        # What it is compared with is evaluated anew, and at the start is to be just the same.
        return reference
    dtype = torch.bfloat16 if config.bf16 else reference.dtype
    return reference.packed(config.micro_batch_tokens, dtype)
