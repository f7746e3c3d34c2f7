"""Advantages against a plain loop, against their limits, and with rubbish outside the mask."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from stable_baselines3.common.utils import explained_variance as theirs
from torch.utils._python_dispatch import TorchDispatchMode

from agents.maths.advantages import (
    decoupled_advantages,
    explained_variance,
    generalised_advantages,
    group_advantages,
    has_contrast,
    leave_one_out,
    less_group_mean,
    masked_mean,
    overlong_punishment,
    standardise,
    to_unit_variance,
)


def _episodes(seed, rows=5, steps=7):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, steps + 1, rows)
    mask = torch.tensor(np.arange(steps) < lengths[:, None])
    rewards, values = (torch.tensor(rng.normal(size=(rows, steps))) for _ in range(2))
    return rewards, values, mask, lengths


@given(seed=st.integers(0, 10**6), gamma=st.floats(0, 1), lam=st.floats(0, 1))
def test_equals_the_definition_row_by_row(seed, gamma, lam):
    """The masked batch gives what the sum over deltas gives for each episode alone."""
    rewards, values, mask, lengths = _episodes(seed)
    advantages, returns = generalised_advantages(rewards, values, mask, gamma=gamma, lam=lam)
    for row, length in enumerate(lengths):
        r, v = rewards[row, :length].tolist(), [*values[row, :length].tolist(), 0.0]
        delta = [r[t] + gamma * v[t + 1] - v[t] for t in range(length)]
        for t in range(length):
            expected = sum((gamma * lam) ** k * d for k, d in enumerate(delta[t:]))
            assert expected == pytest.approx(float(advantages[row, t]), abs=1e-9)
            assert expected + v[t] == pytest.approx(float(returns[row, t]), abs=1e-9)
        assert not advantages[row, length:].any()
        assert not returns[row, length:].any()


def _by_loop(rewards, values, mask, gamma, lam, bootstrap):
    """The recurrence as it is written, action by action."""
    advantages = torch.zeros_like(values)
    for row in range(len(rewards)):
        following, running = bootstrap[row], 0.0
        for t in reversed(range(int(mask[row].sum()))):
            delta = rewards[row, t] + gamma * following - values[row, t]
            running = delta + gamma * lam * running
            advantages[row, t], following = running, values[row, t]
    return advantages


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 1.0), (0.99, 0.95), (0.5, 0.0), (0.0, 1.0)])
@pytest.mark.parametrize("steps", [1, 2, 300])
def test_the_scan_is_the_loop(gamma, lam, steps):
    """Also in float32, for texts cut off, and in few operations: some 30 for each doubling."""
    rewards, values, mask, _ = (
        each.float() if hasattr(each, "float") and each.dtype == torch.float64 else each
        for each in _episodes(5, rows=6, steps=steps)
    )
    bootstrap = torch.tensor([3.0, 0.0, -2.0, 0.0, 0.0, 1.0])
    counted = _Operations()
    with counted:
        advantages, returns = generalised_advantages(
            rewards, values, mask, gamma=gamma, lam=lam, bootstrap=bootstrap
        )
    expected = _by_loop(*(x.double() for x in (rewards, values)), mask, gamma, lam, bootstrap)
    torch.testing.assert_close(expected.float(), advantages, atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(
        torch.where(mask, expected + values, 0.0).float(), returns, atol=2e-5, rtol=1e-5
    )
    assert counted.count < 100


class _Operations(TorchDispatchMode):
    """Counts torch's operations."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += 1
        return func(*args, **(kwargs or {}))


def test_lambda_one_without_discount_is_return_minus_value():
    """At gamma = lambda = 1 the advantage is what was still to come, minus its prediction."""
    rewards, values, mask, _ = _episodes(3)
    advantages, _ = generalised_advantages(rewards, values, mask, gamma=1.0, lam=1.0)
    to_come = torch.where(mask, rewards, 0.0).flip(1).cumsum(1).flip(1)
    torch.testing.assert_close(torch.where(mask, to_come - values, 0.0), advantages)


def test_only_a_cut_off_row_is_bootstrapped():
    """Termination is worth 0 beyond its end; a time limit is worth the next state's value."""
    rewards, values = torch.zeros(2, 3), torch.zeros(2, 3)
    mask = torch.tensor([[True, True, False], [True, True, True]])
    advantages, _ = generalised_advantages(
        rewards, values, mask, gamma=0.5, lam=1.0, bootstrap=torch.tensor([8.0, 0.0])
    )
    assert advantages.tolist() == [[2.0, 4.0, 0.0], [0.0, 0.0, 0.0]]


