"""An action for a text that somebody else keeps, as agent libraries want it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from agents.maths.distributions import sample
from agents.models.candidates import candidate_logits
from agents.models.edits import EditIds
from agents.rollouts.editor import choose_edits
from textgym.dynamics.edit import legal_edits
from textgym.dynamics.states import Rules, State
from textgym.tokenizers import legal_ids

if TYPE_CHECKING:
    import numpy.typing as npt

    from agents.maths.distributions import Sampling
    from agents.models.policy import TransformerPolicy
    from textgym.envs.vector import TextVectorEnv

__all__ = ["predict_actions"]


class _Seen(NamedTuple):
    """What an observation shows of N texts."""

    ids: Tensor
    lengths: Tensor
    candidates: Tensor | None
    prompt_lengths: Tensor | None


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
            candidates, where something is chosen, are behind the text. Or the dictionary that
            ``obs_mode="dict"`` gives.
        sampling: How actions are drawn.
        generator: Draws them; ``None`` takes the likeliest.
        action_masks: Which actions are legal, ``(A,)`` or ``(N, A)`` bool; ``None`` for what the
            tokenizer, or the candidates, allow. Needed for edits where the observation is ids
            alone, which do not say where the prompt ends.

    Returns:
        ``()`` or ``(N,)`` int64; ``(2,)`` or ``(N, 2)`` for edits.

    Raises:
        ValueError: If the observation or the masks are not this environment's, nothing is legal,
            it cannot be told what may be edited, or the policy does not edit.
    """
    shown = observation["tokens"] if isinstance(observation, Mapping) else observation
    single = np.ndim(shown) == 1
    seen = _read(observation, envs, policy.device)
    legal = None if action_masks is None else _legal(action_masks, envs, policy.device)
    draw = _edit if envs.action_kind == "edit" else _write
    action = draw(policy, envs, seen, legal, sampling, generator)
    chosen: npt.NDArray[np.int64] = action.cpu().numpy()
    return chosen[0] if single else chosen


def _read(observation: Any, envs: TextVectorEnv, device: torch.device) -> _Seen:
    layout = envs.layout
    width = layout["tokens"].stop
    if isinstance(observation, Mapping):
        missing = {"tokens", "prompt_mask"} - set(observation)
        if missing:
            raise ValueError(f"the observation lacks {' and '.join(sorted(missing))}")
        ids, candidates = _rows(observation["tokens"], width, device), observation.get("candidates")
        prompt_lengths = _rows(observation["prompt_mask"], width, device).sum(dim=1)
        if candidates is not None:
            candidates = _sent(candidates, device).long()
    else:
        every = _rows(observation, max(part.stop for part in layout.values()), device)
        ids, prompt_lengths = every[:, layout["tokens"]], None
        candidates = every[:, layout["candidates"]] if "candidates" in layout else None
    size = envs.tokenizer.vocab_size
    if int(ids.min()) < 0 or int(ids.max()) >= size:
        raise ValueError(
            f"the observation has ids outside 0..{size - 1}, which are the tokenizer's"
        )
    if candidates is not None:
        choices = int(cast("Any", envs.single_action_space).n)
        candidates = candidates.reshape(len(ids), choices, -1)
    lengths = (ids != envs.tokenizer.pad_id).sum(dim=1)
    return _Seen(ids, lengths, candidates, prompt_lengths)


def _rows(array: Any, width: int, device: torch.device) -> Tensor:
    tensor = _sent(array, device).long()
    if tensor.dim() not in {1, 2} or tensor.shape[-1] != width or not tensor.numel():
        raise ValueError(
            f"the observation has the shape {tuple(tensor.shape)}, and those of this environment "
            f"({width},) or (N, {width})"
        )
    return tensor.reshape(-1, width)


def _sent(array: Any, device: torch.device) -> Tensor:
    """Puts numbers on a device: a tensor, which may be there, or what numpy makes of them."""
    return torch.as_tensor(array if isinstance(array, Tensor) else np.asarray(array), device=device)


def _legal(masks: Any, envs: TextVectorEnv, device: torch.device) -> Tensor:
    """Which actions are legal, of one text or of many."""
    legal = _sent(masks, device).bool()
    space: Any = envs.single_action_space
    size = int(space.n if hasattr(space, "n") else space.nvec.sum())
    if legal.dim() not in {1, 2} or legal.shape[-1] != size:
        raise ValueError(
            f"action_masks have the shape {tuple(legal.shape)}, and must have ({size},) or "
            f"(N, {size})"
        )
    if not bool(legal.any(dim=-1).all()):
        raise ValueError("action_masks leave a text without a legal action")
    return legal


def _write(
    policy: TransformerPolicy,
    envs: TextVectorEnv,
    seen: _Seen,
    legal: Tensor | None,
    sampling: Sampling,
    generator: torch.Generator | None,
) -> Tensor:
    """The next tokens, or numbers of candidates, ``(N,)``."""
    ids, pad_id = seen.ids, envs.tokenizer.pad_id
    logits = policy.next_logits(ids[:, : int(seen.lengths.max())], seen.lengths)
    allowed = torch.from_numpy(legal_ids(envs.tokenizer)).to(ids.device)
    if seen.candidates is not None:
        logits = candidate_logits(logits, seen.candidates, pad_id)
        allowed = seen.candidates[..., 0] != pad_id
    allowed = allowed if legal is None else legal
    if generator is None:
        return logits.float().masked_fill(~allowed, -torch.inf).argmax(dim=-1)
    uniform = torch.rand(len(ids), generator=generator, device=ids.device)
    return sample(logits, allowed, uniform, sampling)[0]


def _edit(
    policy: TransformerPolicy,
    envs: TextVectorEnv,
    seen: _Seen,
    legal: Tensor | None,
    sampling: Sampling,
    generator: torch.Generator | None,
) -> Tensor:
    """Places and ids, ``(N, 2)``."""
    if legal is None:
        legal = _editable(envs, seen)
    uniform = None
    if generator is not None:
        uniform = torch.rand((len(seen.ids), 2), generator=generator, device=seen.ids.device)
    legal, special = legal.expand(len(seen.ids), -1), EditIds.of(envs.tokenizer)
    return choose_edits(policy, seen.ids, seen.lengths, legal, uniform, sampling, special).action


def _editable(envs: TextVectorEnv, seen: _Seen) -> Tensor:
    if seen.prompt_lengths is None:
        raise ValueError(
            "ids alone do not say where the prompt ends and the draft begins: give "
            'action_masks=envs.action_masks(), or an observation of obs_mode="dict"'
        )
    tokenizer, device = envs.tokenizer, seen.ids.device
    rules = Rules(
        prompt_tokens=envs.prompt_tokens,
        completion_tokens=envs.completion_tokens,
        max_actions=envs.max_actions,
        pad_id=tokenizer.pad_id,
        bos_id=tokenizer.bos_id,
        eos_id=tokenizer.eos_id,
        legal=torch.from_numpy(legal_ids(tokenizer)).to(device),
    )
    none_yet = torch.zeros_like(seen.lengths)
    state = State(
        tokens=seen.ids,
        prompt_length=seen.prompt_lengths,
        length=seen.lengths,
        steps=none_yet,
        stop_reason=none_yet,
    )
    return cast("Tensor", legal_edits(state, rules))
