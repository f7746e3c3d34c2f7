"""Collecting experience: whole episodes, one a row, written in lockstep.

Simplification: every row starts at the same time and the collection ends with its last row, so
short completions leave their row idle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from torch import Tensor

from agents.policy import Actor, TransformerPolicy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textgym.vector import TextVectorEnv

__all__ = ["Rollout", "collect"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """N whole episodes of at most C actions.

    Attributes:
        tokens: Prompt and completion, right-padded, ``(N, L)`` int64: the very ids that were
            sampled, never decoded and encoded again.
        prompt_lengths: ``(N,)`` int64.
        actions: ``(N, C)`` int64; the end-of-text id where ``mask`` is false.
        log_probs: Of the actions, under the distribution they were drawn from, ``(N, C)`` float32.
        values: Of the states before the actions, ``(N, C)`` float32.
        rewards: ``(N, C)`` float32.
        mask: True iff row n was open before step t, ``(N, C)`` bool.
        legal: The legal actions: ``(V,)`` bool if they never change, else ``(N, C, V)``.
        truncated: Rows that an outside limit cut off, ``(N,)`` bool.
        scores: What the reward said of each finished text, ``(N,)`` float64, NaN if truncated.
        stop_reasons: ``(N,)`` int64, see ``StopReason``.
    """

    tokens: Tensor
    prompt_lengths: Tensor
    actions: Tensor
    log_probs: Tensor
    values: Tensor
    rewards: Tensor
    mask: Tensor
    legal: Tensor
    truncated: Tensor
    scores: np.ndarray[tuple[int], np.dtype[np.float64]]
    stop_reasons: np.ndarray[tuple[int], np.dtype[np.int64]]

    def completions(self) -> list[list[int]]:
        """The completions' ids, the end-of-text id included."""
        lengths = self.mask.sum(dim=1).tolist()
        return [row[:n] for row, n in zip(self.actions.tolist(), lengths, strict=True)]


@torch.no_grad()
def collect(
    envs: TextVectorEnv,
    policy: TransformerPolicy,
    *,
    temperature: float,
    generator: torch.Generator,
    example_ids: Sequence[int] | None = None,
) -> Rollout:
    """Plays one episode in every row.

    Args:
        envs: A text environment with the torch backend and autoreset disabled.
        policy: Who acts.
        temperature: The sampler's.
        generator: The sampler's, on the policy's device.
        example_ids: Which examples to start from, one a row; None lets each row draw its own.

    Raises:
        ValueError: If ``envs`` has another backend or autoreset mode, or another vocabulary.
    """
    _require_fitting(envs, policy)
    options = None if example_ids is None else {"example_id": np.asarray(example_ids)}
    envs.reset(options=options)
    state = envs.dynamics_state
    prompt_lengths = state.prompt_length
    actor = Actor(policy, state.tokens, prompt_lengths)
    is_open = torch.ones(envs.num_envs, dtype=torch.bool, device=policy.device)
    cut = torch.zeros_like(is_open)
    columns: list[tuple[Tensor, ...]] = []
    legal = envs.action_masks()[0]
    legals: list[Tensor] = []
    scores = np.full(envs.num_envs, np.nan)
    stop_reasons = np.zeros(envs.num_envs, dtype=np.int64)
    for _ in range(envs.completion_tokens):
        if not envs.mask_is_fixed:
            legal = envs.action_masks()
            legals.append(legal)
        action, log_prob, value = actor.act(legal, temperature, generator)
        action = torch.where(is_open, action, envs.tokenizer.eos_id)
        _, reward, terminated, truncated, info = envs.step(action)
        columns.append((action, log_prob, value, reward, is_open))
        ended = info.get("_score")
        if ended is not None:
            scores[ended] = info["score"][ended]
            stop_reasons[ended] = info["stop_reason"][ended]
        cut = cut | (is_open & truncated & ~terminated)
        is_open = is_open & ~terminated & ~truncated
        if not bool(is_open.any()):
            break
        actor.feed(action)
    actions, log_probs, values, rewards, mask = (
        torch.stack(column, dim=1) for column in zip(*columns, strict=True)
    )
    last = int(envs.dynamics_state.length.max())
    return Rollout(
        tokens=envs.dynamics_state.tokens[:, :last],
        prompt_lengths=prompt_lengths,
        actions=actions,
        log_probs=torch.where(mask, log_probs, 0.0),
        values=torch.where(mask, values, 0.0),
        rewards=rewards.float(),
        mask=mask,
        legal=torch.stack(legals, dim=1) if legals else legal,
        truncated=cut,
        scores=scores,
        stop_reasons=stop_reasons,
    )


def _require_fitting(envs: TextVectorEnv, policy: TransformerPolicy) -> None:
    if not envs.metadata.get("torch") or envs.autoreset_mode is not AutoresetMode.DISABLED:
        raise ValueError(
            'collect needs an environment made with backend="torch" and autoreset_mode="Disabled"'
        )
    if envs.action_kind != "append" or envs.converses:
        raise ValueError("collect appends tokens to one text: it neither chooses, edits nor talks")
    if envs.tokenizer.vocab_size != policy.vocab_size:
        raise ValueError(
            f"the policy has {policy.vocab_size} actions, the environment's tokenizer "
            f"{envs.tokenizer.vocab_size} ids: load the tokenizer that the model was trained with"
        )