def test_nan_outside_the_mask_does_no_harm():
    """NaN times zero is NaN: what is masked must be replaced, not multiplied."""
    rewards, values, mask, _ = _episodes(1)
    clean = generalised_advantages(rewards, values, mask, gamma=0.9, lam=0.9)
    rewards[~mask], values[~mask] = float("nan"), float("inf")
    dirty = generalised_advantages(rewards, values, mask, gamma=0.9, lam=0.9)
    for expected, actual in zip(clean, dirty, strict=True):
        assert torch.equal(expected, actual)
    assert torch.isfinite(masked_mean(rewards, mask))
    assert torch.isfinite(standardise(rewards, mask)).all()


def test_standardise_gives_mean_zero_and_variance_one_over_the_mask():
    rewards, _, mask, _ = _episodes(7)
    result = standardise(rewards * 5 + 3, mask)[mask]
    assert float(result.mean()) == pytest.approx(0.0, abs=1e-9)
    assert float(result.var(correction=0)) == pytest.approx(1.0, abs=1e-6)


def test_standardise_of_equal_values_is_zero():
    """No spread, no signal: neither NaN nor noise blown up, however large the values are.

    In float32 the mean of 91 times 1000.1 is another number, a deviation of half an epsilon away.
    """
    for value in (0.1, 4.2, 1000.1, 12345.6):
        for shape in ((3, 2), (13, 7), (64, 33)):
            result = standardise(torch.full(shape, value), torch.ones(shape, dtype=torch.bool))
            assert not result.any(), (value, shape)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 2.0, 3.0, 6.0], 1.0),
        ([11.0, 12.0, 13.0, 16.0], 1.0),  # off by the same everywhere: it was below -20
        ([3.0, 3.0, 3.0, 3.0], 0.0),
        ([-1.0, -2.0, -3.0, -6.0], -3.0),
        ([0.0, 2.0, 4.0, 6.0], 1 - 0.5 / 3.5),  # left are 1, 0, -1, 0
    ],
)
def test_explained_variance_by_hand_and_as_stable_baselines3_has_it(values, expected):
    returns, predicted = torch.tensor([1.0, 2.0, 3.0, 6.0]), torch.tensor(values)
    assert theirs(predicted.numpy(), returns.numpy()) == pytest.approx(expected)
    apart = torch.tensor([[True] * 4 + [False]])
    returns, predicted = (
        torch.cat([x, torch.tensor([torch.nan])])[None] for x in (returns, predicted)
    )
    found = explained_variance(predicted, returns, apart)
    assert float(found) == pytest.approx(expected, abs=1e-6)


def test_parts_are_compared_apart_and_then_scaled_over_the_batch_by_hand():
    """Two groups of two, and parts whose sizes differ a hundredfold, weighed 1 and 3.

    By the first part -1 1 0 0, by the second 1 -1 1 -1: in all 2 -2 3 -3, of deviation sqrt(6.5).
    What is summed first has the first part's say in the first group alone: -1 1.
    """
    scores = torch.tensor([[0.0, 0.02], [100.0, 0.01], [7.0, 0.9], [7.0, 0.3]])
    weights = torch.tensor([1.0, 3.0])
    expected = torch.tensor([2.0, -2.0, 3.0, -3.0]) / 6.5**0.5
    torch.testing.assert_close(decoupled_advantages(scores, weights, 2, scale=True), expected)
    centred = torch.tensor([-50 + 0.015, 50 - 0.015, 0.9, -0.9])
    expected = centred / centred.square().mean().sqrt()
    torch.testing.assert_close(decoupled_advantages(scores, weights, 2, scale=False), expected)


def test_where_no_part_tells_texts_apart_nothing_is_an_advantage():
    scores = torch.tensor([[0.1, 0.7]]).repeat(6, 1)
    assert not decoupled_advantages(scores, torch.ones(2), 3, scale=True).any()
    assert not has_contrast(scores, 3).any()


def test_a_group_has_contrast_where_any_part_tells_two_of_its_texts_apart():
    scores = torch.tensor([[1.0, 2.0], [1.0, 2.0], [1.0, 2.0], [1.0, 3.0], [0.0, 0.0], [2.0, 0.0]])
    assert has_contrast(scores, 2).tolist() == [False, True, True]
    assert has_contrast(scores[:, 0], 2).tolist() == [False, False, True]
    assert has_contrast(scores.sum(dim=1), 3).tolist() == [False, True]


def _group_of(spread, level):
    """Two scores that lie so far on either side of a level, in float64."""
    return torch.tensor([level - spread, level + spread], dtype=torch.float64)


