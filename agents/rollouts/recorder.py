"""What is known of every episode of a collection so far, until it is a ``Rollout``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from agents.maths.masks import (
    Form,
    bytes_of_bits,
    ids_are_smaller,
    in_form,
    pack_ids,
    pack_mask,
    unpack_mask,
)
from agents.rollouts.rollout import Rollout

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt
    from torch import Tensor

    from agents.models.episodes import Act
    from textgym.dynamics.states import State
    from textgym.envs.vector import TextVectorEnv

__all__ = ["KeptSets", "Recorder", "idle_action"]

_MOST_WAITING = 32  # steps
_BOOLS_AT_ONCE = 2**26


def idle_action(envs: TextVectorEnv, device: torch.device) -> Tensor:
    """An action that ends a text: ``()``, or for edits ``(2,)`` int64."""
    eos = envs.tokenizer.eos_id
    # The first candidate always is the end of text, which as an edit may stand at any place.
    actions: dict[str, int | list[int]] = {"append": eos, "choose": 0, "edit": [0, eos]}
    return torch.tensor(actions[envs.action_kind], device=device)


class KeptSets:
    """What top-k and top-p left of each action, as ids as long as those take less room than bits.

    How much room they take, the host has to wait for. So sets wait as bits until it waits anyway,
    because a text has ended, or until there are those of a few dozen steps.
    """

    def __init__(self, shape: tuple[int, int], *, in_bits: bool) -> None:
        """Has none yet.

        Args:
            shape: Episodes, and actions in each, ``(N, C)``.
            in_bits: Whether they are to be bits in any case.
        """
        self._shape, self._in_bits, self._size = shape, in_bits, 0
        self._sets: Tensor | None = None
        self._waiting: list[tuple[Tensor, Tensor, Tensor]] = []

    def note(self, at: tuple[Tensor, Tensor], kept: Tensor) -> None:
        """Takes the sets of one step.

        Args:
            at: The numbers of the episodes and of the actions in them, ``(count,)`` int64 each.
            kept: ``(count, A)`` bool.
        """
        self._size = kept.shape[-1]
        self._in_bits = self._in_bits or not ids_are_smaller(1, self._size)
        if self._in_bits:
            self._write_bits(at, pack_mask(kept))
            return
        self._waiting.append((*at, pack_mask(kept)))
        if len(self._waiting) == _MOST_WAITING:
            self.settle()

    def settle(self) -> None:
        """Puts the sets that wait where they belong."""
        if not self._waiting:
            return
        rows, steps, packed = (torch.cat(each) for each in zip(*self._waiting, strict=True))
        self._waiting.clear()
        at_once = max(1, _BOOLS_AT_ONCE // self._size)
        parts = zip(*(torch.split(each, at_once) for each in (rows, steps, packed)), strict=True)
        for episodes, actions, some in parts:
            self._write((episodes, actions), some)

    def result(self) -> Tensor | None:
        """All of them, see ``Episodes.kept``."""
        self.settle()
        return self._sets

    def _write(self, at: tuple[Tensor, Tensor], packed: Tensor) -> None:
        if not self._in_bits:
            ids = pack_ids(unpack_mask(packed, self._size))
            so_far = ids.new_zeros((*self._shape, 0)) if self._sets is None else self._sets
            width = max(ids.shape[-1], so_far.shape[-1])
            self._in_bits = not ids_are_smaller(width, self._size)
            if not self._in_bits:
                self._sets = in_form(so_far, Form(in_bits=False, width=width))
                self._sets[(*at, slice(ids.shape[-1]))] = ids
                return
            self._sets = in_form(so_far, Form(in_bits=True, width=bytes_of_bits(self._size)))
        self._write_bits(at, packed)

    def _write_bits(self, at: tuple[Tensor, Tensor], packed: Tensor) -> None:
        if self._sets is None:
            self._sets = packed.new_zeros((*self._shape, packed.shape[-1]))
        self._sets[at] = packed


class Recorder:
    """N episodes of at most C actions, written to as they go on; see ``Rollout`` for the arrays.

    Attributes:
        legal: ``(A,)`` where it never changes, and is to be set then; else as in ``Rollout``, and
            ``None`` until the first action.
    """

    def __init__(self, envs: TextVectorEnv, total: int, device: torch.device) -> None:
        """Makes one without an episode.

        Args:
            envs: Where they are played.
            total: N.
            device: Where the policy is.
        """
        self._device, self._pad_id = device, envs.tokenizer.pad_id
        self._width = envs.prompt_tokens + envs.completion_tokens
        shape = (total, envs.max_actions)
        idle = idle_action(envs, device)
        self._actions = self._whole(*shape, *idle.shape) + idle
        self._places = self._whole(*shape)
        self._log_probs, self._values, self._rewards = (
            torch.zeros(shape, device=device) for _ in range(3)
        )
        self._has_values = False
        self._mask = torch.zeros(shape, dtype=torch.bool, device=device)
        self.legal: Tensor | None = None
        self._kept = KeptSets(shape, in_bits=envs.action_kind == "edit")  # which are two sets
        self._candidates: Tensor | None = None
        self._texts = (
            self._whole(*shape, self._width) + self._pad_id if envs.action_kind == "edit" else None
        )
        self._tokens = self._whole(total, self._width) + self._pad_id
        self._prompt_lengths, self._lengths = self._whole(total), self._whole(total)
        self._scores = np.full(total, np.nan)
        weights = envs.reward_weights
        self._terms = None if weights is None else np.full((total, len(weights)), np.nan)
        self._stop_reasons, self._example_ids = np.zeros((2, total), dtype=np.int64)

    def _whole(self, *shape: int) -> Tensor:
        return torch.zeros(shape, dtype=torch.int64, device=self._device)

    def begin(
        self, episodes: slice, prompt_lengths: Tensor, example_ids: npt.NDArray[np.int64]
    ) -> None:
        """Notes what episodes started with."""
        self._prompt_lengths[episodes] = prompt_lengths
        self._example_ids[episodes] = example_ids

    def note(
        self, at: tuple[Tensor, Tensor], act: Act, before: State, legal: Tensor, rewards: Tensor
    ) -> None:
        """Writes an action of each open row where its episode is.

        Args:
            at: The numbers of the episodes and of the actions in them, ``(count,)`` int64 each.
            act: What was done.
            before: The open rows before it.
            legal: What was legal then, ``(A,)`` or ``(count, A)`` bool.
            rewards: What it was paid, ``(count,)``.
        """
        self._actions[at] = act.action
        self._places[at] = before.length - 1
        self._log_probs[at] = act.log_prob
        if act.value is not None:
            self._values[at] = act.value
            self._has_values = True
        self._rewards[at] = rewards.float()
        self._mask[at] = True
        if self._texts is not None:
            self._texts[at] = before.tokens
        if before.candidates is not None:
            if self._candidates is None:
                shape = (*self._mask.shape, *before.candidates.shape[1:])
                self._candidates = self._whole(*shape) + self._pad_id
            self._candidates[at] = before.candidates
        if self.legal is None or self.legal.ndim > 1:
            packed = pack_mask(legal if act.legal is None else act.legal)
            if self.legal is None:
                self.legal = packed.new_zeros((*self._mask.shape, packed.shape[-1]))
            self.legal[at] = packed
        if act.kept is not None:
            self._kept.note(at, act.kept)

    def end(self, episodes: npt.NDArray[np.int64], stop_reasons: npt.NDArray[np.int64]) -> None:
        """Notes why texts have ended."""
        self._stop_reasons[episodes] = stop_reasons

    def score(
        self,
        episodes: npt.NDArray[np.int64],
        scores: npt.NDArray[np.float64],
        terms: Mapping[str, npt.NDArray[np.float64]],
    ) -> None:
        """Notes what the reward said of finished texts, and each of its parts by name."""
        self._scores[episodes] = scores
        if self._terms is not None:
            self._terms[episodes] = np.stack([*terms.values()], axis=1)

    def pay(
        self,
        episodes: npt.NDArray[np.int64],
        scores: npt.NDArray[np.float64],
        terms: Mapping[str, npt.NDArray[np.float64]],
    ) -> None:
        """Pays whole texts, whose actions have all been noted, at the last action of each."""
        self.score(episodes, scores, terms)
        rows = torch.from_numpy(episodes).to(self._device)
        last = self._mask[rows].sum(dim=1) - 1
        self._rewards[rows, last] = torch.from_numpy(scores).float().to(self._device)

    def finish(self, episodes: Tensor, tokens: Tensor, lengths: Tensor) -> None:
        """Takes the texts of episodes that have ended."""
        self._tokens[episodes], self._lengths[episodes] = tokens, lengths
        self._kept.settle()

    def rollout(self, *, env_seconds: float, reward_seconds: float) -> Rollout:
        """Makes what was asked for, when every episode has ended; see ``Rollout``."""
        return Rollout(
            tokens=self._tokens,
            prompt_lengths=self._prompt_lengths,
            lengths=self._lengths,
            places=self._places,
            actions=self._actions,
            log_probs=self._log_probs,
            values=self._values if self._has_values else None,
            rewards=self._rewards,
            mask=self._mask,
            legal=self._mask if self.legal is None else self.legal,
            kept=self._kept.result(),
            candidates=self._candidates,
            texts=self._texts,
            pad_id=self._pad_id,
            truncated=torch.from_numpy(np.isnan(self._scores)).to(self._device),
            scores=self._scores,
            terms=self._terms,
            stop_reasons=self._stop_reasons,
            example_ids=self._example_ids,
            env_seconds=env_seconds,
            reward_seconds=reward_seconds,
        )
