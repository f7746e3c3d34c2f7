"""Scores without learning: of random legal actions, and of a policy's likeliest ones.

A learner that does not beat random actions has learned nothing, and one that does not beat the
greedy policy that it started from has learned nothing new.

Simplification: the interval is by drawing episodes, each for itself. Where an example is played
more than once, it says nothing about other examples; play each example once for that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode

from agents.maths.distributions import Sampling
from agents.models.edits import EditIds, legal_ids_at
from agents.rollouts.collect import collect
from agents.training.guards import explained_memory
from textgym.dynamics.states import to_host
from textgym.statistics.bootstrap import Estimate, bootstrap_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from agents.models.policy import TransformerPolicy
    from textgym.envs.vector import TextVectorEnv

__all__ = ["GREEDY", "Baseline", "policy_baseline", "random_baseline", "uniform_actions"]

GREEDY = Sampling(temperature=1e-6)
"""Takes the likeliest action; equally likely ones are drawn at random."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Baseline:
    """The scores of N episodes.

    Attributes:
        mean: Their mean and its 95 % interval, by drawing episodes.
        scores: ``(N,)`` float64, in the order of the examples.
        example_ids: ``(N,)`` int64.
    """

    mean: Estimate
    scores: NDArray[np.float64]
    example_ids: NDArray[np.int64]


def uniform_actions(legal: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.int64]:
    """Draws a legal action for each row, each one as likely as any other.

    Args:
        legal: ``(N, V)``.
        rng: The generator.

    Returns:
        ``(N,)`` int64; 0 in a row where nothing is legal.
    """
    counts = legal.sum(axis=1)
    which = rng.integers(np.maximum(counts, 1))
    actions: NDArray[np.int64] = (np.cumsum(legal, axis=1) > which[:, None]).argmax(axis=1)
    return actions


def random_baseline(envs: TextVectorEnv, *, example_ids: Sequence[int], seed: int) -> Baseline:
    """Plays legal actions, each as likely as any other, once for each example given.

    Of an edit the place is drawn first, and then the id.

    Args:
        envs: A text environment of either backend with autoreset disabled.
        example_ids: Which examples, at least two in all; the same one may come often.
        seed: Of the actions and of the interval.

    Raises:
        ValueError: If the environment is another, or there are fewer than two episodes.
        RewardError: If the reward fails.
    """
    if envs.autoreset_mode is not AutoresetMode.DISABLED:
        raise ValueError('random_baseline needs an environment made with autoreset_mode="Disabled"')
    rng = np.random.default_rng(seed)
    numbers = np.asarray(example_ids, dtype=np.int64)
    batches = [
        _play(envs, numbers[start : start + envs.num_envs], rng)
        for start in range(0, len(numbers), envs.num_envs)
    ]
    return _summary(np.concatenate([np.empty(0), *batches]), numbers, seed)


def policy_baseline(
    envs: TextVectorEnv,
    policy: TransformerPolicy,
    *,
    example_ids: Sequence[int],
    seed: int,
    sampling: Sampling = GREEDY,
) -> Baseline:
    """Plays a policy without training it, once for each example given.

    Args:
        envs: A text environment with the torch backend and autoreset disabled.
        policy: Who writes.
        example_ids: Which examples, at least two in all and ``num_envs``.
        seed: Of the sampler and of the interval.
        sampling: How actions are drawn; the likeliest one unless it is given.

    Raises:
        ValueError: If the environment does not fit, or there are too few episodes.
        RewardError: If the reward fails.
    """
    generator = torch.Generator(policy.device).manual_seed(seed)
    with explained_memory("num_envs"):
        rollout = collect(
            envs, policy, sampling=sampling, generator=generator, example_ids=example_ids
        )
    return _summary(rollout.scores, rollout.example_ids, seed)


def _play(
    envs: TextVectorEnv, numbers: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Plays at most as many examples as there are rows; returns their scores."""
    of_rows = np.resize(numbers, envs.num_envs)  # rows left over play examples again
    envs.reset(options={"example_id": of_rows})
    scores = np.full(envs.num_envs, np.nan)
    is_open = np.ones(envs.num_envs, dtype=np.bool_)
    while is_open.any():
        legal: Any = envs.action_masks()
        actions: Any = _random_actions(envs, to_host(legal), rng)
        if isinstance(legal, torch.Tensor):
            actions = torch.from_numpy(actions).to(legal.device)
        _, _, _, _, infos = envs.step(actions)
        if "_score" in infos:
            paid = infos["_score"] & is_open
            scores[paid] = infos["score"][paid]
        is_open &= ~envs.ended_rows
    return scores[: len(numbers)]


def _random_actions(
    envs: TextVectorEnv, legal: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Ids or numbers of candidates, ``(N,)``, or places and ids of edits, ``(N, 2)``; int64."""
    if envs.action_kind != "edit":
        return uniform_actions(legal, rng)
    tokens = to_host(envs.dynamics_state.tokens)
    places = uniform_actions(legal[:, : tokens.shape[1]], rng)
    old_ids = torch.from_numpy(tokens[np.arange(len(tokens)), places])
    legal_ids = torch.from_numpy(legal[:, tokens.shape[1] :])
    at_place = legal_ids_at(legal_ids, old_ids.long(), EditIds.of(envs.tokenizer)).numpy()
    return np.stack([places, uniform_actions(at_place, rng)], axis=1)


def _summary(scores: NDArray[np.float64], example_ids: NDArray[np.int64], seed: int) -> Baseline:
    cut_off = int(np.isnan(scores).sum())
    if cut_off:
        raise ValueError(
            f"an outside limit cut {cut_off} of {len(scores)} episodes off, which have no score: "
            "raise it"
        )
    low, high = bootstrap_interval(scores, np.random.default_rng(seed))
    mean = Estimate(value=float(scores.mean()), low=low, high=high)
    return Baseline(mean=mean, scores=scores, example_ids=example_ids)
