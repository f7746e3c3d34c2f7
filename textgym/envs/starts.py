"""What the rows of a vector environment start with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from textgym.dynamics.states import take_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from textgym.dynamics.moves import Moves
    from textgym.dynamics.states import State
    from textgym.envs.backends import Backend
    from textgym.envs.draws import Draws
    from textgym.envs.resets import Chosen
    from textgym.envs.world import World
    from textgym.types import Example

__all__ = ["Beginnings", "Starts"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Beginnings:
    """What n rows start with.

    Attributes:
        state: Their states, where the environment's are.
        prompt_length: The lengths of their prompts, on the host, ``(n,)`` int64.
        examples: Their examples.
        numbers: The numbers of these in the split, ``(n,)`` int64; -1 for a caller's own prompt.
    """

    state: State
    prompt_length: npt.NDArray[np.int64]
    examples: Sequence[Example]
    numbers: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Starts:
    """Makes what rows start with.

    Attributes:
        world: Has the examples.
        moves: Add what they need to a state.
        backend: Where states are.
        draws: The rows' generators.
    """

    world: World
    moves: Moves
    backend: Backend
    draws: Draws

    def chosen(self, rows: npt.NDArray[np.int64], chosen: Chosen) -> Beginnings:
        """Starts rows with what a caller chose for them; if it fails, nothing has changed.

        Args:
            rows: The rows' numbers, ``(n,)``.
            chosen: Examples and their numbers, n each.
        """
        if self.world.drafter is None:
            return self._begin(*chosen)
        with self.draws.borrowed(rows) as generators:
            return self._begin(*chosen, generators)

    def drawn(self, rows: npt.NDArray[np.int64], group: int = 1) -> Beginnings:
        """Starts rows with examples that are drawn; if it fails, nothing has changed.

        Args:
            rows: The rows' numbers, ``(n,)``.
            group: How many rows that follow each other start alike, drawn by the first of them.
        """
        leaders = rows[::group]
        if self.world.drafter is None:
            with self.draws.drawn(leaders) as numbers:
                return self._begin(self._examples(numbers), numbers, group=group)
        # A draft is drawn behind its example, by the same generator.
        with self.draws.borrowed(leaders) as generators:
            count = len(self.world.examples)
            numbers = np.array([generator.integers(count) for generator in generators])
            return self._begin(self._examples(numbers), numbers, generators, group)

    def _examples(self, numbers: npt.NDArray[np.int64]) -> list[Example]:
        examples = self.world.examples
        return [examples[number] for number in numbers.tolist()]

    def _begin(
        self,
        examples: Sequence[Example],
        numbers: npt.NDArray[np.int64],
        generators: Sequence[np.random.Generator] = (),
        group: int = 1,
    ) -> Beginnings:
        laid = self.world.start(examples, numbers, generators)
        if group > 1:
            places = np.repeat(np.arange(len(numbers)), group)
            laid, numbers = take_rows(laid, places), numbers[places]
            examples = [examples[place] for place in places.tolist()]
        grows = self.world.settings.action_kind == "append"
        return Beginnings(
            state=self.moves.begin(self.backend.send_state(laid, grows=grows)),
            prompt_length=laid.prompt_length,
            examples=examples,
            numbers=numbers,
        )
