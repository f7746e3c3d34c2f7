"""Drawing ahead is not to be seen: each row draws as a generator of its own would alone."""

import numpy as np
import pytest
from gymnasium.error import Error

from textgym.envs.starts import Draws, restored_on_failure

COUNT = 7
ROWS = np.arange(3)


def make(*seeds, count=COUNT):
    """Draws, and numpy's own generators with the same seeds."""
    draws = Draws(len(seeds), count)
    with draws.seeded(dict(enumerate(seeds))):
        return draws, [np.random.Generator(np.random.PCG64(seed)) for seed in seeds]


def draw(draws, rows=ROWS):
    with draws.drawn(rows) as numbers:
        return numbers.tolist()


def fail(act):
    act()
    raise RuntimeError("no")


def where(generators):
    return [generator.bit_generator.state for generator in generators]


@pytest.mark.parametrize("count", [1, 7, 8, 1500, 2**33])
def test_each_row_draws_what_its_generator_would_alone(count):
    """Rows at different paces, over several times as many draws as are made at once."""
    draws, alone = make(5, 6, 5, count=count)
    pace = np.random.default_rng(0)
    for _ in range(300):
        rows = np.flatnonzero(pace.random(3) < 0.6)
        assert [int(alone[row].integers(count)) for row in rows] == draw(draws, rows)
    assert where(alone) == list(draws.states())
    assert [int(generator.integers(count)) for generator in alone] == draw(draws)


def test_generators_that_are_handed_out_stay_where_they_would_be():
    draws, alone = make(1, 2, 3)
    draw(draws), [generator.integers(COUNT) for generator in alone]
    handed = draws.generators
    for _ in range(5):
        assert where(alone) == where(handed)
        assert handed[1].random() == alone[1].random()
        assert [int(generator.integers(COUNT)) for generator in alone] == draw(draws)


@pytest.mark.parametrize("handed_out", [False, True])
def test_a_block_that_fails_draws_nothing(handed_out):
    draws, alone = make(1, 2, 3)
    if handed_out:
        assert where(alone) == where(draws.generators)
    for _ in range(3):
        with pytest.raises(RuntimeError, match="no"), draws.drawn(ROWS):
            raise RuntimeError("no")
        assert where(alone) == list(draws.states())
        assert [int(generator.integers(COUNT)) for generator in alone] == draw(draws)


def test_new_seeds_are_taken_back_if_the_block_fails():
    draws, alone = make(1, 2, 3)
    draw(draws), [generator.integers(COUNT) for generator in alone]
    with pytest.raises(RuntimeError, match="no"), draws.seeded({1: 9}):
        fail(lambda: draw(draws))
    assert draws.seeds == (1, 2, 3)
    # The other rows drew, and were not seeded; their caller had them draw within the block.
    alone[0].integers(COUNT), alone[2].integers(COUNT)
    assert where(alone) == list(draws.states())
    with pytest.raises(Error, match="Seed must be"), draws.seeded({0: 4, 1: -1}):
        pass
    assert draws.seeds == (1, 2, 3)


def test_generators_are_lent_and_come_back_if_the_block_fails():
    draws, alone = make(1, 2, 3)
    draw(draws), [generator.integers(COUNT) for generator in alone]
    with draws.borrowed(np.array([0, 2])) as lent:
        assert [generator.random() for generator in lent] == [alone[0].random(), alone[2].random()]
    with pytest.raises(RuntimeError, match="no"), draws.borrowed(ROWS) as lent:
        fail(lambda: lent[1].random(10))
    assert where(alone) == list(draws.states())


def test_going_back_forgets_what_was_drawn_ahead():
    draws, _ = make(1, 2, 3)
    draw(draws)
    moment = draws.states()
    first = [draw(draws) for _ in range(100)]
    draws.go_to(moment, draws.seeds)
    assert first == [draw(draws) for _ in range(100)]


def test_a_generator_is_kept_where_it_was_on_failure_only():
    generator, alone = (np.random.default_rng(3) for _ in range(2))
    with pytest.raises(RuntimeError, match="no"), restored_on_failure([generator]):
        fail(generator.random)
    with restored_on_failure([generator]):
        assert generator.random() == alone.random()
    assert generator.random() == alone.random()
