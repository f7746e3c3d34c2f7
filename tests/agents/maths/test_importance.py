"""Importance weights, by hand."""

import math

import pytest
import torch

from agents.maths.importance import (
    corrected,
    effective_share,
    largest_weight,
    truncated_weights,
)


def test_weights_are_truncated_and_have_no_gradient():
    ratio = torch.tensor([-1e3, -math.log(4), 0.0, math.log(1.5), 1e3], requires_grad=True)
    weights = truncated_weights(ratio, 2.0)
    assert not weights.requires_grad
    torch.testing.assert_close(
        weights, torch.tensor([0.0, 0.25, 1.0, 1.5, 2.0]), atol=1e-8, rtol=1e-6
    )
    given = torch.full((5,), 0.2)
    assert corrected(given, ratio, None) is given
    torch.testing.assert_close(corrected(given, ratio, 2.0), 0.2 * weights)


def test_an_effective_sample_is_all_or_one():
    assert effective_share(4, 4.0, 4.0) == 1.0
    assert effective_share(4, 4.0, 16.0) == 0.25
    assert effective_share(3, 6.0, 14.0) == 36 / 42  # weights 1, 2 and 3


def test_no_ratio_overflows():
    """They are held within 20 nats, without a cap as well."""
    ratios = truncated_weights(torch.tensor([1e3, 20.0, -1e3]), math.inf)
    assert ratios.tolist() == pytest.approx([math.exp(20), math.exp(20), math.exp(-20)], rel=1e-5)


def test_an_engine_is_weighed_by_two_unless_it_is_said_otherwise():
    assert largest_weight(None, is_own=True) is None
    assert largest_weight(None, is_own=False) == 2.0
    assert largest_weight(5.0, is_own=True) == largest_weight(5.0, is_own=False) == 5.0
