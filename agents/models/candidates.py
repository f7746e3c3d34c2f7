"""Logits of candidates, by a language model's logits of the next token; pure functions.

A candidate's logit is the mean, over its tokens, of the next token's logits. So a candidate of one
token has just the logit of that token, and choosing among tokens is sampling from the language
model under a mask. A phrase is judged as a bag of its words.

Simplification: a candidate gets no forward pass of its own, which would cost one for each.
"""

from __future__ import annotations

import torch
from torch import Tensor

from agents.maths.distributions import action_log_probs, entropies_of
from agents.maths.masks import unpack_mask

__all__ = ["candidate_logits", "candidate_logits_of_states", "chosen_candidates"]


def candidate_logits(logits: Tensor, candidates: Tensor, pad_id: int) -> Tensor:
    """The candidates' logits, from those of the next token.

    Args:
        logits: ``(N, V)``.
        candidates: ``(N, K, L)`` int64, padded; a candidate of padding alone gets 0, and is to be
            masked.
        pad_id: The padding's id.

    Returns:
        ``(N, K)`` float32.
    """
    places = candidates.flatten(1)
    picked = logits.float().gather(-1, places).reshape(candidates.shape)
    return _mean_of_tokens(picked, candidates, pad_id)


def candidate_logits_of_states(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, candidates: Tensor, pad_id: int
) -> Tensor:
    """The candidates' logits, from last hidden states, computed for their tokens alone.

    Args:
        hidden: ``(M, width)``.
        weight: The output layer's, ``(V, width)``.
        bias: The output layer's, ``(V,)``, if it has one.
        candidates: ``(M, K, L)`` int64, padded.
        pad_id: The padding's id.

    Returns:
        ``(M, K)`` float32, with gradients for ``hidden``, ``weight`` and ``bias``.
    """
    # The operands are as narrow as those of the whole output layer, and the sums as wide.
    kind = hidden.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
    rows = torch.nn.functional.embedding(candidates, weight).to(dtype).float()
    with torch.autocast(kind, enabled=False):
        picked = torch.einsum("mklw,mw->mkl", rows, hidden.to(dtype).float())
    if bias is not None:
        picked = picked + bias[candidates].to(dtype).float()
    return _mean_of_tokens(picked, candidates, pad_id)


def chosen_candidates(
    hidden: Tensor,
    output: torch.nn.Linear,
    candidates: tuple[Tensor, int],
    actions: Tensor,
    legal: Tensor,
    temperature: float,
) -> tuple[Tensor, Tensor]:
    """The log-probabilities of given candidates, and the entropies of the choices.

    Args:
        hidden: ``(M, width)``.
        output: The output layer.
        candidates: ``(M, K, L)`` int64, and the padding's id.
        actions: Numbers of candidates, ``(M,)`` int64.
        legal: Packed by ``pack_mask``, ``(M, ceil(K / 8))`` uint8.
        temperature: The sampler's.

    Returns:
        ``(M,)`` float32 each, with gradients.
    """
    logits = candidate_logits_of_states(hidden, output.weight, output.bias, *candidates)
    log_probs = action_log_probs(logits, unpack_mask(legal, logits.shape[1]), temperature)
    return log_probs.gather(-1, actions[:, None]).squeeze(-1), entropies_of(log_probs)


def _mean_of_tokens(picked: Tensor, candidates: Tensor, pad_id: int) -> Tensor:
    is_token = candidates != pad_id
    return torch.where(is_token, picked, 0.0).sum(dim=-1) / is_token.sum(dim=-1).clamp(min=1)
