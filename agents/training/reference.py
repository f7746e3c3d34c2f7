"""A rollout read again without gradients, and the frozen policy that KL is measured against."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from agents.models.episodes import Evaluation
from agents.training.guards import SMALLER_PASSES, explained_memory
from agents.training.updates import parts
from textgym.pretrained.adapters import has_adapters

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from agents.models.policy import TransformerPolicy
    from agents.rollouts.rollout import Rollout
    from agents.training.distributed import Processes

__all__ = ["evaluate_all", "final_values", "frozen_reference"]


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
    processes: Processes | None = None,
) -> Evaluation:
    """Evaluates a rollout in passes of bounded size; see ``TransformerPolicy.evaluate``.

    Args:
        policy: Whose log-probabilities and values.
        rollout: The texts.
        temperature: The sampler's.
        bf16: Whether to compute in bfloat16.
        most_tokens: The most tokens of a forward pass.
        wanted: Numbers of those to evaluate, ``(n,)`` int64, the others get 0; ``None`` for all.
        processes: Who have their own ones evaluated at the same time; ``None`` for nobody.
    """
    if wanted is None:
        wanted = torch.arange(len(rollout), device=rollout.tokens.device)
    log_probs = torch.zeros_like(rollout.log_probs)
    values = torch.zeros_like(rollout.log_probs)
    own = parts(wanted, rollout.read_lengths[wanted], most_tokens)
    for rows, counts in _evened(own, wanted, processes):
        result = policy.evaluate(rollout, rows, temperature, bf16=bf16)
        if counts:
            log_probs[rows], values[rows] = result.log_probs, result.values
    return Evaluation(log_probs, values)


@torch.no_grad()
def final_values(
    policy: TransformerPolicy, rollout: Rollout, *, most_tokens: int, processes: Processes
) -> Tensor | None:
    """The values of texts that an outside limit cut off, as they were then, ``(N,)`` float32.

    Args:
        policy: Whose values.
        rollout: The texts.
        most_tokens: The most tokens of a forward pass.
        processes: Who read a share of them each.

    Returns:
        0 for the other texts; ``None`` where none was cut off.
    """
    cut_off = rollout.truncated.nonzero().flatten()
    if not len(cut_off):
        return None
    values = torch.zeros(len(rollout), device=rollout.tokens.device)
    with processes.passes(), explained_memory(SMALLER_PASSES):
        wanted = processes.deal(cut_off, rollout.lengths[cut_off])
        own = parts(wanted, rollout.lengths[wanted], most_tokens)
        for rows, counts in _evened(own, wanted, processes):
            tokens = rollout.tokens[rows, : int(rollout.lengths[rows].max())]
            result = policy.state_values(tokens, rollout.lengths[rows])
            if counts:
                values[rows] = result
    processes.sum_([values])
    return values


def _evened(
    own: list[Tensor], wanted: Tensor, processes: Processes | None
) -> Iterator[tuple[Tensor, bool]]:
    """The parts to read, as many in every process, and whether each counts here."""
    every, count = own, len(own)
    if processes is not None:
        every, count = processes.evened(own, wanted.new_zeros(1))
    for number, rows in enumerate(every):
        yield rows, number < count
