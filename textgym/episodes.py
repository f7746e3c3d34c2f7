"""What a vector environment knows of its rows beside their texts, and how texts are paid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from textgym.infos import add_entries, add_terms
from textgym.states import take_rows
from textgym.types import Example

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textgym.states import State
    from textgym.world import World

__all__ = ["Episodes"]


@dataclass(slots=True, eq=False)
class Episodes:
    """N episodes on the host.

    Attributes:
        examples: What each row started with.
        example_ids: Their numbers in the split, ``(N,)`` int64; -1 for a caller's own prompt.
        scores: The scores of finished texts, ``(N,)`` float64; NaN before.
        potentials: The scores of the texts so far, where they are paid for, ``(N,)`` float64.
        closed: Rows that no action changes before they are reset, ``(N,)`` bool.
        before: What the last edit found, where it is shown.
    """

    examples: list[Example]
    example_ids: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]
    potentials: npt.NDArray[np.float64]
    closed: npt.NDArray[np.bool_]
    before: list[str]

    @classmethod
    def none_yet(cls, count: int) -> Episodes:
        """Returns ``count`` rows in which nothing has begun."""
        return cls(
            examples=[Example(prompt="")] * count,
            example_ids=np.full(count, -1),
            scores=np.full(count, np.nan),
            potentials=np.zeros(count),
            closed=np.ones(count, dtype=np.bool_),
            before=[""] * count,
        )

    def begin(
        self,
        rows: npt.NDArray[np.int64],
        chosen: Sequence[tuple[Example, int]],
        infos: dict[str, Any],
        prompt_length: npt.NDArray[np.int64],
    ) -> None:
        """Notes what the given rows start with, also in ``infos``."""
        for row, (example, number) in zip(rows.tolist(), chosen, strict=True):
            self.examples[row], self.example_ids[row] = example, number
        self.scores[rows], self.potentials[rows] = np.nan, 0.0
        count = len(self.examples)
        add_entries(
            infos,
            count,
            rows,
            example_id=self.example_ids[rows],
            prompt_length=prompt_length,
        )

    def pay(
        self, world: World, host: State, finished: npt.NDArray[np.bool_]
    ) -> tuple[npt.NDArray[np.float64], dict[str, Any]]:
        """Scores the rows that need it in one batch: the finished ones, or all open ones if dense.

        Args:
            world: Decodes and scores.
            host: The state after the step, in numpy.
            finished: Which texts were finished in the step, ``(N,)`` bool.

        Returns:
            The rewards, ``(N,)`` float64, and the infos of the finished rows.

        Raises:
            RewardError: If the reward fails. Nothing has changed then.
        """
        dense, count = world.settings.dense, len(self.examples)
        rewards = np.zeros(count)
        infos: dict[str, Any] = {}
        rows = np.flatnonzero(~self.closed if dense else finished)
        if not rows.size:
            return rewards, infos
        completions = world.completions(take_rows(host, rows))
        scores, terms = world.score([self.examples[row] for row in rows], completions)
        rewards[rows] = scores - self.potentials[rows]
        if dense:
            self.potentials[rows] = scores
        ended = finished[rows]
        rows, scores = rows[ended], scores[ended]
        if rows.size:
            self.scores[rows] = scores
            add_entries(
                infos,
                count,
                rows,
                stop_reason=host.stop_reason[rows],
                score=scores,
                completion_length=world.completion_lengths(host)[rows],
            )
            add_terms(infos, count, rows, {name: part[ended] for name, part in terms.items()})
        return rewards, infos

    def take(self, rows: npt.NDArray[np.int64]) -> Episodes:
        """Returns new episodes, a copy of the rows whose numbers are given."""
        return Episodes(
            examples=[self.examples[row] for row in rows],
            example_ids=self.example_ids[rows],
            scores=self.scores[rows],
            potentials=self.potentials[rows],
            closed=self.closed[rows],
            before=[self.before[row] for row in rows],
        )
