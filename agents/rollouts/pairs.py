"""Pairs of completions that somebody compared, laid out as an environment would have them.

A pair is two rows of a ``Rollout``, the chosen text before the rejected one, so that what reads
collected texts reads given ones as well.

Simplifications: no conversations and no constraints, where what is legal depends on the text.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from agents.rollouts.rollout import Rollout
from textgym.tokenizers import legal_ids

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textgym.envs.vector import TextVectorEnv

__all__ = ["EncodedPairs", "encode_pairs", "fingerprint"]

_PARTS = 3  # prompt, chosen, rejected


class EncodedPairs(NamedTuple):
    """P pairs of texts as ids."""

    rollout: Rollout
    """``2 * P`` rows, chosen and rejected in turn. They were not sampled, so log-probabilities and
    rewards are 0, scores NaN, and ``example_ids`` the numbers of the pairs that were given."""
    dropped: int
    """Pairs left out, because both completions are the same when cut to their room."""


def encode_pairs(
    envs: TextVectorEnv, pairs: Sequence[tuple[str, str, str]], device: torch.device
) -> EncodedPairs:
    """Encodes pairs exactly as the environment lays texts out.

    A text is the beginning-of-text id, the last ``prompt_tokens - 1`` ids of the prompt, and the
    first ``completion_tokens`` ids of the completion with the end of text behind it.

    Args:
        envs: Whose tokenizer and sizes.
        pairs: Prompt, chosen completion, rejected completion.
        device: Where to put them.

    Raises:
        ValueError: If no pair is left, a completion has an id that no action emits, or the
            environment is a conversation or has a constraint.
    """
    if envs.converses or not envs.mask_is_fixed:
        raise ValueError(
            "pairs need an environment that appends tokens, without a constraint or replies"
        )
    tokenizer, legal = envs.tokenizer, legal_ids(envs.tokenizer)
    room, most = envs.prompt_tokens - 1, envs.completion_tokens
    prompts, *written = (tokenizer.encode_batch(list(column)) for column in _columns(pairs))
    rows: list[tuple[list[int], list[int]]] = []
    kept: list[int] = []
    for number, (prompt, *both) in enumerate(zip(prompts, *written, strict=True)):
        before = [tokenizer.bos_id, *prompt[max(0, len(prompt) - room) :]]
        chosen, rejected = ([*ids, tokenizer.eos_id][:most] for ids in both)
        if not legal[chosen + rejected].all():
            raise ValueError(
                f"pair {number} has a completion with ids that no action emits: leave it out"
            )
        if chosen != rejected:
            rows += [(before, chosen), (before, rejected)]
            kept += [number, number]
    if not rows:
        raise ValueError(
            f"none of {len(pairs)} pairs is left: their completions are the same within "
            f"{most} tokens"
        )
    return EncodedPairs(_laid_out(envs, rows, np.array(kept), device), len(pairs) - len(kept) // 2)


def _columns(pairs: Sequence[tuple[str, str, str]]) -> list[tuple[str, ...]]:
    for number, pair in enumerate(pairs):
        if len(pair) != _PARTS:
            raise ValueError(
                f"pair {number} has {len(pair)} parts; it takes a prompt, the chosen completion "
                "and the rejected one"
            )
    return list(zip(*pairs, strict=True)) if pairs else [(), (), ()]


def _laid_out(
    envs: TextVectorEnv,
    rows: Sequence[tuple[list[int], list[int]]],
    numbers: np.ndarray[tuple[int], np.dtype[np.int64]],
    device: torch.device,
) -> Rollout:
    count, columns = len(rows), max(len(written) for _, written in rows)
    width = max(len(before) + len(written) for before, written in rows)
    tokens = torch.full((count, width), envs.tokenizer.pad_id)
    actions = torch.full((count, columns), envs.tokenizer.eos_id)
    for row, (before, written) in enumerate(rows):
        tokens[row, : len(before) + len(written)] = torch.tensor(before + written)
        actions[row, : len(written)] = torch.tensor(written)
    prompt_lengths = torch.tensor([len(before) for before, _ in rows])
    lengths = prompt_lengths + torch.tensor([len(written) for _, written in rows])
    steps = torch.arange(columns)
    mask = steps < (lengths - prompt_lengths).unsqueeze(1)
    blank = torch.zeros((count, columns), device=device)
    return Rollout(
        tokens=tokens.to(device),
        prompt_lengths=prompt_lengths.to(device),
        lengths=lengths.to(device),
        places=torch.where(mask, prompt_lengths.unsqueeze(1) - 1 + steps, 0).to(device),
        actions=actions.to(device),
        log_probs=blank,
        values=None,
        rewards=blank,
        mask=mask.to(device),
        legal=torch.from_numpy(legal_ids(envs.tokenizer)).to(device),
        candidates=None,
        texts=None,
        pad_id=envs.tokenizer.pad_id,
        truncated=torch.zeros(count, dtype=torch.bool, device=device),
        scores=np.full(count, np.nan),
        terms=None,
        stop_reasons=np.zeros(count, dtype=np.int64),
        example_ids=numbers,
        env_seconds=0.0,
        reward_seconds=0.0,
    )


def fingerprint(rollout: Rollout, *beside: torch.Tensor) -> str:
    """What tells one set of texts, and what is known beside them, from another, as hex digits."""
    digest = hashlib.sha256(str(tuple(rollout.tokens.shape)).encode())
    for tensor in (rollout.tokens, rollout.prompt_lengths, *beside):
        digest.update(tensor.cpu().numpy().tobytes())
    return digest.hexdigest()
