"""What was collected: whole episodes as tensors, and what they were paid."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from agents.maths.masks import Form, in_form
from agents.models.episodes import Episodes

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from torch import Tensor

__all__ = ["Rollout"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout(Episodes):
    """N whole episodes of at most C actions, in the order in which they were asked for.

    What a policy reads of them is in ``Episodes``.

    Attributes:
        prompt_lengths: ``(N,)`` int64, the beginning-of-text id included.
        lengths: Of the texts, ``(N,)`` int64.
        log_probs: Of the actions, under the distribution they were drawn from, ``(N, C)`` float32.
        values: Of the states before the actions, ``(N, C)`` float32; ``None`` with a critic.
        rewards: ``(N, C)`` float32.
        truncated: Episodes that an outside limit cut off, ``(N,)`` bool.
        scores: What the reward said of each finished text, ``(N,)`` float64, NaN if truncated.
        terms: What the parts of the reward said, without their weights, ``(N, K)`` float64, NaN if
            truncated; ``None`` unless the reward is a weighted sum of K.
        stop_reasons: ``(N,)`` int64, see ``StopReason``.
        example_ids: Where each episode started, ``(N,)`` int64.
        env_seconds: Time spent in the environment, its reward included.
        reward_seconds: Time spent in the reward.
    """

    prompt_lengths: Tensor
    lengths: Tensor
    log_probs: Tensor
    values: Tensor | None
    rewards: Tensor
    truncated: Tensor
    scores: npt.NDArray[np.float64]
    terms: npt.NDArray[np.float64] | None
    stop_reasons: npt.NDArray[np.int64]
    example_ids: npt.NDArray[np.int64]
    env_seconds: float
    reward_seconds: float

    @property
    def num_actions(self) -> int:
        """How many actions were taken in all."""
        return int(self.mask.sum())

    @property
    def read_lengths(self) -> Tensor:
        """How many tokens a model reads to evaluate each episode, padding included, ``(N,)``."""
        if self.texts is None:
            return self.lengths
        longest = torch.where(self.mask, self.places, 0).max() + 1
        return self.mask.sum(dim=1) * longest

    def completions(self) -> list[list[int]]:
        """What was written after the prompts, the end-of-text id included."""
        starts, ends = self.prompt_lengths.tolist(), self.lengths.tolist()
        rows = self.tokens.tolist()
        return [row[a:b] for row, a, b in zip(rows, starts, ends, strict=True)]

    def longest(self) -> tuple[int, int]:
        """The most actions of an episode, and the most tokens of a text."""
        return int(self.mask.sum(dim=1).max()), int(self.lengths.max())

    def cut(self, steps: int, width: int) -> Rollout:
        """The same episodes in narrower arrays.

        Args:
            steps: How many actions of each are kept, at least as many as any has.
            width: How many tokens of each, likewise.
        """
        per_action = ("places", "actions", "log_probs", "values", "rewards", "mask")
        names = (
            *per_action,
            "candidates",
            "texts",
            "kept",
            *(("legal",) if self.legal.ndim > 1 else ()),
        )
        arrays: dict[str, Any] = {name: getattr(self, name) for name in names}
        cut: dict[str, Any] = {
            name: None if each is None else each[:, :steps] for name, each in arrays.items()
        }
        return replace(self, tokens=self.tokens[:, :width], **cut)

    def take(self, rows: Tensor) -> Rollout:
        """Some of the episodes, in an order; seconds stay those of all.

        Args:
            rows: Their numbers, ``(n,)`` int64.
        """
        host = rows.cpu().numpy()
        taken: dict[str, Any] = {}
        for name, array in self.by_row().items():
            taken[name] = array[host] if isinstance(array, np.ndarray) else array[rows]
        return replace(self, **taken)

    @classmethod
    def join(cls, rollouts: Sequence[Rollout]) -> Rollout:
        """Episodes of one environment, one rollout's behind the other's, as wide as the widest.

        Args:
            rollouts: At least one.
        """
        first, *others = rollouts
        if not others:
            return first
        joined: dict[str, Any] = {}
        for name, array in first.by_row().items():
            arrays = [array, *(getattr(each, name) for each in others)]
            if name == "kept":
                form = Form.common([Form.of(each) for each in arrays])
                arrays = [in_form(each, form) for each in arrays]
            if isinstance(array, np.ndarray):
                joined[name] = np.concatenate(arrays)
            else:
                is_text = name in {"tokens", "texts", "candidates"}
                joined[name] = _stacked(arrays, first.pad_id if is_text else 0)
        for name in ("env_seconds", "reward_seconds"):
            joined[name] = sum(getattr(each, name) for each in rollouts)
        return replace(first, **joined)

    def by_row(self) -> dict[str, Any]:
        """The arrays that have a row for each episode, by name."""
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        if self.legal.ndim == 1:
            del arrays["legal"]  # the same for all
        return {n: a for n, a in arrays.items() if isinstance(a, torch.Tensor | np.ndarray)}


def _stacked(arrays: Sequence[Tensor], fill: int) -> Tensor:
    """Rows of several arrays, ``(n, C, ...)`` of several widths, filled up on the right."""
    if arrays[0].ndim == 1:
        return torch.cat([*arrays])
    rows, width = sum(map(len, arrays)), max(each.shape[1] for each in arrays)
    stacked = arrays[0].new_full((rows, width, *arrays[0].shape[2:]), fill)
    at = 0
    for each in arrays:
        stacked[at : at + len(each), : each.shape[1]] = each
        at += len(each)
    return stacked
