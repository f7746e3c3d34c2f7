"""AdamW by hand, and the rate's rise and fall."""

import dataclasses

import pytest
import torch

from agents.config import LearnerConfig
from agents.models.policy import TransformerPolicy
from agents.training.optimizers import adam, share_of_rate
from tests.agents.toys import make_model


def _steps(config, gradients):
    """What an optimiser makes of one weight's value of 2 by such gradients, at a rate of 0.1."""
    policy = TransformerPolicy(make_model())
    optimizer, bias = adam(policy, config), policy.value_head.bias
    for group in optimizer.param_groups:
        group["lr"] = 0.1
    bias.data.fill_(2.0)
    for gradient in gradients:
        bias.grad = torch.full_like(bias, gradient)
        optimizer.step()
    return float(bias.detach())


@pytest.mark.parametrize(
    ("first", "second", "decay"), [(0.9, 0.999, 0.0), (0.8, 0.95, 0.0), (0.5, 0.9, 0.3)]
)
def test_two_steps_are_worked_by_hand(first, second, decay):
    config = LearnerConfig(adam_beta1=first, adam_beta2=second, weight_decay=decay)
    value, mean, square = 2.0, 0.0, 0.0
    for step, gradient in enumerate((1.0, -3.0), start=1):
        mean = first * mean + (1 - first) * gradient
        square = second * square + (1 - second) * gradient**2
        value *= 1 - 0.1 * decay
        moved = (mean / (1 - first**step)) / ((square / (1 - second**step)) ** 0.5 + 1e-5)
        value -= 0.1 * moved
    assert _steps(config, (1.0, -3.0)) == pytest.approx(value, rel=1e-4)


def test_without_decay_it_is_adam_to_the_last_bit():
    """So what a seed trained before, it trains now."""
    gradients = [0.3, -0.7, 1e-3, 5.0]
    weight = torch.nn.Parameter(torch.tensor([2.0]))
    plain = torch.optim.Adam([weight], lr=0.1, eps=1e-5)
    for gradient in gradients:
        weight.grad = torch.tensor([gradient])
        plain.step()
    assert _steps(LearnerConfig(), gradients) == float(weight.detach())


@pytest.mark.parametrize(
    ("warmup", "expected"),
    [(0, [1.0, 0.8, 0.6, 0.4, 0.2, 0.2]), (1, [1.0, 0.8, 0.6, 0.4, 0.2, 0.2])],
)
def test_the_rate_falls_to_what_is_left_of_it(warmup, expected):
    config = LearnerConfig(iterations=4, final_rate=0.2, warmup=warmup)
    assert [share_of_rate(config, each) for each in range(6)] == pytest.approx(expected)


def test_the_rate_rises_first():
    """Over three iterations by thirds, of a rate that falls by a tenth of itself an iteration."""
    config = LearnerConfig(iterations=10, final_rate=0.0, warmup=3)
    expected = [1 / 3, 0.9 * 2 / 3, 0.8, 0.7]
    assert [share_of_rate(config, each) for each in range(4)] == pytest.approx(expected)
    flat = dataclasses.replace(config, final_rate=1.0)
    assert [share_of_rate(flat, each) for each in range(4)] == pytest.approx([1 / 3, 2 / 3, 1, 1])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"warmup": -1}, "warmup must be at least 0, got -1"),
        ({"weight_decay": -0.1}, "weight_decay must be at least 0"),
        ({"adam_beta1": 1.0}, r"adam_beta1 must be in \[0, 1\), got 1.0"),
        ({"adam_beta2": -0.5}, r"adam_beta2 must be in \[0, 1\)"),
    ],
)
def test_what_cannot_be_is_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        LearnerConfig(**settings)
