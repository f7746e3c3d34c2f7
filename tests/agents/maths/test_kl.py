"""The estimators against exact divergences of small distributions."""

import pytest
import torch

from agents.maths.kl import adapted_coefficient, k1, k2, k3, sequence_kl

P = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
Q = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
EXACT = 0.5 * 1.6094379124341003 + 0.3 * 0.4054651081081644 - 0.15 * 0.6931471805599453
EXACT -= 0.05 * 2.0794415416798357  # logs of 5, 1.5, 2 and 8


@pytest.mark.parametrize("estimator", [k1, k3])
def test_is_unbiased(estimator):
    """Its expectation over the policy's own actions is the divergence."""
    assert float((P * estimator((P / Q).log())).sum()) == pytest.approx(EXACT, abs=1e-12)


@pytest.mark.parametrize("estimator", [k2, k3])
def test_is_never_negative(estimator):
    assert (estimator(torch.linspace(-3, 3, 101)) >= 0).all()


def test_k2_is_right_to_second_order():
    """Near the reference, half the squared log-ratio is the divergence."""
    near = P + torch.tensor([1e-4, -1e-4, 1e-4, -1e-4], dtype=torch.float64)
    exact = float((near * (near / P).log()).sum())
    assert float((near * k2((near / P).log())).sum()) == pytest.approx(exact, rel=1e-2)


def test_sequence_kl_sums_over_tokens_and_averages_over_rows():
    """A mean per token would shrink with length, and targets would mean nothing."""
    ratio = torch.tensor([[1.0, 2.0, float("nan")], [0.5, float("inf"), -7.0]])
    mask = torch.tensor([[True, True, False], [True, False, False]])
    assert float(sequence_kl(ratio, mask)) == (3.0 + 0.5) / 2


@pytest.mark.parametrize(
    ("kl", "expected"), [(10.0, 2.0), (11.0, 2.02), (9.0, 1.98), (50.0, 2.04), (0.0, 1.96)]
)
def test_the_coefficient_follows_the_error_up_to_a_fifth(kl, expected):
    """Ziegler et al. with their gain of .1: 2 (1 + .1 clip(kl / 10 - 1, -.2, .2))."""
    assert adapted_coefficient(2.0, kl, target=10.0, gain=0.1) == pytest.approx(expected)


@pytest.mark.parametrize("log_ratio", [-1000.0, -90.0, 90.0, 1000.0])
def test_k3_and_its_gradient_are_finite(log_ratio):
    given = torch.tensor(log_ratio, requires_grad=True)
    value = k3(given)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(given.grad)
