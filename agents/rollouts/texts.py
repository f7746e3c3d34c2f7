"""Texts that a policy writes: after given prompts, or those of an environment, which scores them.

They are played piece by piece, so however many are asked for, memory holds a few hundred. A row
whose text ends takes the next one of its piece. A text's random numbers belong to its number; on a
CPU they are those of a single batch of all, but where drafts are edited.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from agents.maths.distributions import Sampling
from agents.rollouts.collect import collect
from textgym.envs.vector import TextVectorEnv
from textgym.recording.turns import own_turns, split_turns
from textgym.types import Example

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from agents.models.policy import TransformerPolicy
    from agents.rollouts.rollout import Rollout
    from textgym.types import Tokenizer

__all__ = ["Text", "completions", "generate", "prompt_envs", "unscored", "write_texts"]

_UNCHANGED = Sampling()
_TURNS = 4  # texts of a piece, a row


class Text(NamedTuple):
    """What was written after a prompt."""

    prompt: str
    completion: str
    score: float
    """NaN where an outside limit cut the text off."""


def write_texts(
    envs: TextVectorEnv,
    policy: TransformerPolicy,
    example_ids: Sequence[int],
    *,
    sampling: Sampling,
    generator: torch.Generator,
) -> Iterator[list[Text]]:
    """Writes a text for each example, in order, piece by piece.

    Args:
        envs: As ``collect`` takes it, of at most as many rows as there are examples.
        policy: Who writes.
        example_ids: What to start from.
        sampling: How actions are drawn.
        generator: The sampler's.

    Yields:
        The texts of a piece.

    Raises:
        ValueError: As ``collect``.
        RewardError: If the reward fails.
    """
    # None is smaller than there are rows.
    pieces = max(1, len(example_ids) // (_TURNS * envs.num_envs))
    for piece in np.array_split(np.asarray(example_ids), pieces):
        ids = piece.tolist()
        rollout = collect(envs, policy, sampling=sampling, generator=generator, example_ids=ids)
        prompts = [envs.examples[number].prompt for number in ids]
        written = zip(prompts, completions(envs, rollout), rollout.scores.tolist(), strict=True)
        yield [Text(*each) for each in written]


def completions(envs: TextVectorEnv, rollout: Rollout) -> list[str]:
    """What the agent wrote, as ``envs.texts`` says it of the rows that it holds.

    Args:
        envs: Where it was collected.
        rollout: N episodes.

    Returns:
        N texts; of a conversation the agent's turns, a line each.
    """
    tokenizer = envs.tokenizer
    if not envs.converses:
        return tokenizer.decode_batch(rollout.completions())
    starts, ends = rollout.prompt_lengths.tolist(), rollout.lengths.tolist()
    rows = zip(rollout.tokens.cpu().numpy(), _authored(rollout), starts, ends, strict=True)
    cut = [(tokens[start:end], own[start:end]) for tokens, own, start, end in rows]
    turns = [own_turns(split_turns(*each, tokenizer.eos_id)) for each in cut]
    return ["\n".join(map(tokenizer.decode, row)) for row in turns]


def _authored(rollout: Rollout) -> npt.NDArray[np.int64]:
    """1 where the agent wrote, and not the other side of a conversation, ``(E, L)``."""
    acted, first = rollout.mask.long(), rollout.places + 1
    width = acted
    if rollout.candidates is not None:
        at = rollout.actions[..., None, None].expand(-1, -1, 1, rollout.candidates.shape[-1])
        chosen = rollout.candidates.gather(2, at).squeeze(2)
        width = acted * (chosen != rollout.pad_id).sum(dim=-1)
    edges = F.pad(torch.zeros_like(rollout.tokens), (0, 1))
    behind = (first + width).clamp(max=edges.shape[1] - 1)  # a phrase is cut where the room ends
    edges = edges.scatter_add(1, first, acted).scatter_add(1, behind, -acted)
    authored: npt.NDArray[np.int64] = edges.cumsum(dim=1)[:, :-1].cpu().numpy()
    return authored


@dataclass(frozen=True, slots=True, kw_only=True)
class _Given:
    """A task of prompts that nobody scores."""

    prompts: Sequence[str]
    prompt_tokens: int
    completion_tokens: int
    tokenizer: Tokenizer
    name: str = "Given"
    reward: str = "agents.rollouts.texts:unscored"
    splits: tuple[str, ...] = ("train",)

    def examples(self, split: str) -> list[Example]:  # noqa: ARG002 - a task's signature
        """One for each prompt."""
        return [Example(prompt=prompt) for prompt in self.prompts]


def unscored(
    prompts: Sequence[str],
    completions: Sequence[str],  # noqa: ARG001 - a reward's signature
    **columns: Sequence[object],  # noqa: ARG001 - as above
) -> list[float]:
    """The reward of what nobody scores: 0 for all."""
    return [0.0] * len(prompts)


def prompt_envs(
    prompts: Sequence[str],
    tokenizer: Tokenizer,
    *,
    completion_tokens: int,
    rows: int,
    device: str | torch.device = "cpu",
) -> TextVectorEnv:
    """An environment of given prompts, which nobody scores, as ``collect`` takes it.

    Args:
        prompts: Its examples.
        tokenizer: Of the policy that is to write.
        completion_tokens: The most tokens of a completion.
        rows: How many are written at once.
        device: Where they are.

    Raises:
        ValueError: If there is no prompt, or the tokenizer cannot read one.
    """
    if not prompts:
        raise ValueError("there is no prompt to go on from")
    return TextVectorEnv(
        task=_Given(
            prompts=prompts,
            prompt_tokens=1 + max(len(ids) for ids in tokenizer.encode_batch(prompts)),
            completion_tokens=completion_tokens,
            tokenizer=tokenizer,
        ),
        num_envs=rows,
        backend="torch",
        device=str(device),
        autoreset_mode="Disabled",
    )


def generate(
    policy: TransformerPolicy,
    prompts: Sequence[str],
    tokenizer: Tokenizer,
    *,
    completion_tokens: int = 64,
    sampling: Sampling = _UNCHANGED,
    seed: int = 0,
    rows: int = 64,
) -> list[str]:
    """Lets a policy go on from prompts.

    Args:
        policy: Who writes.
        prompts: What to go on from; for several completions of one, give it several times.
        tokenizer: The policy's.
        completion_tokens: The most tokens of a completion.
        sampling: How they are drawn.
        seed: Decides what is drawn.
        rows: How many are written at once. More are faster on a GPU, and take more memory.

    Returns:
        A completion for each prompt.

    Raises:
        ValueError: If there is no prompt, the tokenizer cannot read one, or the policy has no room
            for the longest and its completion.
    """
    envs = prompt_envs(
        prompts,
        tokenizer,
        completion_tokens=completion_tokens,
        rows=min(rows, len(prompts)),
        device=policy.device,
    )
    generator = torch.Generator(policy.device).manual_seed(seed)
    every = range(len(prompts))
    pieces = write_texts(envs, policy, every, sampling=sampling, generator=generator)
    return [text.completion for piece in pieces for text in piece]
