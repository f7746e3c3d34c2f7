"""What a vector environment knows of its rows beside their texts, and how texts are paid."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from textgym.dynamics.states import take_rows
from textgym.envs.infos import add_entries, add_terms
from textgym.types import Example

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textgym.dynamics.states import State
    from textgym.envs.starts import Beginnings
    from textgym.envs.world import World

__all__ = ["Episodes", "Payment"]

Payment: TypeAlias = (
    "tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.bool_] | slice] | None"
)
"""Which rows were scored, ``(n,)``, their scores, and which of them are finished, if any were."""


@dataclass(slots=True, eq=False)
class Episodes:
    """N episodes on the host.

    Attributes:
        examples: What each row started with, ``(N,)``, each an ``Example``.
        example_ids: Their numbers in the split, ``(N,)`` int64; -1 for a caller's own prompt.
        scores: The scores of finished texts, ``(N,)`` float64; NaN before.
        potentials: The scores of the texts so far, where they are paid for, ``(N,)`` float64.
        closed: Rows that no action changes before they are reset, ``(N,)`` bool.
        reward_seconds: How long the reward has worked on these rows so far.
    """

    examples: npt.NDArray[np.object_]
    example_ids: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]
    potentials: npt.NDArray[np.float64]
    closed: npt.NDArray[np.bool_]
    reward_seconds: float = 0.0

    @classmethod
    def none_yet(cls, count: int) -> Episodes:
        """Returns ``count`` rows in which nothing has begun."""
        return cls(
            examples=_array_of([Example(prompt="")] * count),
            example_ids=np.full(count, -1),
            scores=np.full(count, np.nan),
            potentials=np.zeros(count),
            closed=np.ones(count, dtype=np.bool_),
        )

    def begin(
        self, rows: npt.NDArray[np.int64], beginnings: Beginnings, infos: dict[str, Any]
    ) -> None:
        """Notes what the given rows start with, also in ``infos``."""
        self.examples[rows] = _array_of(beginnings.examples)
        self.example_ids[rows] = beginnings.numbers
        self.scores[rows], self.potentials[rows] = np.nan, 0.0
        add_entries(
            infos,
            len(self.examples),
            rows,
            example_id=beginnings.numbers,
            prompt_length=beginnings.prompt_length,
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
        rows = (~self.closed if dense else finished).nonzero()[0]
        if not rows.size:
            return rewards, infos, None
        taken = take_rows(host, rows)
        examples, completions = self.examples[rows].tolist(), world.completions(taken)
        start = time.perf_counter()
        scores, terms = world.score(examples, completions, taken)
        self.reward_seconds += time.perf_counter() - start
        rewards[rows] = scores - self.potentials[rows]
        ended = finished[rows] if dense else slice(None)
        if rows[ended].size:
            add_entries(
                infos,
                count,
                rows[ended],
                stop_reason=taken.stop_reason[ended],
                score=scores[ended],
                completion_length=world.completion_lengths(taken)[ended],
            )
            parts = {name: part[ended] for name, part in terms.items()}
            add_terms(infos, count, rows[ended], parts)
        return rewards, infos, (rows, scores, ended)

    def book(self, payment: Payment, *, dense: bool) -> None:
        """Notes what has been paid: final scores, and the potentials of dense rewards."""
        if payment is None:
            return
        rows, scores, ended = payment
        if dense:
            self.potentials[rows] = scores
        self.scores[rows[ended]] = scores[ended]

    def take(self, rows: npt.NDArray[np.int64]) -> Episodes:
        """Returns new episodes, a copy of the rows whose numbers are given."""
        return Episodes(
            examples=self.examples[rows],
            example_ids=self.example_ids[rows],
            scores=self.scores[rows],
            potentials=self.potentials[rows],
            closed=self.closed[rows],
            reward_seconds=self.reward_seconds,
        )


def _array_of(examples: Sequence[Example]) -> npt.NDArray[np.object_]:
    return np.fromiter(examples, dtype=np.object_, count=len(examples))
