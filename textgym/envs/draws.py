"""Each row's generator, and the examples that rows draw by them."""

from __future__ import annotations

import contextlib
import copy
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.utils import seeding

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import numpy.typing as npt

__all__ = ["Draws", "kept_on_failure"]

_AHEAD = 64


class Draws:
    """N generators, by which N rows draw the numbers of their examples.

    A row draws what a single environment with its seed would. One call of a generator costs more
    than a step of a row does, so a row's next numbers are drawn together, as numpy gives the same
    numbers then. Whoever asks for the generators gets them where they would be without that, and
    from then on nothing is drawn ahead, because they may be used elsewhere too.
    """

    def __init__(self, rows: int, count: int) -> None:
        """Makes generators that are seeded by chance.

        Args:
            rows: N.
            count: How many examples there are to draw from.
        """
        self._generators = [seeding.np_random() for _ in range(rows)]
        self._count = count
        self._size = _AHEAD
        self._numbers = np.zeros((rows, _AHEAD), dtype=np.int64)
        # Which of a row's numbers comes next; behind the last of them, nothing has been drawn ahead
        # and the row's generator is where it should be.
        self._next = np.full(rows, _AHEAD)
        self._before: list[Mapping[str, Any]] = [{}] * rows

    @property
    def generators(self) -> tuple[np.random.Generator, ...]:
        """Each row's generator."""
        self._settle(range(len(self._generators)))
        self._size = 1
        return tuple(generator for generator, _ in self._generators)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Each row's seed."""
        return tuple(seed for _, seed in self._generators)

    def states(self) -> tuple[Mapping[str, Any], ...]:
        """Returns where each generator is, for ``go_to``."""
        self._settle(range(len(self._generators)))
        return tuple(
            copy.deepcopy(generator.bit_generator.state) for generator, _ in self._generators
        )

    def go_to(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Puts the generators where they were when ``states`` was called."""
        self._next[:] = _AHEAD
        for (generator, _), state in zip(self._generators, states, strict=True):
            generator.bit_generator.state = copy.deepcopy(state)

    @contextlib.contextmanager
    def seeded(self, seeds: Mapping[int, int]) -> Iterator[None]:
        """Gives some rows new generators, or their old ones back if the block fails.

        Args:
            seeds: The rows' numbers and seeds.

        Raises:
            gymnasium.error.Error: If a seed is none; no row has changed then.
        """
        made = {row: seeding.np_random(seed) for row, seed in seeds.items()}
        self._settle(seeds)
        kept, size = {row: self._generators[row] for row in seeds}, self._size
        for row, generator in made.items():
            self._generators[row] = generator
        if len(made) == len(self._generators):
            self._size = _AHEAD
        try:
            yield
        except BaseException:
            self._settle(seeds)
            for row, generator in kept.items():
                self._generators[row] = generator
            self._size = size
            raise

    @contextlib.contextmanager
    def borrowed(self, rows: npt.NDArray[np.int64]) -> Iterator[list[np.random.Generator]]:
        """Lends the generators of some rows; if the block fails, they are where they were."""
        self._settle(rows.tolist())
        lent = [self._generators[row][0] for row in rows]
        with kept_on_failure(lent):
            yield lent

    @contextlib.contextmanager
    def drawn(self, rows: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
        """Draws a number in each of some rows, ``(n,)``; if the block fails, none is drawn."""
        places = self._next[rows]
        spent = places == _AHEAD
        if np.count_nonzero(spent):
            self._draw_ahead(rows[spent].tolist())
            places = self._next[rows]
        try:
            yield self._numbers[rows, places]
        except BaseException:
            self._settle(rows.tolist())
            raise
        self._next[rows] = places + 1

    def _draw_ahead(self, rows: Iterable[int]) -> None:
        for row in rows:
            generator = self._generators[row][0]
            self._before[row] = generator.bit_generator.state
            self._next[row] = _AHEAD - self._size
            self._numbers[row, -self._size :] = generator.integers(self._count, size=self._size)

    def _settle(self, rows: Iterable[int]) -> None:
        """Puts generators where they would be if nothing had been drawn ahead."""
        for row in rows:
            drawn = int(self._next[row]) - (_AHEAD - self._size)
            if drawn < self._size:
                generator = self._generators[row][0]
                generator.bit_generator.state = self._before[row]
                generator.integers(self._count, size=drawn)
                self._next[row] = _AHEAD


@contextlib.contextmanager
def kept_on_failure(generators: Sequence[np.random.Generator]) -> Iterator[None]:
    """Puts generators back to where they were if the block fails."""
    states = [generator.bit_generator.state for generator in generators]
    try:
        yield
    except BaseException:
        for generator, state in zip(generators, states, strict=True):
            generator.bit_generator.state = state
        raise
