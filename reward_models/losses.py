"""Losses of preference learning: pure functions of score tensors, one value per pair.

A score is a real number; only differences of scores mean anything until a model is normalised.
With ``delta = chosen - rejected`` the model behind every function here is Bradley and Terry's,
``P(chosen over rejected) = sigmoid(delta)`` (Biometrika 39, 1952).

Simplifications: pairs only, no K-wise softmax; ties enter as soft labels, without a tie threshold.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

__all__ = ["bradley_terry", "centring", "noisy_bradley_terry", "soft_label_bradley_terry"]


def bradley_terry(
    chosen: torch.Tensor, rejected: torch.Tensor, margin: float | torch.Tensor = 0.0
) -> torch.Tensor:
    """Negative log-likelihood of the choice, ``-log sigmoid(chosen - rejected - margin)``.

    Args:
        chosen: Scores of the preferred completions, ``(N,)`` float.
        rejected: Scores of the others, ``(N,)`` float.
        margin: How much better the preferred one should be, a number or ``(N,)``. Llama 2 used
            one from the strength of the preference (Touvron et al. 2023, eq. 2).

    Returns:
        ``(N,)`` float, in nats; ``log 2`` where the scores differ by the margin exactly.
    """
    return -F.logsigmoid(chosen - rejected - margin)


def soft_label_bradley_terry(
    score_a: torch.Tensor, score_b: torch.Tensor, probability_a: torch.Tensor
) -> torch.Tensor:
    """Cross-entropy against a probability, ``-p log sigmoid(a - b) - (1 - p) log sigmoid(b - a)``.

    Args:
        score_a: Scores of the first completions, ``(N,)`` float.
        score_b: Scores of the second completions, ``(N,)`` float.
        probability_a: How likely the first one is preferred, ``(N,)`` in [0, 1]: the share of the
            votes, or .5 for a tie.

    Returns:
        ``(N,)`` float, in nats; lowest where ``sigmoid(a - b)`` is the probability.
    """
    delta = score_a - score_b
    return -probability_a * F.logsigmoid(delta) - (1 - probability_a) * F.logsigmoid(-delta)


def noisy_bradley_terry(chosen: torch.Tensor, rejected: torch.Tensor, noise: float) -> torch.Tensor:
    """Negative log-likelihood when some answers are coin tosses.

    ``P = noise / 2 + (1 - noise) sigmoid(chosen - rejected)`` (Christiano et al. 2017, section
    2.2.3). An annotator who flips a share ``q`` of the answers has ``noise = 2 q``. The loss is
    bounded by ``-log(noise / 2)``, so that one absurd answer cannot dominate a batch.

    Args:
        chosen: Scores of the preferred completions, ``(N,)`` float.
        rejected: Scores of the others, ``(N,)`` float.
        noise: The share of coin tosses, in [0, 1).

    Returns:
        ``(N,)`` float, in nats.

    Raises:
        ValueError: If ``noise`` is outside [0, 1).
    """
    if not 0.0 <= noise < 1.0:
        raise ValueError(f"noise is {noise}, but a share of coin tosses lies in [0, 1)")
    log_choice = math.log1p(-noise) + F.logsigmoid(chosen - rejected)
    if noise == 0.0:
        return -log_choice
    # In log space, because sigmoid underflows in float32 from a difference of about -104.
    return -torch.logaddexp(log_choice, torch.full_like(log_choice, math.log(noise / 2)))


def centring(chosen: torch.Tensor, rejected: torch.Tensor) -> torch.Tensor:
    """Penalty that keeps scores near zero, ``(chosen + rejected)^2``.

    Bradley-Terry leaves the level of the scores free; a small multiple of this (about .01) fixes
    it without touching the differences (Eisenstein et al. 2023, eq. 2).

    Args:
        chosen: Scores of the preferred completions, ``(N,)`` float.
        rejected: Scores of the others, ``(N,)`` float.

    Returns:
        ``(N,)`` float, in squared score units.
    """
    return (chosen + rejected) ** 2
