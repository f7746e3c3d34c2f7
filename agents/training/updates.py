"""From a rollout to gradients: forward passes of bounded size, and one step of the optimiser.

Texts of like length go through the model together, as many as ``most_tokens`` allow with padding.
How a minibatch is cut changes its gradient by rounding alone (tested), because losses are sums with
weights that are worked out for the whole minibatch, see ``agents.maths.losses``.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

import torch

from agents.models.edits import evaluate_edits
from agents.rollouts.rollout import Evaluation
from agents.training.guards import require_gradient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from torch import Tensor

    from agents.models.policy import TransformerPolicy
    from agents.rollouts.rollout import Rollout

LossOf: TypeAlias = "Callable[[Evaluation, Tensor], tuple[Tensor, Mapping[str, Tensor]]]"
"""From a part's evaluation and its row numbers to its share of the loss and of measurements."""

__all__ = [
    "LossOf",
    "PhaseClock",
    "accumulate_gradient",
    "descend",
    "evaluate_all",
    "evaluate_rows",
    "parts",
]


class PhaseClock:
    """Seconds by phase of an iteration, each in one phase; on a GPU, work belongs to its phase.

    Attributes:
        seconds: By name of the phase.
    """

    def __init__(self, device: torch.device) -> None:
        """Starts with no phase."""
        self._device = device
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measures what is done inside, and adds it to the phase."""
        start = time.perf_counter()
        yield
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        spent = time.perf_counter() - start
        self.seconds[name] = self.seconds.get(name, 0.0) + spent

    def move(self, whole: str, part: str, seconds: float) -> None:
        """Counts some of a phase's seconds as another's."""
        self.seconds[whole] -= seconds
        self.seconds[part] = seconds


def parts(rows: Tensor, lengths: Tensor, most_tokens: int) -> list[Tensor]:
    """Cuts rows into parts of like length.

    Args:
        rows: Numbers of texts, ``(n,)`` int64.
        lengths: Of those texts, ``(n,)`` int64.
        most_tokens: The most tokens of a part, padding included; a longer text goes alone.

    Returns:
        The numbers, longest texts first, in parts.
    """
    order = lengths.argsort(descending=True, stable=True)
    ordered = lengths[order].tolist()
    cuts, first = [], 0
    while first < len(ordered):
        count = max(1, most_tokens // ordered[first])
        cuts.append(rows[order[first : first + count]])
        first += count
    return cuts


def evaluate_rows(
    policy: TransformerPolicy,
    rollout: Rollout,
    rows: Tensor,
    temperature: float,
    *,
    bf16: bool,
    entropies: bool = False,
) -> Evaluation:
    """Evaluates some rows of a rollout in one pass, see ``TransformerPolicy.evaluate``.

    Texts that were edited are read once for each edit, see ``evaluate_edits``.

    Args:
        policy: Whose log-probabilities.
        rollout: The texts.
        rows: Their numbers, ``(n,)`` int64.
        temperature: The sampler's.
        bf16: Whether to compute in bfloat16.
        entropies: Whether to give them as well.
    """
    legal = rollout.legal if rollout.legal.ndim == 1 else rollout.legal[rows]
    with torch.autocast(policy.device.type, torch.bfloat16, enabled=bf16):
        if rollout.texts is not None:
            return evaluate_edits(
                policy,
                rollout.texts[rows],
                rollout.places[rows],
                rollout.actions[rows],
                rollout.mask[rows],
                legal,
                temperature,
                entropies=entropies,
            )
        # Nothing is chosen behind a text's last token, so it is not read.
        longest = 1 + int(torch.where(rollout.mask[rows], rollout.places[rows], 0).max())
        return policy.evaluate(
            rollout.tokens[rows, :longest],
            rollout.places[rows],
            rollout.actions[rows],
            rollout.mask[rows],
            legal,
            temperature,
            None if rollout.candidates is None else (rollout.candidates[rows], rollout.pad_id),
            entropies=entropies,
        )


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
    """Evaluates rows of a rollout without gradients; see ``TransformerPolicy.evaluate``.

    Args:
        policy: Whose log-probabilities.
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
    for rows in parts(wanted, rollout.sizes[wanted], most_tokens):
        result = evaluate_rows(policy, rollout, rows, temperature, bf16=bf16)
        log_probs[rows], values[rows] = result.log_probs, result.values
    return Evaluation(log_probs, values)


def accumulate_gradient(
    policy: TransformerPolicy,
    rollout: Rollout,
    rows: Tensor,
    loss_of: LossOf,
    *,
    temperature: float,
    bf16: bool,
    most_tokens: int,
    entropies: bool = False,
) -> dict[str, float]:
    """Adds a minibatch's gradient to the parameters'.

    Args:
        policy: What learns.
        rollout: What was collected.
        rows: The minibatch, ``(n,)`` int64.
        loss_of: From a part's evaluation and its row numbers to the part's share of the loss and of
            whatever is to be measured, all sums over the part.
        temperature: The sampler's.
        bf16: Whether to compute in bfloat16.
        most_tokens: The most tokens of a forward pass.
        entropies: Whether ``loss_of`` reads them.

    Returns:
        The measurements of the whole minibatch.
    """
    measured: dict[str, Tensor] = {}
    for part in parts(rows, rollout.sizes[rows], most_tokens):
        new = evaluate_rows(policy, rollout, part, temperature, bf16=bf16, entropies=entropies)
        loss, shares = loss_of(new, part)
        loss.backward()  # type: ignore[no-untyped-call] # torch leaves it without types
        for name, share in shares.items():
            measured[name] = measured.get(name, torch.zeros_like(share)) + share.detach()
    # Brought to the host together, for which it waits once.
    values = torch.stack([*measured.values()]).tolist() if measured else []
    return dict(zip(measured, values, strict=True))


def descend(
    policy: TransformerPolicy,
    optimizer: torch.optim.Optimizer,
    *,
    max_norm: float | None,
    iteration: int,
) -> float:
    """Steps the optimiser by the accumulated gradient and clears it.

    A gradient of exactly 0 makes no step, which Adam's momentum otherwise would: texts may have
    nothing to tell apart, or all of their ratios at the clip.

    Args:
        policy: What learns.
        optimizer: Over its parameters.
        max_norm: A longer gradient is scaled down to this; ``None`` leaves it as it is.
        iteration: For messages, from 1.

    Returns:
        The gradient's norm before clipping.

    Raises:
        GuardError: If the gradient is not finite.
    """
    trained = [p for p in policy.parameters() if p.grad is not None]
    limit = float("inf") if max_norm is None else max_norm
    norm = float(torch.nn.utils.clip_grad_norm_(trained, limit))
    if norm != 0.0:
        require_gradient(norm, iteration)
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return norm
