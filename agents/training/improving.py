"""An iteration's gradient steps, each summed over the processes, and the guard before the first.

What the loss is, the algorithm says.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from agents.maths.advantages import masked_mean
from agents.training.guards import (
    SMALLER_PASSES,
    explained_memory,
    require_agreement,
    require_gradient,
    require_unit_ratio,
)
from agents.training.updates import LossOf, accumulate_gradient, descend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from torch import Tensor

    from agents.learner import Agent
    from agents.rollouts.rollout import Evaluation, Rollout

__all__ = ["improve", "minibatches", "summed_gradient", "take_step"]


def improve(
    agent: Agent,
    rollout: Rollout,
    old_log_probs: Tensor | None,
    loss_for: Callable[[Tensor], LossOf],
    *,
    prepare: Callable[[], None] = lambda: None,
    enough: Callable[[Mapping[str, float]], bool] = lambda _: False,
    entropies: bool = False,
) -> dict[str, float]:
    """Makes an iteration's gradient steps: ``epochs`` passes of ``minibatches``.

    Args:
        agent: Who learns.
        rollout: What was collected.
        old_log_probs: Of its actions under the policy that acted, ``(E, C)``; the first
            minibatch must find the same ones. ``None`` if they are that minibatch's own; those
            of the sampler must then be near.
        loss_for: From a minibatch's row numbers to its loss, see ``accumulate_gradient``.
        prepare: Called before each step of the optimiser, with the gradients there.
        enough: Whether to stop after a step that measured this.
        entropies: Whether the loss reads them.

    Returns:
        The means of what the steps measured, and how many ``updates`` there were.
    """
    config, history = agent.config, list[dict[str, float]]()
    for rows in minibatches(agent, agent.episodes):
        loss_of = loss_for(rows)
        if not history:
            loss_of = _guarded(loss_of, rollout, old_log_probs, bf16=config.bf16)
        accumulate = partial(
            accumulate_gradient,
            agent.policy,
            rollout,
            loss_of=loss_of,
            temperature=config.temperature,
            bf16=config.bf16,
            most_tokens=config.micro_batch_tokens,
            entropies=entropies,
        )
        measured = take_step(agent, accumulate, rows, rollout.sizes[rows], prepare)
        history.append(measured)
        if enough(measured):
            break
    if agent.iteration == 0:  # later there may be nothing left to tell apart
        require_gradient(max(each["gradient_norm"] for each in history), agent.iteration + 1)
    means = {name: float(np.mean([each[name] for each in history])) for name in history[0]}
    return {**means, "updates": float(len(history))}


def minibatches(agent: Agent, count: int) -> Iterator[Tensor]:
    """Deals texts, or pairs of them, out in random order, ``minibatches`` tensors in each epoch.

    Their sizes differ by at most one; ``chunk`` would make fewer of them, or a last one of a few.

    Args:
        agent: Who learns.
        count: How many there are; fewer than ``minibatches`` go one by one.

    Yields:
        Their numbers, int64.
    """
    config, device = agent.config, agent.policy.device
    for _ in range(config.epochs if count else 0):
        order = torch.randperm(count, generator=agent.random.sampler, device=device)
        yield from order.tensor_split(min(config.minibatches, count))


def take_step(
    agent: Agent,
    accumulate: Callable[[Tensor], Mapping[str, float]],
    rows: Tensor,
    lengths: Tensor,
    prepare: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """Makes the gradient step of a minibatch, whose gradient is summed over the processes.

    Args:
        agent: Who learns.
        accumulate: Adds the gradient of some rows, and returns their share of the measurements.
        rows: The minibatch, ``(n,)`` int64.
        lengths: What there is to read for each of them, ``(n,)`` int64.
        prepare: Called before the optimiser's step, with the gradients there.

    Returns:
        The measurements of the whole minibatch, ``gradient_norm`` among them.
    """
    measured = summed_gradient(agent, accumulate, rows, lengths)
    prepare()
    measured["gradient_norm"] = descend(
        agent.policy,
        agent.optimizer,
        max_norm=agent.config.max_gradient_norm,
        iteration=agent.iteration + 1,
    )
    return measured


def summed_gradient(
    agent: Agent,
    accumulate: Callable[[Tensor], Mapping[str, float]],
    rows: Tensor,
    lengths: Tensor,
) -> dict[str, float]:
    """Adds a minibatch's gradient to the parameters', each process's share of it.

    Args:
        agent: Who learns.
        accumulate: Adds that of some rows, and returns their share of the measurements.
        rows: The minibatch, ``(n,)`` int64.
        lengths: What there is to read for each of them, ``(n,)`` int64.

    Returns:
        The measurements of the whole minibatch.
    """
    with agent.processes.together(), explained_memory(SMALLER_PASSES):
        measured = accumulate(agent.processes.deal(rows, lengths))
    agent.processes.sum_gradients(agent.policy.parameters())
    return agent.processes.summed(measured)


def _guarded(
    loss_of: LossOf, rollout: Rollout, old_log_probs: Tensor | None, *, bf16: bool
) -> LossOf:
    """The same loss, behind the guard that the policy that learns is the one that acted.

    The policy must have ``old_log_probs``; without them, be near what the sampler had.
    """

    def guarded(new: Evaluation, part: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        mask = rollout.mask[part]
        if old_log_probs is None:
            gap = (new.log_probs.detach() - rollout.log_probs[part]).abs()
            require_agreement(float(masked_mean(gap, mask)), bf16=bf16)
        else:
            require_unit_ratio(new.log_probs, old_log_probs[part], mask, bf16=bf16)
        return loss_of(new, part)

    return guarded
