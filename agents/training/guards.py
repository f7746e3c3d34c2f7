"""What must hold while a policy is trained; each broken promise stops the run and says which.

The tolerances are what rounding explains, in float32 and in bfloat16.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file
from torch import Tensor

from textgym.rewards import RewardError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from agents.rollouts.rollout import Rollout

__all__ = [
    "ROUNDING",
    "SMALLER_PASSES",
    "GuardError",
    "NoGradientError",
    "explained_memory",
    "memory_guard",
    "require_agreement",
    "require_finite_gradient",
    "require_progress",
    "require_unit_ratio",
    "save_failed_batch",
]

ROUNDING = {False: 1e-3, True: 0.1}
"""Nats of a log-probability that rounding explains, by whether it is computed in bfloat16. There it
grows with depth: 0.04 to 0.05 in the 30 layers of SmolLM2."""

_MOST_WITHOUT_GRADIENT = 10
_RATIO_OFF = {False: 1e-3, True: 0.3}

SMALLER_PASSES = "micro_batch_tokens, or set bf16"
"""What to lower where a forward pass runs out of memory."""

_FULL = ("can't allocate memory", "not enough memory", "out of memory", "bad_alloc", "ALLOC_FAILED")


class GuardError(RuntimeError):
    """An invariant of the training loop does not hold; the message says which."""


class NoGradientError(GuardError):
    """Nothing was learned: no action made a difference."""


@contextmanager
def explained_memory(
    lower: str = "micro_batch_tokens, then num_envs or episodes, or set bf16",
) -> Iterator[None]:
    """Says what to lower when memory runs out inside.

    Args:
        lower: That.

    Raises:
        GuardError: Instead of torch's error, or Python's.
    """
    try:
        yield
    except Exception as error:
        explained = memory_guard(error, lower)
        if explained is None:
            raise
        raise explained from error


def memory_guard(error: Exception, lower: str) -> GuardError | None:
    """What to raise instead of an error, if that says that memory ran out.

    Args:
        error: torch's, or Python's.
        lower: What to lower.

    Returns:
        ``None`` if the error is another, or was explained further inside.
    """
    if isinstance(error, GuardError | RewardError):
        return None
    # On the CPU torch has no error of its own for it, nor have the libraries of a GPU.
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    said = isinstance(error, RuntimeError) and any(words in str(error) for words in _FULL)
    return GuardError(f"out of memory: lower {lower}") if known or said else None


def require_agreement(gap: float, *, bf16: bool, engine: bool = False) -> None:
    """Requires that sampler and update give the same log-probabilities.

    Args:
        gap: The mean absolute difference over the actions, in nats.
        bf16: Whether one of them computes in bfloat16.
        engine: Whether the sampler is another engine than the policy.

    Raises:
        GuardError: If they differ by more than rounding.
    """
    if gap <= ROUNDING[bf16]:
        return
    cause = "the key-value cache, the mask or the temperature is not the same in both"
    if engine:
        cause = (
            "does the engine serve this model with the weights that it is sent, and was it started "
            "with --logprobs-mode processed_logprobs?"
        )
    raise GuardError(
        f"the sampler's log-probabilities differ from the update's by {gap:.3g} on average "
        f"(allowed: {ROUNDING[bf16]}): {cause}"
    )


def require_unit_ratio(new: Tensor, old: Tensor, mask: Tensor, *, bf16: bool) -> None:
    """Requires, before the first update, that the policy that learns is the policy that acted.

    One action in a hundred may be further off: rounding has long tails, and what is wrong (dropout,
    another mask or temperature) moves most of them.

    Args:
        new: Log-probabilities, ``(N, C)``.
        old: Those of the policy that acted, ``(N, C)``.
        mask: Where there was an action, ``(N, C)`` bool.
        bf16: Whether the update computes in bfloat16.

    Raises:
        GuardError: If a ratio of probabilities is off 1 by more than rounding.
    """
    off = _high_quantile(torch.expm1(new.detach() - old)[mask].abs())
    if not off <= _RATIO_OFF[bf16]:
        raise GuardError(
            f"the probability ratio is off 1 by {off:.3g} and more in 1 % of actions before the "
            f"first update (allowed: {_RATIO_OFF[bf16]}): is dropout on, or does the update use "
            "another mask or temperature?"
        )


def _high_quantile(x: Tensor) -> float:
    """What at most 1 % of numbers ``(M,)`` are above; NaN if one is; 0 of none."""
    if not len(x) or bool(x.isnan().any()):
        return float(x.sum())
    return float(x.kthvalue(math.ceil(0.99 * len(x))).values)


def require_finite_gradient(norm: float, iteration: int) -> None:
    """Requires a gradient that is finite.

    Args:
        norm: Its norm.
        iteration: The number of the iteration, from 1.

    Raises:
        GuardError: If it is not.
    """
    if not math.isfinite(norm):
        raise GuardError(f"the gradient's norm is {norm} in iteration {iteration}")


def require_progress(iterations: int) -> None:
    """Requires that something was learned in the first iterations.

    A batch in which no action made a difference is ordinary: with a reward for solved texts alone,
    none may be solved for a while.

    Args:
        iterations: How many, from the first on, had a gradient of exactly 0.

    Raises:
        NoGradientError: If they are ten or more.
    """
    if iterations >= _MOST_WITHOUT_GRADIENT:
        raise NoGradientError(
            f"the gradient was exactly 0 in the first {iterations} iterations, as no action made a "
            "difference: are all rewards equal and the KL coefficient 0?"
        )


def save_failed_batch(rollout: Rollout, path: Path) -> None:
    """Writes what a guard refused, to be looked at.

    Args:
        rollout: What was collected.
        path: The safetensors file.
    """
    names = (
        "tokens",
        "texts",
        "candidates",
        "places",
        "actions",
        "log_probs",
        "rewards",
        "mask",
        "legal",
        "kept",
    )
    kept = {name: getattr(rollout, name) for name in names}
    save_file({name: each.contiguous() for name, each in kept.items() if each is not None}, path)
