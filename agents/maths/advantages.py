"""From rewards and values to advantages and returns.

Arrays of actions are ``(N, C)``: row ``n`` is one episode, column ``t`` its action ``t``.
``mask[n, t]`` is true where row ``n`` was still open before step ``t``; the true entries of a row
are its first ones.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "decoupled_advantages",
    "explained_variance",
    "generalised_advantages",
    "group_advantages",
    "has_contrast",
    "leave_one_out",
    "less_group_mean",
    "masked_mean",
    "overlong_punishment",
    "standardise",
    "to_unit_variance",
]

_NO_SPREAD = 1e-6  # a standard deviation below this is rounding; relative, for scores above 1


def generalised_advantages(
    rewards: Tensor,
    values: Tensor,
    mask: Tensor,
    *,
    gamma: float,
    lam: float,
    bootstrap: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation over whole episodes.

    With ``delta_t = r_t + gamma * v_{t+1} - v_t`` the advantage is
    ``A_t = delta_t + gamma * lam * A_{t+1}`` (Schulman et al. 2016, equation 16). The value after a
    row's last action is 0, since the episode terminated there, unless ``bootstrap`` gives one.

    The recurrence is a scan (Blelloch 1990; in the doubling form of Hillis and Steele 1986): sums
    of 1, 2, 4 and more steps, so a text of C actions takes about log2(C) operations and not C.

    Args:
        rewards: ``(N, C)`` floats; entries outside the mask are ignored, whatever they hold.
        values: ``(N, C)`` floats, the value of the state *before* each action.
        mask: ``(N, C)`` bools.
        gamma: Discount in [0, 1].
        lam: Weight of longer estimates in [0, 1]; 1 gives ``return - value``, 0 gives ``delta``.
        bootstrap: ``(N,)`` values of the final states, for rows that an outside time limit cut off;
            0 for rows that terminated; ``None`` if all did.

    Returns:
        Advantages and returns (``advantages + values``), both ``(N, C)`` and 0 outside the mask.
    """
    after_end = torch.zeros_like(values[:, 0]) if bootstrap is None else bootstrap
    goes_on = F.pad(mask[:, 1:], (0, 1))
    next_value = torch.where(goes_on, F.pad(values[:, 1:], (0, 1)), after_end[:, None])
    advantages = torch.where(mask, rewards + gamma * next_value - values, 0.0)
    reach, share = 1, gamma * lam  # each advantage is the sum over so many steps so far
    while reach < mask.shape[1] and share:
        advantages = advantages + share * F.pad(advantages[:, reach:], (0, reach))
        reach, share = 2 * reach, share * share
    return advantages, torch.where(mask, advantages + values, 0.0)


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """The mean of ``x`` where ``mask`` is true; elsewhere ``x`` may be NaN or infinite.

    Args:
        x: Any shape.
        mask: Bools of the same shape, at least one of them true.

    Returns:
        A scalar.
    """
    return torch.where(mask, x, 0.0).sum() / mask.sum()


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> Tensor:
    """How much values foresee of returns: ``1 - Var(returns - values) / Var(returns)``.

    As Stable-Baselines3 has it: values that are all off by the same lose nothing.

    Args:
        values: Predictions, of any shape; where the mask is false they may be anything.
        returns: What came, of the same shape, likewise.
        mask: Bools of the same shape, at least one of them true.

    Returns:
        A scalar: 1 for the best, 0 for a constant, below 0 for what is worse than one.
    """
    left, variance = (
        masked_mean((x - masked_mean(x, mask)) ** 2, mask) for x in (returns - values, returns)
    )
    return 1 - left / (variance + 1e-8)


def standardise(x: Tensor, mask: Tensor) -> Tensor:
    """Shifts and scales ``x`` to mean 0 and (population) variance 1 over the mask.

    Args:
        x: Any shape.
        mask: Bools of the same shape. With fewer than two true entries, or with equal ones, the
            result is 0 there.

    Returns:
        The same shape, 0 outside the mask.
    """
    highest = torch.where(mask, x, -torch.inf).amax()
    below = torch.where(mask, x - highest, 0.0)  # see _below_highest
    centred = below - masked_mean(below, mask)
    variance = masked_mean(centred**2, mask)
    return torch.where(mask, centred * torch.rsqrt(variance + 1e-8), 0.0)


def to_unit_variance(x: Tensor, mask: Tensor) -> Tensor:
    """Scales ``x`` to (population) variance 1 over the mask, around its own mean.

    What Ziegler et al. (2019) call whitening without shifting the mean.

    Args:
        x: Any shape.
        mask: Bools of the same shape.

    Returns:
        The same shape, 0 outside the mask.
    """
    mean = masked_mean(x, mask)
    return torch.where(mask, standardise(x, mask) + mean, 0.0)


