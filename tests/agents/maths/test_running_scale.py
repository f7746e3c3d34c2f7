"""The scale of rewards, by hand and against numpy over everything at once."""

import numpy as np
import pytest
import torch

from agents.maths.running_scale import RunningScale


def test_knows_nothing_at_first():
    scale = RunningScale()
    assert (scale.count, scale.mean, scale.squares) == (0, 0.0, 0.0)
    assert scale.deviation == 1.0


def test_numbers_that_are_all_alike_are_left_as_they_are():
    scale = RunningScale()
    scale.add(torch.tensor([3.0, 3.0]))
    assert (scale.count, scale.mean, scale.deviation) == (2, 3.0, 1.0)


def test_by_hand():
    """1 and 3 have mean 2 and squares 2; with 8, mean 4, and squares 9 + 1 + 16."""
    scale = RunningScale()
    scale.add(torch.tensor([1.0, 3.0]))
    assert (scale.count, scale.mean, scale.squares, scale.deviation) == (2, 2.0, 2.0, 1.0)
    scale.add(torch.tensor([8.0]))
    assert (scale.count, scale.mean, scale.squares) == (3, 4.0, 26.0)
    assert scale.deviation == pytest.approx((26 / 3) ** 0.5)


@pytest.mark.parametrize("size", [1e-3, 0.5, 1e4])
def test_batch_by_batch_is_everything_at_once(size):
    """Also below a variance of 1, and far from 0."""
    numbers = np.random.default_rng(0).normal(7 * size, size, 60)
    scale = RunningScale()
    for batch in np.split(numbers, [1, 4, 30, 31]):
        scale.add(torch.from_numpy(batch))
        seen = numbers[: scale.count]
        assert scale.mean == pytest.approx(seen.mean())
        assert scale.deviation == pytest.approx(seen.std() or 1.0)
    assert scale.count == 60


def test_goes_on_from_its_record():
    whole, first = RunningScale(), RunningScale()
    for scale in (whole, first):
        scale.add(torch.tensor([1.0, 3.0]))
    second = RunningScale(**first.record())
    for scale in (whole, second):
        scale.add(torch.tensor([8.0]))
    assert whole == second
