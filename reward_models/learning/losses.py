"""Losses of preference learning: pure functions of score tensors, one value per comparison.

A score is a real number; only differences of scores mean anything until a model is normalised.
With ``delta = chosen - rejected`` the model behind the losses of pairs is Bradley and Terry's,
``P(chosen over rejected) = sigmoid(delta)`` (Biometrika 39, 1952). Rao and Kupper's adds ties to
it, Plackett and Luce's more than two texts; both have it as a special case. Ratings need a loss of
their own, because a number says more than an order.

Simplifications: a ranking has no ties; all ratings come from one scale.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

__all__ = [
    "bradley_terry",
    "centring",
    "noisy_bradley_terry",
    "plackett_luce",
    "rao_kupper",
    "rating_cross_entropy",
    "rating_differences",
    "rating_error",
    "soft_label_bradley_terry",
]


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


def rao_kupper(
    chosen: torch.Tensor, rejected: torch.Tensor, tie: torch.Tensor, threshold: torch.Tensor
) -> torch.Tensor:
    """Negative log-likelihood where a lead below a threshold is often called a tie.

    ``P(chosen) = sigmoid(delta - threshold)`` and ``P(rejected) = sigmoid(-delta - threshold)``;
    what is left to one is the tie's (Rao and Kupper, JASA 62, 1967). At threshold 0 no tie is
    possible, and the rest is Bradley and Terry's.

    Args:
        chosen: Scores of the preferred completions, or of either one of a tie, ``(N,)`` float.
        rejected: Scores of the others, ``(N,)`` float.
        tie: Which answers were ties, ``(N,)`` bool.
        threshold: How large a lead is a coin toss between a win and anything else: one number,
            positive if there are ties. It may be learned.

    Returns:
        ``(N,)`` float, in nats.
    """
    delta = chosen - rejected
    win = F.logsigmoid(delta - threshold)
    # sigmoid(x) - sigmoid(y) = sigmoid(x) sigmoid(-y) (1 - exp(y - x)), which no digit is lost in.
    room = torch.log(-torch.expm1(-2 * threshold)) if bool(tie.any()) else torch.zeros_like(win)
    drawn = F.logsigmoid(delta + threshold) + F.logsigmoid(threshold - delta) + room
    return -torch.where(tie, drawn, win)


def plackett_luce(
    scores: torch.Tensor, mask: torch.Tensor, places: torch.Tensor | int
) -> torch.Tensor:
    """Negative log-likelihood of a ranking: each place is won by a softmax over who is left.

    With K = 2 this is Bradley and Terry's loss. With ``places = 1`` only the best of K is known:
    cross-entropy over the K scores, as in Ziegler et al. 2019, eq. 1 (Plackett, Applied Statistics
    24, 1975; Luce 1959).

    Args:
        scores: Scores in the order of the ranking, the best first, ``(N, K)`` float.
        mask: Which of them are there, ``(N, K)`` bool; the first one of each row is.
        places: How many of the first places are known, a number or ``(N,)`` int64; what comes
            behind them has no order. The last of K places follows from the others.

    Returns:
        ``(N,)`` float, in nats.
    """
    there = scores.masked_fill(~mask, -math.inf)
    left = there.flip(1).logcumsumexp(1).flip(1)  # over a place and all that are behind it
    known = torch.arange(scores.shape[1], device=scores.device) < torch.as_tensor(
        places, device=scores.device
    ).reshape(-1, 1)
    zero = torch.zeros((), dtype=scores.dtype, device=scores.device)
    # A place that does not count is made finite first: inf - inf would poison the gradient.
    counts = known & mask
    return (torch.where(counts, left, zero) - torch.where(counts, scores, zero)).sum(1)


def rating_differences(
    scores: torch.Tensor, ratings: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """Squared error of the differences between the ratings of one prompt's completions.

    The level of a prompt's ratings is left free, so that a prompt which everybody rates low, or an
    annotator who does, teaches nothing wrong.

    Args:
        scores: Scores of one prompt's completions, ``(N, K)`` float.
        ratings: Their ratings, ``(N, K)`` float.
        mask: Which of them are there, ``(N, K)`` bool.

    Returns:
        The mean over the pairs of a row of ``((score_i - score_j) - (rating_i - rating_j))^2``,
        ``(N,)`` float; 0 for a row with fewer than two.
    """
    error = torch.where(mask, scores - ratings, torch.zeros_like(scores))
    number = mask.sum(1).to(scores.dtype)
    # The sum over i < j of (e_i - e_j)^2 is K times the squared errors around their mean.
    mean = error.sum(1, keepdim=True) / number.clamp(min=1).unsqueeze(1)
    spread = torch.where(mask, error - mean, torch.zeros_like(scores)).square().sum(1)
    return 2 * spread / (number - 1).clamp(min=1)


def rating_error(scores: torch.Tensor, ratings: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Squared error of scores taken for ratings: regression, level included.

    Args:
        scores: Scores, ``(N, K)`` float.
        ratings: Ratings, best scaled to mean 0 and variance 1, ``(N, K)`` float.
        mask: Which of them are there, ``(N, K)`` bool, at least one a row.

    Returns:
        The mean of each row, ``(N,)`` float, in squared units of the rating.
    """
    squared = torch.where(mask, (scores - ratings).square(), torch.zeros_like(scores))
    return squared.sum(1) / mask.sum(1)


def rating_cross_entropy(
    scores: torch.Tensor, ratings: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """Cross-entropy of ratings taken for probabilities of a good text, ``sigmoid(score)``.

    Args:
        scores: Scores, which are log-odds here, ``(N, K)`` float.
        ratings: Ratings in [0, 1], such as 1 for a thumb up and 0 for one down, ``(N, K)`` float.
        mask: Which of them are there, ``(N, K)`` bool, at least one a row.

    Returns:
        The mean of each row, ``(N,)`` float, in nats.
    """
    losses = F.binary_cross_entropy_with_logits(scores, ratings, reduction="none")
    return torch.where(mask, losses, torch.zeros_like(losses)).sum(1) / mask.sum(1)