@pytest.mark.parametrize(("level", "least"), [(0.0, 1e-6), (0.5, 1e-6), (1e3, 1e-3), (-1e3, 1e-3)])
def test_a_spread_is_rounding_below_a_millionth_of_the_scores_or_of_one(level, least):
    """On either side of that, for scores of any size and sign."""
    told = group_advantages(_group_of(1.5 * least, level), 2, scale=True)
    torch.testing.assert_close(told, told.new_tensor([-1.0, 1.0]), atol=1e-6, rtol=0)
    assert not group_advantages(_group_of(0.7 * least, level), 2, scale=True).any()


def test_what_hardly_varies_is_scaled_by_the_root_of_a_hundred_millionth():
    """By hand: of variance 1e-8, numbers are 1e-4 / sqrt(2e-8), and half of the noise is left."""
    x, mask = _group_of(1e-4, 2.0), torch.ones(2, dtype=torch.bool)
    expected = x.new_tensor([-1.0, 1.0]) / 2**0.5
    torch.testing.assert_close(standardise(x, mask), expected, atol=1e-6, rtol=0)
    same = torch.full((2,), 2.0, dtype=torch.float64)
    assert float(explained_variance(x, same, mask)) == pytest.approx(0.0, abs=1e-6)


def test_unit_variance_keeps_the_mean_and_is_zero_outside_the_mask():
    """1, 3 and 8 outside: mean 2, deviation 1. 10, 30: mean 20, deviation 10."""
    mask = torch.tensor([[True, True, False]])
    for factor, expected in ((1.0, [1.0, 3.0, 0.0]), (10.0, [19.0, 21.0, 0.0])):
        found = to_unit_variance(torch.tensor([[1.0, 3.0, 8.0]]) * factor, mask)
        torch.testing.assert_close(found, torch.tensor([expected]))


def test_group_advantages_by_hand():
    """Scores 1, 3 of one prompt and 5, 5 of another: equal ones teach nothing, and are not NaN."""
    scores = torch.tensor([1.0, 3.0, 5.0, 5.0])
    assert group_advantages(scores, 2, scale=False).tolist() == [-1.0, 1.0, 0.0, 0.0]
    assert group_advantages(scores * 10, 2, scale=True).tolist() == [-1.0, 1.0, 0.0, 0.0]
    three = torch.tensor([0.0, 0.0, 6.0])  # mean 2, deviation sqrt(8)
    expected = torch.tensor([-2.0, -2.0, 4.0]) / 8**0.5
    torch.testing.assert_close(expected, group_advantages(three, 3, scale=True))


@pytest.mark.parametrize("group", range(2, 13))
def test_a_group_of_equal_scores_teaches_nothing_whatever_they_are(group):
    """In float32 their mean may be the next number, and 4e-6 over 4e-6 an advantage of 1 for all.

    So may two roundings of one score be, as a sum of dense rewards is one.
    """
    scores = torch.linspace(0.1, 99.9, 200).repeat_interleave(group)
    assert not group_advantages(scores, group, scale=True).any()
    assert not leave_one_out(scores, group).any()
    apart = scores.clone()
    apart[::group] = torch.nextafter(apart[::group], torch.tensor(torch.inf))
    assert not group_advantages(apart, group, scale=True).any()


def test_leave_one_out_by_hand():
    """Of 1, 2, 6 the others' means are 4, 3.5 and 1.5; of one there is no other."""
    scores = torch.tensor([1.0, 2.0, 6.0])
    assert leave_one_out(scores, 3).tolist() == [-3.0, -1.5, 4.5]
    with pytest.raises(ValueError, match="at least 2 completions"):
        leave_one_out(scores, 1)


def test_a_groups_mean_is_taken_off_the_last_reward_by_hand():
    """Paid 3 and 1 in all, so 2 on average, whatever is behind a text's end."""
    rewards = torch.tensor([[1.0, 2.0, 9.0], [0.0, 0.0, 1.0], [5.0, 7.0, 7.0], [5.0, 7.0, 7.0]])
    mask = torch.tensor(
        [[True, True, False], [True] * 3, [True, False, False], [True, False, False]]
    )
    less = torch.where(mask, less_group_mean(rewards, mask, 2), 0.0)
    assert less.tolist() == [[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0] * 3, [0.0] * 3]
    alike = torch.linspace(0.1, 99.9, 200).repeat_interleave(7)[:, None]
    assert not less_group_mean(alike, torch.ones_like(alike, dtype=torch.bool), 7).any()


def test_long_texts_cost_more_and_more_by_hand():
    """Of six actions at most the last three cost a third each; of the last one alone, all."""
    lengths = torch.arange(1, 7)
    expected = torch.tensor([0, 0, 0, -1 / 3, -2 / 3, -1])
    torch.testing.assert_close(overlong_punishment(lengths, 6, 3), expected)
    assert overlong_punishment(lengths, 6, 1).tolist() == [0, 0, 0, 0, 0, -1]
