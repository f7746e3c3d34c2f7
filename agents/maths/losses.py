"""The terms of objectives, each a weighted sum over actions, or over pairs of texts.

Arrays are ``(N, C)``, a row for each text and a column for each of its actions, or ``(P,)`` for P
pairs of texts. ``weights`` says how much each action or pair counts, and is 0 where there was none;
``token_weights`` and ``text_weights`` make them sum to 1 over a whole minibatch. Losses are sums,
not means, so that a minibatch may be computed in parts of any size, on any number of devices, with
the same gradient: a mean of the parts' means would give more weight to an action in a short part.

A whole text is one action where arrays are ``(N, 1)``: ``clipped_policy_loss`` of sums of
log-probabilities has ratios of whole texts, and of means (``text_means``) their geometric means.

Source: Schulman et al., "Proximal Policy Optimization Algorithms" (2017), and the value clipping of
OpenAI's baselines.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from agents.maths.kl import LARGEST_LOG_RATIO

__all__ = [
    "PolicyLoss",
    "cispo_loss",
    "clipped_policy_loss",
    "clipped_value_loss",
    "dpo_loss",
    "ipo_loss",
    "reinforce_loss",
    "text_means",
    "text_weights",
    "token_weights",
    "weighted_sum",
]


class PolicyLoss(NamedTuple):
    """The policy's loss and what was measured beside it, all scalars."""

    loss: Tensor
    clip_fraction_low: Tensor
    """Share of actions that had become less likely and whose gradient was clipped."""
    clip_fraction_high: Tensor
    """Share of actions that had become more likely and whose gradient was clipped, or, in
    ``cispo_loss``, its importance weight."""
    approximate_kl: Tensor
    """KL from the collecting policy to the current one, by k3: the weighted mean over what
    ``log_probs`` holds, in nats per action, or per text where it holds whole texts."""
    bounded_fraction: Tensor
    """Share of actions whose log-ratio was held within plus and minus ``LARGEST_LOG_RATIO``."""

    def measured(self) -> dict[str, Tensor]:
        """The measurements that a learner logs, by name."""
        return {
            "policy_loss": self.loss,
            "clip_fraction": self.clip_fraction_low + self.clip_fraction_high,
            "approximate_kl": self.approximate_kl,
            "bounded_fraction": self.bounded_fraction,
        }


def token_weights(mask: Tensor, total: Tensor | float | None = None) -> Tensor:
    """Weights by which every action counts the same.

    Args:
        mask: ``(N, C)`` bools, true where an action was taken.
        total: How many there are in all of the minibatch's parts; ``None`` for this one's.
    """
    return mask.float() / (mask.sum() if total is None else total)


def text_weights(mask: Tensor, texts: Tensor | float | None = None) -> Tensor:
    """Weights by which every text counts the same, however long, and within it every action.

    Args:
        mask: ``(N, C)`` bools, true where an action counts; a row without one weighs nothing.
        texts: How many there are in all of the minibatch's parts; ``None`` for this one's.
    """
    actions = mask.sum(dim=1, keepdim=True).clamp(min=1)
    return mask.float() / (actions * (len(mask) if texts is None else texts))


def text_means(x: Tensor, mask: Tensor) -> Tensor:
    """The mean of each text's actions, ``(N, 1)``.

    Of log-ratios, its exponential is the ratio of whole texts to the power of one over their
    lengths: Zheng et al., "Group Sequence Policy Optimization" (2025), equation 7.

    Args:
        x: ``(N, C)``; where the mask is false it may be anything.
        mask: ``(N, C)`` bools, true somewhere in every row.
    """
    return torch.where(mask, x, 0.0).sum(dim=1, keepdim=True) / mask.sum(dim=1, keepdim=True)


def weighted_sum(x: Tensor, weights: Tensor) -> Tensor:
    """The sum of ``x * weights``; where the weight is 0, ``x`` may be NaN or infinite."""
    return (torch.where(weights != 0, x, 0.0) * weights).sum()


