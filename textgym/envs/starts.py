"""What rows start with: seeds, the generators that they seed, options, and examples.

A call that fails leaves every generator where it was.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from gymnasium.utils import seeding

from textgym.dynamics.states import take_rows, to_host
from textgym.messages import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy.typing as npt

    from textgym.dynamics.moves import Moves
    from textgym.dynamics.states import State
    from textgym.envs.backends import Backend
    from textgym.envs.world import World
    from textgym.types import Example

__all__ = [
    "Beginnings",
    "Chosen",
    "Draws",
    "ResetOptions",
    "Starts",
    "read_options",
    "read_row_options",
    "read_seeds",
    "restored_on_failure",
]

Chosen: TypeAlias = "tuple[Sequence[Example], npt.NDArray[np.int64]]"
"""Examples, and their numbers in the split; -1 for a caller's own prompt."""

_OPTIONS = ("example_id", "group", "prompt", "reset_mask")
_AHEAD = 64  # how many numbers are drawn together


@dataclass(frozen=True, slots=True, kw_only=True)
class ResetOptions:
    """What the options of a reset mean.

    Attributes:
        mask: Which rows are reset, ``(N,)`` bool.
        chosen: What the rows that are reset start with; ``None`` to draw it.
        group: How many rows that follow each other start alike.
    """

    mask: npt.NDArray[np.bool_]
    chosen: Chosen | None
    group: int


def read_options(options: Mapping[str, Any] | None, count: int, world: World) -> ResetOptions:
    """Reads the options of a reset of ``count`` rows.

    Raises:
        ValueError: If an option is unknown, has another shape, names no example, or does not go
            with the others.
        TypeError: If the options are no dictionary, an example no integer or a prompt no text.
    """
    given = _given(options, _OPTIONS)
    if "example_id" in given and "prompt" in given:
        raise ValueError("example_id and prompt are two ways to start; give one of them")
    mask = _read_mask(given, count)
    group = _read_group(given, mask)
    rows, chosen = np.flatnonzero(mask), None
    if "example_id" in given:
        numbers = to_host(given["example_id"])
        if numbers.shape not in ((), (count,)):
            raise ValueError(
                f"example_id must be one integer or {count}, got shape {numbers.shape}"
            )
        # Rows that are not reset may have any number.
        ids = [world.example_id(number) for number in np.broadcast_to(numbers, (count,))[rows]]
        chosen = [world.examples[number] for number in ids], np.array(ids)
    elif "prompt" in given:
        prompts = given["prompt"]
        prompts = [prompts] * count if isinstance(prompts, str) else prompts
        if not hasattr(prompts, "__len__") or len(prompts) != count:
            raise ValueError(f"prompt must be one text or {count}, got {shown(prompts)}")
        # Rows that are not reset may have anything.
        own = [world.example_of(prompts[row]) for row in rows.tolist()]
        chosen = own, np.full(len(own), -1)
    return ResetOptions(mask=mask, chosen=chosen, group=group)


def read_row_options(options: Mapping[str, Any] | None) -> dict[str, Any]:
    """Reads the options of a reset of a single text: ``example_id``, or ``prompt``, or neither.

    Raises:
        ValueError: If an option is unknown, or both are given.
        TypeError: If the options are no dictionary.
    """
    given = _given(options, ("example_id", "prompt"))
    if len(given) > 1:
        raise ValueError("example_id and prompt are two ways to start; give one of them")
    return given


def read_seeds(seed: int | Sequence[int | None] | None, count: int) -> Sequence[int | None]:
    """Returns a seed, or ``None`` for no seed, for each row.

    Raises:
        ValueError: If a list has another length, or it is neither a number nor a list.
    """
    if seed is None:
        return [None] * count
    if isinstance(seed, int | np.integer):
        return [int(seed) + row for row in range(count)]
    if isinstance(seed, str) or not hasattr(seed, "__len__"):
        raise ValueError(f"a seed must be an integer, or {count} of them, got {shown(seed)}")
    if len(seed) != count:
        raise ValueError(f"seeds must be {count}, one for each row; got {len(seed)}")
    return [int(one) if isinstance(one, np.integer) else one for one in seed]


def _given(options: Mapping[str, Any] | None, known: Sequence[str]) -> dict[str, Any]:
    if options is not None and not isinstance(options, Mapping):
        raise TypeError(f"options must be a dictionary, got {shown(options)}")
    given = {key: value for key, value in (options or {}).items() if value is not None}
    unknown = sorted(map(str, set(given) - set(known)))
    if unknown:
        raise ValueError(f"unknown options {unknown}; known: {', '.join(known)}")
    return given


def _read_mask(given: Mapping[str, Any], count: int) -> npt.NDArray[np.bool_]:
    if "reset_mask" not in given:
        return np.ones(count, dtype=np.bool_)
    mask = to_host(given["reset_mask"])
    if mask.shape != (count,) or mask.dtype != np.bool_ or not mask.any():
        raise ValueError(
            f"reset_mask must be {count} booleans, at least one of them True; got {mask.dtype} of "
            f"shape {mask.shape}: {mask}"
        )
    return mask


def _read_group(given: Mapping[str, Any], mask: npt.NDArray[np.bool_]) -> int:
    group = given.get("group", 1)
    whole = isinstance(group, int | np.integer) and not isinstance(group, bool)
    if not whole or group < 1 or len(mask) % group:
        raise ValueError(f"group must be a positive divisor of {len(mask)} rows, got {group!r}")
    together = mask.reshape(-1, group)
    if (together != together[:, :1]).any():
        raise ValueError(f"reset_mask must reset groups of {group} rows as a whole: {mask}")
    if group > 1 and {"example_id", "prompt"} & set(given):
        raise ValueError("a group starts with an example that is drawn; leave example_id, prompt")
    return int(group)


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

    def go_to(self, states: Sequence[Mapping[str, Any]], seeds: Sequence[int]) -> None:
        """Puts the generators where they were when ``states`` was called, seeded by ``seeds``."""
        self._next[:] = _AHEAD
        for row, (state, seed) in enumerate(zip(states, seeds, strict=True)):
            generator = self._generators[row][0]
            generator.bit_generator.state = copy.deepcopy(state)
            self._generators[row] = generator, seed

    def take(self, generators: Sequence[np.random.Generator]) -> None:
        """Draws by other generators from now on, whose seeds nobody knows: -1, as in Gymnasium."""
        if len(generators) != len(self._generators):
            raise ValueError(
                f"{len(self._generators)} rows cannot have {len(generators)} generators"
            )
        self._next[:] = _AHEAD
        self._size = 1  # they may be used elsewhere too
        self._generators = [(generator, -1) for generator in generators]

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
        with restored_on_failure(lent):
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
def restored_on_failure(generators: Sequence[np.random.Generator]) -> Iterator[None]:
    """Puts generators back to where they were if the block fails."""
    states = [generator.bit_generator.state for generator in generators]
    try:
        yield
    except BaseException:
        for generator, state in zip(generators, states, strict=True):
            generator.bit_generator.state = state
        raise


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
