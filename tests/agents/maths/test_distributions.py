"""One distribution for sampler, update and reference; draws that follow it."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from agents.maths.distributions import (
    Sampling,
    action_log_probs,
    entropies_of,
    invert,
    kept_by,
    sample,
)

LEGAL = torch.tensor([False, True, True, False, True])


def test_entropies_by_hand_have_finite_gradients():
    """1/2, 1/4, 1/4 and one that is illegal: 1.5 log 2."""
    logits = torch.tensor([2.0, 1.0, 1.0, 9.0]) * math.log(2)
    logits.requires_grad_()
    legal = torch.tensor([True, True, True, False])
    entropy = entropies_of(action_log_probs(logits, legal, 1.0))
    assert entropy.item() == pytest.approx(1.5 * math.log(2))
    entropy.backward()
    # -p (log p + H): -1/2 (-1 + 1.5) log 2, and -1/4 (-2 + 1.5) log 2 twice.
    expected = torch.tensor([-0.25, 0.125, 0.125, 0.0]) * math.log(2)
    torch.testing.assert_close(expected, logits.grad)


def test_is_the_softmax_over_legal_actions():
    logits = torch.tensor([9.0, 1.0, 2.0, 9.0, 3.0])
    probabilities = action_log_probs(logits, LEGAL, 0.5).exp()
    expected = torch.tensor([1.0, 2.0, 3.0]).mul(2).exp()
    torch.testing.assert_close(expected / expected.sum(), probabilities[LEGAL])
    assert not probabilities[~LEGAL].any()


@pytest.mark.parametrize("temperature", [1e-3, 1e-30])
def test_small_temperature_is_greedy_without_nan(temperature):
    """Dividing large logits by almost nothing overflows unless the largest is subtracted first."""
    logits = torch.tensor([0.0, 900.0, -900.0, 5000.0, 901.0])
    assert action_log_probs(logits, LEGAL, temperature).exp().tolist() == [0, 0, 0, 0, 1]


def test_leaves_the_logits_alone_and_computes_in_float32():
    logits = torch.randn(3, 5).bfloat16()
    copy = logits.clone()
    assert action_log_probs(logits, LEGAL, 0.7).dtype is torch.float32
    assert torch.equal(copy, logits)


def _draw(logits, legal, seed):
    uniform = torch.rand(len(logits), generator=torch.Generator().manual_seed(seed))
    return sample(logits, legal, uniform, Sampling())[0]


def test_draws_follow_the_probabilities():
    """A chi-squared test on 100,000 draws, seeded; illegal actions never occur."""
    logits = torch.tensor([0.0, 1.0, 0.0, 0.0, -1.0])
    log_probs = action_log_probs(logits, LEGAL, 1.0)
    actions = _draw(logits.expand(100_000, 5), LEGAL, seed=0)
    counts = torch.bincount(actions, minlength=5)
    assert counts[~LEGAL].tolist() == [0, 0]
    expected = log_probs.exp()[LEGAL].double()
    expected = expected / expected.sum() * 100_000
    assert chisquare(counts[LEGAL].double(), expected).pvalue > 1e-3


def test_the_last_legal_action_is_the_limit():
    """Rounding must not carry a draw beyond the last action of positive probability."""
    actions = _draw(torch.zeros(20_000, 3000), torch.arange(3000) < 2777, seed=1)
    assert int(actions.max()) <= 2776
    assert int(actions.min()) >= 0


def test_a_row_is_drawn_from_its_own_distribution():
    certain = torch.full((4, 4), -1e4).fill_diagonal_(0.0)
    every = torch.ones(4, dtype=torch.bool)
    assert _draw(certain, every, seed=2).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("size", [1, 63, 64, 65, 200, 4096])
def test_inverting_by_blocks_is_inverting_the_whole(size):
    """In float64, where rounding decides nothing; most entries, and whole blocks, are 0."""
    generator = torch.Generator().manual_seed(size)
    probs = torch.rand(500, size, generator=generator, dtype=torch.float64)
    probs *= torch.rand(500, size, generator=generator) < torch.rand(500, 1, generator=generator)
    probs[:, size // 3 : size // 2] = 0
    probs[torch.arange(500), torch.randint(size, (500,), generator=generator)] += 0.1
    uniform = torch.rand(500, generator=generator, dtype=torch.float64)
    uniform[0] = 0.0
    expected = [
        np.searchsorted(row.cumsum(), number * row.sum(), side="right")
        for row, number in zip(probs.numpy(), uniform.numpy(), strict=True)
    ]
    assert invert(probs, uniform).tolist() == expected


def test_the_largest_number_never_draws_what_cannot_be():
    """Sums that rounding makes too small, in float32, with zeros behind the last entry."""
    probs = torch.zeros(300, 1000)
    for row, last in enumerate(torch.randint(1, 1000, (300,), generator=torch.Generator())):
        probs[row, :last] = 0.1
    largest = torch.full((300,), 1 - 2**-24)
    drawn = invert(probs, largest)
    assert bool((probs[torch.arange(300), drawn] > 0).all())


def test_all_of_the_probability_is_no_limit():
    """Where a running sum reaches 1 too early by rounding, top_p=1 must not cut what follows."""
    logits = torch.randn(200, 4096, generator=torch.Generator().manual_seed(3)) * 4
    every, uniform = torch.ones(4096, dtype=torch.bool), torch.full((200,), 0.5)
    assert sample(logits, every, uniform, Sampling(top_p=1.0))[2] is None
    kept = sample(logits, every, uniform, Sampling(top_p=1.0, top_k=4095))[2]
    assert kept.sum(dim=-1).tolist() == [4095] * 200


@pytest.mark.parametrize(
    ("setting", "refused", "taken"),
    [
        ("temperature", [0.0, -1.0, math.nan], [1e-9, 5.0]),
        ("top_k", [0, -1], [None, 1, 100]),
        ("top_p", [0.0, -0.1, 1.1, math.nan], [None, 1e-9, 1.0]),
    ],
)
def test_a_setting_at_the_edge_of_its_range(setting, refused, taken):
    for value in refused:
        with pytest.raises(ValueError, match=f"{setting} must be .*, got {value}"):
            Sampling(**{setting: value})
    for value in taken:
        assert getattr(Sampling(**{setting: value}), setting) == value


def test_without_settings_everything_legal_may_be_drawn_at_temperature_one():
    assert Sampling() == Sampling(temperature=1.0, top_k=None, top_p=None)
    assert Sampling().keeps_all
    assert Sampling(top_p=1.0).keeps_all
    assert not Sampling(top_p=0.9).keeps_all
    assert not Sampling(top_k=3).keeps_all


def test_what_top_k_and_top_p_keep_by_hand():
    """Probabilities 0.4, 0.3, 0.2, 0.1: what is likelier must not reach top_p by itself."""
    shaped = torch.tensor([[0.1, 0.4, 0.2, 0.3, 0.0]]).log()
    kept = {
        (3, None): [False, True, True, True, False],
        (1, None): [False, True, False, False, False],
        (9, None): [True, True, True, True, False],
        (None, 0.39): [False, True, False, False, False],
        (None, 0.5): [False, True, False, True, False],
        (None, 0.8): [False, True, True, True, False],
        (2, 0.5): [False, True, False, False, False],  # of 0.4 and 0.3 it is 4/7
        (None, 1e-9): [False, True, False, False, False],
    }
    for (top_k, top_p), expected in kept.items():
        found = kept_by(shaped, Sampling(top_k=top_k, top_p=top_p))
        assert found.tolist() == [expected], (top_k, top_p)


def test_those_as_likely_as_the_last_one_kept_are_kept():
    shaped = torch.tensor([[0.25, 0.5, 0.25, 0.0]]).log()
    for limits in ({"top_k": 2}, {"top_p": 0.6}):
        assert kept_by(shaped, Sampling(**limits)).tolist() == [[True, True, True, False]]


def test_a_draw_says_its_log_probability_under_what_it_was_drawn_from():
    """Half and half of the two that top_k keeps, of a temperature that changes nothing there."""
    logits = torch.tensor([[2.0, 2.0, 1.0]]).repeat(2, 1)
    sampling = Sampling(top_k=2, temperature=0.5)
    every = torch.ones(3, dtype=torch.bool)
    actions, log_probs, kept = sample(logits, every, torch.tensor([0.1, 0.9]), sampling)
    assert actions.tolist() == [0, 1]
    torch.testing.assert_close(log_probs, torch.full((2,), math.log(0.5)))
    assert kept.tolist() == [[True, True, False]] * 2
    assert sample(logits, every, torch.tensor([0.1, 0.9]), Sampling())[2] is None
