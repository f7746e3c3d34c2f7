"""What a reward model minimises: a loss for each kind of comparison, chosen by the config.

Each objective takes the scores of N comparisons, ``(N, K)`` float32 in the order of their texts,
which of them are there, ``(N, K)`` bool, and the comparisons' numbers, ``(N, M)``; it gives one
loss a comparison, ``(N,)``.
"""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

import torch
import torch.nn.functional as F

from reward_models.learning.losses import (
    centring,
    noisy_bradley_terry,
    plackett_luce,
    rao_kupper,
    rating_cross_entropy,
    rating_differences,
    rating_error,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from reward_models.learning.comparisons import Comparison, Kind

__all__ = ["Objective", "TieThreshold", "correct_orders", "objective_for", "scale_ratings"]

_TIE = 0.5
_MOST_TIES = 0.95


class Objective(Protocol):
    """Scores, mask and numbers of N comparisons to N losses."""

    def __call__(
        self, scores: torch.Tensor, mask: torch.Tensor, numbers: torch.Tensor
    ) -> torch.Tensor:
        """Returns ``(N,)`` float32; see the module."""


class TieThreshold(torch.nn.Module):
    """The lead below which an answer is likelier a tie than a win: one positive number, learned.

    Adam moves a parameter by about the learning rate, whatever its gradient. One that suits a
    network's weights would leave a single number where it began, hence the scale.
    """

    _SCALE = 100.0

    def __init__(self, share_of_ties: float) -> None:
        """Starts where texts of equal score tie as often as the data do.

        Args:
            share_of_ties: Of the answers, in (0, 1).
        """
        super().__init__()
        # Two equal scores tie with probability 1 - 2 sigmoid(-eta) = tanh(eta / 2).
        eta = 2 * math.atanh(min(share_of_ties, _MOST_TIES))
        self.raw = torch.nn.Parameter(torch.tensor(math.log(math.expm1(eta)) / self._SCALE))

    def forward(self) -> torch.Tensor:
        """Returns the threshold, a number above 0."""
        return F.softplus(self._SCALE * self.raw)


def objective_for(kind: Kind, config: Any, threshold: TieThreshold | None) -> Objective:
    """Chooses the loss.

    Args:
        kind: What is compared.
        config: A ``RewardTrainingConfig``.
        threshold: For pairs with ties; None counts a tie as half an answer for either text.
    """
    weight = float(config.centring)
    if kind == "rankings":

        def rankings(
            scores: torch.Tensor, mask: torch.Tensor, numbers: torch.Tensor
        ) -> torch.Tensor:
            loss = plackett_luce(scores, mask, numbers[:, 0].long())
            return loss + weight * _level(scores, mask)

        return rankings
    if kind == "ratings":
        return _RATING_LOSSES[config.rating_loss](weight)

    def pairs(scores: torch.Tensor, mask: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:  # noqa: ARG001 - an objective's signature
        chosen, rejected = scores[:, 0], scores[:, 1]
        probability, margin = numbers[:, 0], numbers[:, 1] * config.margin_scale
        # The level is a matter of the scores themselves, so that a margin must not move it.
        level = weight * centring(chosen, rejected)
        lead = chosen - margin
        if threshold is not None:
            tie = probability == _TIE
            return rao_kupper(torch.where(tie, chosen, lead), rejected, tie, threshold()) + level
        loss = noisy_bradley_terry(lead, rejected, config.label_noise)
        if bool((probability < 1).any()):
            turned = noisy_bradley_terry(rejected, lead, config.label_noise)
            loss = probability * loss + (1 - probability) * turned
        return loss + level

    return pairs


def scale_ratings(
    comparisons: Sequence[Comparison], loss: str, held_out: Sequence[Comparison] = ()
) -> dict[str, float]:
    """Brings ratings to the scale that their loss wants, in place.

    Args:
        comparisons: Groups of ratings to learn from, which decide the scale.
        held_out: Others, which are brought to the same scale.
        loss: ``cross_entropy`` wants them in [0, 1], from the lowest to the highest rating there
            is; the others want mean 0 and variance 1.

    Returns:
        ``rating_offset`` and ``rating_scale``: what was taken off, and then divided by.

    Raises:
        ValueError: If all ratings are equal.
    """
    ratings = torch.tensor(
        [number for one in comparisons for number in one["numbers"]], dtype=torch.float64
    )
    if loss == "cross_entropy":
        offset, scale = float(ratings.min()), float(ratings.max() - ratings.min())
    else:
        offset, scale = float(ratings.mean()), float(ratings.std(correction=0))
    if not scale > 0:
        raise ValueError(f"all {len(ratings)} ratings are {offset}, so they teach nothing")
    for one in (*comparisons, *held_out):
        one["numbers"] = [(number - offset) / scale for number in one["numbers"]]
    return {"rating_offset": offset, "rating_scale": scale}


def correct_orders(
    kind: Kind, scores: torch.Tensor, mask: torch.Tensor, numbers: torch.Tensor
) -> torch.Tensor:
    """Says of each decided pair of a batch whether the scores have it in the right order.

    Args:
        kind: What is compared.
        scores: ``(N, K)`` float.
        mask: ``(N, K)`` bool.
        numbers: ``(N, M)`` float.

    Returns:
        1 for right, 0 for wrong, and one half where the scores are equal, as in what is measured at
        the end, ``(D,)`` float32; ties of people have no order.
    """
    place = torch.arange(scores.shape[1], device=scores.device)
    if kind == "pairs":
        worth = torch.where(numbers[:, :1] > _TIE, -place, torch.zeros_like(place)).float()
    elif kind == "rankings":
        worth = -torch.minimum(place.float(), numbers[:, :1])
    else:
        worth = numbers
    both = mask.unsqueeze(2) & mask.unsqueeze(1)
    better = (worth.unsqueeze(2) > worth.unsqueeze(1)) & both
    lead = scores.unsqueeze(2) - scores.unsqueeze(1)
    return ((lead.sign() + 1) / 2)[better].float()


def _level(scores: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """What ``centring`` is for K = 2: the square of twice the mean score."""
    mean = torch.where(mask, scores, torch.zeros_like(scores)).sum(1) / mask.sum(1)
    return (2 * mean).square()


def _differences(weight: float) -> Objective:
    def loss(scores: torch.Tensor, mask: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        return rating_differences(scores, numbers, mask) + weight * _level(scores, mask)

    return loss


def _values(of: Callable[..., torch.Tensor]) -> Callable[[float], Objective]:
    """A loss of the ratings themselves, which fixes the level of the scores by itself."""

    def objective(_weight: float) -> Objective:
        return lambda scores, mask, numbers: of(scores, numbers, mask)

    return objective


_RATING_LOSSES: Mapping[str, Callable[[float], Objective]] = MappingProxyType(
    {
        "differences": _differences,
        "squared": _values(rating_error),
        "cross_entropy": _values(rating_cross_entropy),
    }
)
