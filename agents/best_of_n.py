"""Best of n: write n completions of each prompt, keep the one that the environment scores highest.

It trains nothing and spends n times the tokens: the baseline that a learner has to beat. The texts
that it keeps are those that rejection sampling fine-tunes on; ``agents.sft.train_language_model``
takes ``BestOfN.texts``.

Source: Stiennon et al., "Learning to summarize from human feedback" (2020). The bound of the KL
divergence is an equality only where no two completions score alike: Beirami et al., "Theoretical
guarantees on the best-of-n alignment policy" (2024).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from agents.maths.distributions import Sampling
from agents.rollouts.collect import collect
from agents.training.guards import explained_memory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from agents.models.policy import TransformerPolicy
    from textgym.envs.vector import TextVectorEnv

__all__ = ["BestOfN", "best_of_n", "first_highest", "kl_bound"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BestOfN:
    """The best of n completions of each of P prompts.

    Attributes:
        prompts: The prompts as the policy read them, P texts.
        completions: The best completions, P texts.
        ids: Their token ids, the end of text included where it was written.
        scores: Their scores, ``(P,)`` float64.
        all_scores: The scores of all completions, ``(P, n)`` float64; NaN where an outside limit
            cut one off.
        example_ids: The examples' numbers, ``(P,)`` int64.
        kl_bound: Upper bound of the KL divergence from the policy, in nats a completion.
    """

    prompts: list[str]
    completions: list[str]
    ids: list[list[int]]
    scores: NDArray[np.float64]
    all_scores: NDArray[np.float64]
    example_ids: NDArray[np.int64]
    kl_bound: float

    @property
    def texts(self) -> list[str]:
        """Prompts with their best completions, to fine-tune on."""
        return [a + b for a, b in zip(self.prompts, self.completions, strict=True)]


def kl_bound(n: int) -> float:
    """Upper bound of the best of n's KL divergence from one draw, ``log n - (n - 1) / n``.

    Raises:
        ValueError: If ``n`` is below 1.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    return math.log(n) - (n - 1) / n


def first_highest(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """The index of each row's highest score, the first of equal ones, ``(P,)`` int64.

    Args:
        scores: ``(P, n)`` float64; NaN is never the highest.

    Raises:
        ValueError: If all of a row are NaN.
    """
    without = np.isnan(scores).all(axis=1)
    if without.any():
        raise ValueError(
            f"prompt {int(without.argmax())} has no finished completion: an outside limit cut all "
            "of them off; raise it"
        )
    highest: NDArray[np.int64] = np.nanargmax(scores, axis=1)
    return highest


def best_of_n(
    envs: TextVectorEnv,
    policy: TransformerPolicy,
    *,
    n: int,
    example_ids: Sequence[int],
    seed: int,
    sampling: Sampling | None = None,
) -> BestOfN:
    """Writes n completions of each example and keeps the best.

    Args:
        envs: A text environment with the torch backend and autoreset disabled.
        policy: The policy that writes.
        n: Completions of a prompt. More score higher, at a proportional cost.
        example_ids: The numbers of P examples; ``n * P`` is at least ``num_envs``.
        seed: The sampler's.
        sampling: How actions are drawn; ``None`` for the policy's own distribution.

    Raises:
        ValueError: If ``n`` is below 1, the environment does not fit, or there are too few texts
            for its rows.
        RewardError: If the reward fails.
        GuardError: If memory runs out.
    """
    bound = kl_bound(n)
    with explained_memory("num_envs, then n"):
        rollout = collect(
            envs,
            policy,
            sampling=Sampling() if sampling is None else sampling,
            generator=torch.Generator(policy.device).manual_seed(seed),
            example_ids=[number for number in example_ids for _ in range(n)],
            group=n,
        )
    all_scores = rollout.scores.reshape(-1, n)
    best = first_highest(all_scores) + n * np.arange(len(all_scores))
    written, tokenizer = rollout.completions(), envs.tokenizer
    kept = [written[row] for row in best.tolist()]
    starts = rollout.prompt_lengths.tolist()
    tokens = rollout.tokens.tolist()
    return BestOfN(
        prompts=tokenizer.decode_batch([tokens[row][1 : starts[row]] for row in best.tolist()]),
        completions=tokenizer.decode_batch(kept),
        ids=kept,
        scores=rollout.scores[best],
        all_scores=all_scores,
        example_ids=rollout.example_ids[best],
        kl_bound=bound,
    )
