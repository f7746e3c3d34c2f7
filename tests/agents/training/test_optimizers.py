"""AdamW by hand, and the rate's rise and fall."""

import dataclasses

import numpy as np
import pytest
import torch

from agents.config import LearnerConfig
from agents.models.policy import TransformerPolicy
from agents.training.optimizers import Muon, adam, share_of_rate
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


def _by_singular_values(matrix):
    """What five steps of Newton-Schulz do: a polynomial of each singular value, in float64."""
    left, values, right = np.linalg.svd(np.asarray(matrix, np.float64), full_matrices=False)
    values = values / np.sqrt((values**2).sum())
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return left @ np.diag(values) @ right


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4)])
def test_muon_in_float32_is_its_formula(shape):
    """Two steps: momentum .95 with Nesterov's look ahead, decay, a tall matrix moving further."""
    rng = np.random.default_rng(0)
    weights, momentum = rng.normal(size=shape), np.zeros(shape)
    matrix = torch.nn.Parameter(torch.tensor(weights, dtype=torch.float32))
    muon = Muon([matrix], rate=0.1, weight_decay=0.2, bf16=False)
    for _ in range(2):
        gradient = rng.normal(size=shape)
        matrix.grad = torch.tensor(gradient, dtype=torch.float32)
        muon.step()
        momentum = 0.95 * momentum + 0.05 * gradient
        moved = _by_singular_values(0.05 * gradient + 0.95 * momentum)
        weights = weights * (1 - 0.1 * 0.2) - 0.1 * max(1, shape[0] / shape[1]) ** 0.5 * moved
    np.testing.assert_allclose(matrix.detach().numpy(), weights, atol=2e-5)


@pytest.mark.parametrize("shape", [(64, 16), (16, 64)])
def test_muon_differs_from_torch_s_by_rounding_alone(shape):
    """And in bfloat16 by nothing; the state is of one form, so that a run can go on in either."""
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(shape, generator=generator)
    matrices = [torch.nn.Parameter(start.clone()) for _ in range(3)]
    same = {"lr": 0.1, "weight_decay": 0.2, "adjust_lr_fn": "original"}
    optimizers = [
        torch.optim.Muon(matrices[:1], **same),
        *(Muon([m], rate=0.1, weight_decay=0.2, bf16=bf16)
          for m, bf16 in zip(matrices[1:], (True, False), strict=True)),
    ]  # fmt: skip
    for _ in range(3):
        gradient = torch.randn(shape, generator=generator)
        for matrix, optimizer in zip(matrices, optimizers, strict=True):
            matrix.grad = gradient.clone()
            optimizer.step()
    torchs, rounded, whole = (m.detach() - start for m in matrices)
    assert torch.equal(torchs, rounded)
    assert 0 < float((whole - torchs).norm() / torchs.norm()) < 0.03
    optimizers[1].load_state_dict(optimizers[2].state_dict())
    optimizers[1].step()
