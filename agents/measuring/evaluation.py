"""What a policy writes on given prompts: its scores, its KL divergence and its variety.

A reward, even a held-out one, can be raised by stock phrases. So texts are also measured by their
share of distinct bigrams and by how often they repeat themselves, and the policy by its KL
divergence from the reference. Perplexity under the reference is reported and is not a sign of
quality: it *falls* when text turns into stock phrases.

KL is a mean over texts and perplexity one over tokens, of all texts together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch

from agents.maths.advantages import masked_mean
from agents.maths.distributions import Sampling
from agents.maths.kl import sequence_kl
from agents.rollouts.collect import collect
from agents.rollouts.texts import completions
from agents.training.guards import explained_memory
from agents.training.reference import evaluate_all

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from numpy.typing import NDArray

    from agents.models.policy import TransformerPolicy
    from textgym.envs.vector import TextVectorEnv

__all__ = ["PolicyReport", "distinct_n", "evaluate_policy", "repeated_bigrams"]

_TOKENS_AT_ONCE = 4096


def distinct_n(rows: Sequence[Sequence[Hashable]], n: int) -> float:
    """The share of different n-grams among all n-grams of all rows (Li et al. 2016).

    It falls as more rows are counted, so compare equal numbers of rows of equal lengths only.

    Args:
        rows: Tokens or words, a sequence a text.
        n: The length of an n-gram.

    Returns:
        A share in (0, 1], or NaN if no row has n tokens.
    """
    grams = [tuple(row[i : i + n]) for row in rows for i in range(len(row) - n + 1)]
    return len(set(grams)) / len(grams) if grams else math.nan


def repeated_bigrams(rows: Sequence[Sequence[Hashable]]) -> float:
    """The share of bigrams that have occurred before in their own row.

    Returns:
        A share in [0, 1), or NaN if no row has a bigram.
    """
    total = sum(max(0, len(row) - 1) for row in rows)
    different = sum(len(set(pairwise(row))) for row in rows)
    return 1 - different / total if total else math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyReport:
    """The measurements of a policy on N prompts.

    Attributes:
        completions: Its texts, one a prompt.
        rewards: Their scores by the environment's reward, the proxy, ``(N,)`` float64.
        gold: Their scores by the gold reward, ``(N,)`` float64; NaN where none was given.
        kl: KL divergence from the reference, in nats a completion; see ``sequence_kl``.
        perplexity: Of its completions under the reference, at the sampler's temperature.
        distinct_2: See ``distinct_n``, over token ids.
        repeated_bigrams: See ``repeated_bigrams``, over token ids.
        mean_length: Tokens a completion, the end of text included.
        ids: The token ids of the completions, the end of text included where it was written.
    """

    completions: list[str]
    rewards: NDArray[np.float64]
    gold: NDArray[np.float64]
    kl: float
    perplexity: float
    distinct_2: float
    repeated_bigrams: float
    mean_length: float
    ids: list[list[int]]


@torch.no_grad()
def evaluate_policy(
    policy: TransformerPolicy,
    reference: TransformerPolicy,
    envs: TextVectorEnv,
    gold: Callable[[Sequence[str]], NDArray[np.float64]] | None = None,
    *,
    example_ids: Sequence[int],
    temperature: float,
    seed: int,
) -> PolicyReport:
    """Writes one completion for each example, and measures them.

    Args:
        policy: Who writes.
        reference: What KL and perplexity are measured against; may be ``policy`` itself.
        envs: A text environment with the torch backend and autoreset disabled.
        gold: From completions to their scores by a reward that is not trained on, ``(N,)``.
        example_ids: Which examples of the environment's split, at least ``num_envs``.
        temperature: The sampler's.
        seed: The sampler's. With equal seeds two policies draw with the same random numbers.

    Raises:
        ValueError: If there are fewer examples than rows, or environment and policy do not fit.
        GuardError: If memory runs out.
    """
    with explained_memory("num_envs, then the number of examples"):
        rollout = collect(
            envs,
            policy,
            sampling=Sampling(temperature=temperature),
            generator=torch.Generator(policy.device).manual_seed(seed),
            example_ids=example_ids,
        )
        under_reference = evaluate_all(
            reference.without_critic(),
            rollout,
            temperature=temperature,
            bf16=False,
            most_tokens=_TOKENS_AT_ONCE,
        ).log_probs
    ids, texts = rollout.completions(), completions(envs, rollout)
    return PolicyReport(
        completions=texts,
        rewards=rollout.scores,
        gold=np.asarray(gold(texts) if gold else [math.nan] * len(texts), dtype=np.float64),
        kl=float(sequence_kl(rollout.log_probs - under_reference, rollout.mask)),
        perplexity=math.exp(float(masked_mean(-under_reference, rollout.mask))),
        distinct_2=distinct_n(ids, 2),
        repeated_bigrams=repeated_bigrams(ids),
        mean_length=float(np.mean([len(row) for row in ids])),
        ids=ids,
    )