def clipped_policy_loss(
    log_probs: Tensor,
    old_log_probs: Tensor,
    advantages: Tensor,
    weights: Tensor,
    clip: float,
    clip_high: float | None = None,
    dual_clip: float | None = None,
) -> PolicyLoss:
    """The clipped surrogate, ``sum(w * max(-A * r, -A * clip(r, 1 - clip, 1 + clip_high)))``.

    Log-ratios are held within plus and minus ``LARGEST_LOG_RATIO``, beyond which there is no
    gradient; what was held is counted.

    Args:
        log_probs: ``(N, C)``, of the actions under the current policy, with gradient.
        old_log_probs: ``(N, C)``, under the policy that acted.
        advantages: ``(N, C)``.
        weights: ``(N, C)``.
        clip: How far the ratio may move from 1 before it stops paying.
        clip_high: The same upwards; ``None`` for ``clip``. Yu et al. 2025 (DAPO) take more.
        dual_clip: The ratio at which an action with a negative advantage stops costing more, above
            1; ``None`` for none. Source: Ye et al., "Mastering Complex Control in MOBA Games with
            Deep Reinforcement Learning" (2020), equation 5.
    """
    plain_ratio, log_ratio = _log_ratios(log_probs, old_log_probs, weights)
    ratio = log_ratio.exp()
    high = clip if clip_high is None else clip_high
    plain = -advantages * ratio
    clipped = -advantages * ratio.clamp(1 - clip, 1 + high)
    worse = torch.maximum(plain, clipped)
    if dual_clip is not None:
        bound = torch.where(advantages < 0, -advantages * dual_clip, torch.inf)
        worse = torch.minimum(worse, bound)
    return _measured(weighted_sum(worse, weights), plain_ratio, clipped > plain, weights)


def cispo_loss(
    log_probs: Tensor,
    old_log_probs: Tensor,
    advantages: Tensor,
    weights: Tensor,
    clip_high: float,
) -> PolicyLoss:
    """The policy gradient by importance weights with a bound, ``-sum(w * A * min(r, b) * log p)``.

    The importance weight, ``min(r, 1 + clip_high)``, has no gradient, so that every action keeps
    its own, at most ``1 + clip_high`` times, where the clipped surrogate lets go of those that have
    moved far. There is no lower bound. The value says nothing; its gradient is what is meant.

    Source: MiniMax, "MiniMax-M1: Scaling Test-Time Compute Efficiently with Lightning Attention"
    (2025), equations 4 and 5, with a lower bound so low that it never binds, as there.

    Args:
        log_probs: ``(N, C)``, of the actions under the current policy, with gradient.
        old_log_probs: ``(N, C)``, under the policy that acted.
        advantages: ``(N, C)``.
        weights: ``(N, C)``.
        clip_high: How far above 1 an importance weight may be.
    """
    plain_ratio, log_ratio = _log_ratios(log_probs.detach(), old_log_probs, weights)
    ratio = log_ratio.exp()
    importance = ratio.clamp(max=1 + clip_high)
    loss = weighted_sum(-advantages * importance * log_probs, weights)
    return _measured(loss, plain_ratio, ratio > importance, weights)


def reinforce_loss(
    log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor, weights: Tensor
) -> PolicyLoss:
    """The policy gradient itself, ``-sum(w * A * log p)``, which knows no policy that acted.

    Source: Williams, "Simple Statistical Gradient-Following Algorithms for Connectionist
    Reinforcement Learning" (1992).

    Args:
        log_probs: ``(N, C)``, of the actions under the current policy, with gradient.
        old_log_probs: ``(N, C)``, under the policy that acted; for what is measured alone.
        advantages: ``(N, C)``.
        weights: ``(N, C)``.
    """
    plain_ratio, _ = _log_ratios(log_probs, old_log_probs, weights)
    loss = weighted_sum(-advantages * log_probs, weights)
    return _measured(loss, plain_ratio, torch.zeros_like(weights, dtype=torch.bool), weights)


