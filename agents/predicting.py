"""An action for a text that somebody else keeps, as agent libraries want it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from agents.choosing import candidate_logits
from agents.decoding import sample
from textgym.tokenizers import legal_ids

if TYPE_CHECKING:
    import numpy.typing as npt

    from agents.decoding import Sampling
    from agents.policy import TransformerPolicy
    from textgym.vector import TextVectorEnv

__all__ = ["predict_actions"]


@torch.no_grad()
def predict_actions(
    policy: TransformerPolicy,
    envs: TextVectorEnv,
    observation: Any,
    *,
    sampling: Sampling,
    generator: torch.Generator | None,
    action_masks: Any = None,
) -> npt.NDArray[np.int64]:
    """Chooses the next actions of texts, each by a forward pass of its own.

    Args:
        policy: Who acts.
        envs: What the observations are of.
        observation: ``(T,)`` or ``(N, T)`` ids, as environments give them, numpy or torch;
            candidates, where something is chosen, are behind the text.
        sampling: How actions are drawn.
        generator: Draws them; ``None`` takes the likeliest.
        action_masks: Which actions are legal, ``(A,)`` or ``(N, A)`` bool; ``None`` for what the
            tokenizer, or the candidates, allow.

    Returns:
        ``()`` or ``(N,)`` int64.
    """
    seen = torch.as_tensor(np.asarray(observation), device=policy.device).long()
    single, seen = seen.ndim == 1, seen.reshape(-1, seen.shape[-1])
    layout, pad_id = envs.layout, envs.tokenizer.pad_id
    ids = seen[:, layout["tokens"]]
    lengths = (ids != pad_id).sum(dim=1)
    logits = policy.next_logits(ids[:, : int(lengths.max())], lengths)
    legal = torch.from_numpy(legal_ids(envs.tokenizer)).to(ids.device)
    if "candidates" in layout:
        choices = int(cast("Any", envs.single_action_space).n)
        offered = seen[:, layout["candidates"]].reshape(len(seen), choices, -1)
        logits = candidate_logits(logits, offered, pad_id)
        legal = offered[..., 0] != pad_id
    if action_masks is not None:
        legal = torch.as_tensor(action_masks, device=ids.device).bool()
    if generator is None:
        action = logits.float().masked_fill(~legal, -torch.inf).argmax(dim=-1)
    else:
        uniform = torch.rand(len(ids), generator=generator, device=ids.device)
        action = sample(logits, legal, uniform, sampling)[0]
    chosen: npt.NDArray[np.int64] = action.cpu().numpy()
    return chosen[0] if single else chosen