def group_advantages(scores: Tensor, group: int, *, scale: bool) -> Tensor:
    """How much better each completion is than the others of its prompt.

    Shao et al. 2024 (DeepSeekMath), section 4.1.2: the score less the group's mean, divided by its
    standard deviation. Without ``scale``, prompts whose completions score nearly alike do not weigh
    more than others (Liu et al. 2025, Dr. GRPO). The paper does not say of which deviation; others
    divide by the sample's, which is larger by ``sqrt(n / (n - 1))``.

    Args:
        scores: ``(N,)``, the completions of a prompt next to each other.
        group: Completions of one prompt, a divisor of N.
        scale: Whether to divide by the (population) standard deviation.

    Returns:
        ``(N,)``; 0 where all of a group have the same score.
    """
    by_prompt = scores.reshape(-1, group)
    below = _below_highest(by_prompt)
    centred = below - below.mean(dim=1, keepdim=True)
    if scale:
        spread = centred.square().mean(dim=1, keepdim=True).sqrt()
        rounding = _NO_SPREAD * by_prompt.abs().amax(dim=1, keepdim=True).clamp(min=1)
        centred = torch.where(spread > rounding, centred / spread, 0.0)
    return centred.flatten()


def has_contrast(scores: Tensor, group: int) -> Tensor:
    """Which groups have completions that are not all scored alike, ``(N / group,)`` bool.

    Args:
        scores: ``(N,)``, the completions of a prompt next to each other, or several of each,
            ``(N, K)``.
        group: Completions of one prompt, a divisor of N.
    """
    apart = scores.reshape(len(scores) // group, group, -1)
    return (apart != apart[:, :1]).flatten(1).any(dim=1)


def decoupled_advantages(scores: Tensor, weights: Tensor, group: int, *, scale: bool) -> Tensor:
    """How much better each completion is than the others of its prompt, each part of it apart.

    The advantages of a prompt's completions by each part, by ``group_advantages``, are added with
    weights, and then scaled to mean 0 and variance 1 over the whole batch. Parts of any size so
    count as they are weighed, and completions that are good at different things are told apart.

    Source: Liu et al. 2026, "GDPO: Group reward-Decoupled Normalization Policy Optimization for
    Multi-reward RL Optimization".

    Args:
        scores: ``(N, K)``, the completions of a prompt next to each other, without weights.
        weights: ``(K,)``.
        group: Completions of one prompt, a divisor of N.
        scale: Whether to divide each part by its (population) standard deviation in the group.

    Returns:
        ``(N,)``.
    """
    parts = [group_advantages(part, group, scale=scale) for part in scores.unbind(dim=1)]
    summed = (torch.stack(parts, dim=1) * weights).sum(dim=1)
    return standardise(summed, torch.ones_like(summed, dtype=torch.bool))


def leave_one_out(scores: Tensor, group: int) -> Tensor:
    """Each completion's score less the mean score of the others of its prompt.

    Kool et al. 2019; Ahmadian et al. 2024, equation 8.

    Args:
        scores: ``(N,)``, the completions of a prompt next to each other.
        group: Completions of one prompt, a divisor of N.

    Returns:
        ``(N,)``; 0 where all of a group have the same score.

    Raises:
        ValueError: If there is only one completion a prompt, and so no other.
    """
    if group == 1:
        raise ValueError("leave-one-out needs at least 2 completions of a prompt, got 1")
    below = _below_highest(scores.reshape(-1, group))
    others = (below.sum(dim=1, keepdim=True) - below) / (group - 1)
    return (below - others).flatten()


def _below_highest(by_prompt: Tensor) -> Tensor:
    """How far each number is below the highest of its row: exactly 0 in a row of equal ones.

    Their mean is then 0 as well, where the mean of equal float32 numbers may be the next number.
    """
    return by_prompt - by_prompt.amax(dim=1, keepdim=True)


def less_group_mean(rewards: Tensor, mask: Tensor, group: int) -> Tensor:
    """Takes the mean of what the texts of a prompt were paid off the last reward of each.

    Hu et al. 2025 (REINFORCE++), the variant with a baseline, before it is scaled over the batch.

    Args:
        rewards: ``(N, C)``, the completions of a prompt next to each other.
        mask: ``(N, C)`` bools, true somewhere in every row.
        group: Completions of one prompt, a divisor of N.

    Returns:
        ``(N, C)``.
    """
    paid = torch.where(mask, rewards, 0.0).sum(dim=1).reshape(-1, group)
    means = paid.amax(dim=1) + _below_highest(paid).mean(dim=1)
    is_last = mask.cumsum(dim=1) == mask.sum(dim=1, keepdim=True)
    each = means.repeat_interleave(group).unsqueeze(1)
    return rewards - torch.where(mask & is_last, each, 0.0)


def overlong_punishment(lengths: Tensor, most: int, buffer: int) -> Tensor:
    """What long texts are paid besides: 0, and from the buffer on less and less, to -1 at the end.

    Yu et al. 2025 (DAPO), equation 13.

    Args:
        lengths: Actions of texts, ``(N,)`` int64.
        most: The most actions that a text can have.
        buffer: How many of the last of these cost something, at least 1.

    Returns:
        ``(N,)`` float32.
    """
    return (most - buffer - lengths).float().clamp(max=0) / buffer
