"""What a vector environment knows of its rows beside their texts, and how texts are paid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from textgym.infos import add_entries, add_terms
from textgym.states import take_rows
from textgym.types import Example

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textgym.states import State
    from textgym.world import World

__all__ = ["Episodes", "Payment"]

Payment: TypeAlias = "tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.bool_]]"
"""Which rows were scored, ``(n,)``, their scores, and which of them are finished."""


@dataclass(slots=True, eq=False)
class Episodes:
    """N episodes on the host.

    Attributes:
        examples: What each row started with.
        example_ids: Their numbers in the split, ``(N,)`` int64; -1 for a caller's own prompt.
        scores: The scores of finished texts, ``(N,)`` float64; NaN before.
        potentials: The scores of the texts so far, where they are paid for, ``(N,)`` float64.
        closed: Rows that no action changes before they are reset, ``(N,)`` bool.
    """

    examples: list[Example]
    example_ids: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]
    potentials: npt.NDArray[np.float64]
    closed: npt.NDArray[np.bool_]

    @classmethod
    def none_yet(cls, count: int) -> Episodes:
        """Returns ``count`` rows in which nothing has begun."""
        return cls(
            examples=[Example(prompt="")] * count,
            example_ids=np.full(count, -1),
            scores=np.full(count, np.nan),
            potentials=np.zeros(count),
            closed=np.ones(count, dtype=np.bool_),
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
    ) -> tuple[npt.NDArray[np.float64], dict[str, Any], Payment]:
        """Scores the rows that need it in one batch: the finished ones, or all open ones if dense.

        Args:
            world: Decodes and scores.
            host: The state after the step, in numpy.
            finished: Which texts were finished in the step, ``(N,)`` bool.

        Returns:
            The rewards, ``(N,)`` float64, the infos of the finished rows, and what to ``book`` once
            the step has succeeded.

        Raises:
            RewardError: If the reward fails.
        """
        dense, count = world.settings.dense, len(self.examples)
        rewards = np.zeros(count)
        infos: dict[str, Any] = {}
        rows = np.flatnonzero(~self.closed if dense else finished)
        if not rows.size:
            return rewards, infos, (rows, np.zeros(0), np.zeros(0, dtype=np.bool_))
        taken = take_rows(host, rows)
        examples = [self.examples[row] for row in rows]
        scores, terms = world.score(examples, world.completions(taken), taken)
        rewards[rows] = scores - self.potentials[rows]
        ended = finished[rows]
        if ended.any():
            add_entries(
                infos,
                count,
                rows[ended],
                stop_reason=host.stop_reason[rows[ended]],
                score=scores[ended],
                completion_length=world.completion_lengths(host)[rows[ended]],
            )
            parts = {name: part[ended] for name, part in terms.items()}
            add_terms(infos, count, rows[ended], parts)
        return rewards, infos, (rows, scores, ended)

    def book(self, payment: Payment, *, dense: bool) -> None:
        """Notes what has been paid: final scores, and the potentials of dense rewards."""
        rows, scores, ended = payment
        if dense:
            self.potentials[rows] = scores
        self.scores[rows[ended]] = scores[ended]

    def take(self, rows: npt.NDArray[np.int64]) -> Episodes:
        """Returns new episodes, a copy of the rows whose numbers are given."""
        return Episodes(
            examples=[self.examples[row] for row in rows],
            example_ids=self.example_ids[rows],
            scores=self.scores[rows],
            potentials=self.potentials[rows],
            closed=self.closed[rows],
        )