def _log_ratios(log_probs: Tensor, old_log_probs: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Log-ratios as they are, 0 where nothing counts, and those held within their bounds."""
    plain = torch.where(weights != 0, log_probs - old_log_probs, 0.0)
    return plain, plain.clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO)


@torch.no_grad()
def _measured(loss: Tensor, plain_ratio: Tensor, clipped: Tensor, weights: Tensor) -> PolicyLoss:
    """A loss and what is measured beside it.

    Args:
        loss: A scalar with gradient.
        plain_ratio: Log-ratios before they were held, ``(N, C)``.
        clipped: Where the clip took hold, ``(N, C)`` bool.
        weights: ``(N, C)``.
    """
    log_ratio = plain_ratio.clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO)
    return PolicyLoss(
        loss,
        weighted_sum((clipped & (log_ratio < 0)).float(), weights),
        weighted_sum((clipped & (log_ratio > 0)).float(), weights),
        weighted_sum(torch.expm1(log_ratio) - log_ratio, weights),
        weighted_sum((plain_ratio != log_ratio).float(), weights),
    )


def clipped_value_loss(
    values: Tensor, old_values: Tensor, returns: Tensor, weights: Tensor, clip: float | None
) -> Tensor:
    """Half the squared error, the worse of the plain and the clipped prediction.

    Args:
        values: ``(N, C)`` predictions with gradient.
        old_values: ``(N, C)`` predictions when the data was collected.
        returns: ``(N, C)`` targets.
        weights: ``(N, C)``.
        clip: How far a prediction may move from the old one; None leaves it free.

    Returns:
        A scalar.
    """
    # Masked before anything is computed of them: a gradient of 0 times infinity is NaN.
    values = torch.where(weights != 0, values, 0.0)
    error = (values - returns).square()
    if clip is not None:
        near = old_values + (values - old_values).clamp(-clip, clip)
        error = torch.maximum(error, (near - returns).square())
    return 0.5 * weighted_sum(error, weights)


def dpo_loss(
    margins: Tensor, weights: Tensor, beta: float, label_smoothing: float | Tensor = 0.0
) -> Tensor:
    """Direct preference optimisation's, ``sum(w * -log sigmoid(beta * margin))``.

    Source: Rafailov et al., "Direct Preference Optimization" (2023), equation 7; with smoothing,
    Mitchell, "A note on DPO with noisy preferences" (2023).

    Args:
        margins: How much more the policy has raised the chosen text's log-probability over the
            reference's than the rejected text's, ``(P,)`` in nats, with gradient.
        weights: ``(P,)``, of sum 1 over a whole minibatch.
        beta: Price of KL. Higher keeps the policy nearer to the reference.
        label_smoothing: Share of the answers that are taken to be wrong, at most 0.5; of all, or
            of each pair, ``(P,)``. At 0.5 a pair is a tie.

    Returns:
        A scalar; log 2 where the policy is the reference.
    """
    logits = beta * margins
    right, wrong = -logsigmoid(logits), -logsigmoid(-logits)
    return ((1 - label_smoothing) * right + label_smoothing * wrong).mul(weights).sum()


def ipo_loss(margins: Tensor, weights: Tensor, beta: float, doubt: float | Tensor = 0.0) -> Tensor:
    """Identity preference optimisation's, ``sum(w * (margin - 1 / (2 * beta)) ** 2)``.

    Its minimum is at a finite margin, where that of ``dpo_loss``, if all answers to a pair agree,
    is at infinity. Source: Azar et al., "A General Theoretical Paradigm to Understand Learning from
    Human Preferences" (2023), equation 17.

    Args:
        margins: As in ``dpo_loss``.
        weights: As there.
        beta: Price of KL. Higher asks for a smaller margin.
        doubt: How likely the rejected text is the better one, at most 0.5, of all or ``(P,)``: that
            much of the square is the one with the answer turned round, which is the expectation in
            equation 17. The minimum is at ``(1 - 2 * doubt) / (2 * beta)``.

    Returns:
        A scalar.
    """
    wanted = 1 / (2 * beta)
    right, wrong = (margins - wanted).square(), (margins + wanted).square()
    return ((1 - doubt) * right + doubt * wrong).mul(weights).sum()
