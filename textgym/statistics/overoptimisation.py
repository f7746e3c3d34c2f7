"""A proxy and a gold along an optimisation: values at a price of KL, Gao's form, areas between.

Distance is ``d = sqrt(KL)``, in which published curves are smooth. For best of n the form is in
``best_of_n``; a learner's is ``d (alpha - beta log d)`` (Gao et al. 2023, section 3.1).

Source of the area: Kim et al. (2025), gamma.

Simplifications: values between two measurements lie on a straight line over ``d``; areas are of the
measured points, not of fitted curves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["LearnerFit", "fit_learner", "gamma", "value_at_kl"]

_FEWEST_POINTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerFit:
    """Gao et al.'s form of what a learner gains, ``d (alpha - beta log d)``.

    Attributes:
        alpha: The slope at a distance of 1, in gold units.
        beta: How strongly optimising turns against the gold; above 0 the curve has a peak.
        r_squared: Share of the gain's variance that the form explains, at most 1; NaN where the
            gain does not vary.
        peak_kl: The KL of the peak, ``exp(alpha / beta - 1)^2``, in nats; None where it has none.
            It may lie beyond the last point, and is then a guess.
    """

    alpha: float
    beta: float
    r_squared: float
    peak_kl: float | None


def value_at_kl(kl: ArrayLike, values: ArrayLike, target: float) -> float:
    """What was reached when the policy had first moved so far.

    Args:
        kl: KL at each measurement, in the order of the training, ``(M,)``, in nats. A measured KL
            may be a little below 0, which counts as 0.
        values: What is asked about, ``(M,)``.
        target: The KL, above 0.

    Returns:
        The value on the straight line over ``sqrt(KL)`` between the measurement at which the KL
        was first reached and the one before it; NaN where it never was.

    Raises:
        ValueError: If there is no measurement, or not as many values.
    """
    distance, given = _checked(kl, values)
    wanted = math.sqrt(target)
    reached = np.flatnonzero(distance >= wanted)
    if not len(reached):
        return math.nan
    end = int(reached[0])
    if end == 0:
        return float(given[0])
    share = (wanted - distance[end - 1]) / (distance[end] - distance[end - 1])
    return float(given[end - 1] + share * (given[end] - given[end - 1]))


def fit_learner(kl: ArrayLike, gains: ArrayLike) -> LearnerFit:
    """Fits the form by least squares.

    Args:
        kl: KL at each measurement, ``(M,)``, three of them above 0 and different at least.
        gains: The gold's gain over the start at each, ``(M,)``.

    Raises:
        ValueError: If there are too few points.
    """
    distance, given = _checked(kl, gains)
    moved = distance > 0
    distance, given = distance[moved], given[moved]
    if len(set(distance.tolist())) < _FEWEST_POINTS:
        raise ValueError(
            f"{len(distance)} measurements off the start cannot be fitted: give {_FEWEST_POINTS} "
            "or more of different KL"
        )
    design = np.stack([distance, -distance * np.log(distance)], axis=1)
    (alpha, beta), *_ = np.linalg.lstsq(design, given, rcond=None)
    spread = float(np.sum((given - given.mean()) ** 2))
    missed = float(np.sum((given - design @ [alpha, beta]) ** 2))
    exponent = 2 * (alpha / beta - 1) if beta > 0 else math.inf
    return LearnerFit(
        alpha=float(alpha),
        beta=float(beta),
        r_squared=1 - missed / spread if spread > 0 else math.nan,
        peak_kl=math.exp(exponent) if exponent < math.log(1e6) else None,
    )


def gamma(kl: ArrayLike, proxy: ArrayLike, gold: ArrayLike) -> float:
    """The area between the gold's and the proxy's gains over the gold's own, along ``sqrt(KL)``.

    Both gains are divided by what they are at the first measurement off the start, so that it is
    0 where the proxy is the gold in another unit; the larger, the more of the proxy's gain is none.

    Args:
        kl: KL at each measurement, rising, ``(M,)``, the first of them 0.
        proxy: The proxy's scores, ``(M,)``.
        gold: The gold's scores, ``(M,)``.

    Returns:
        NaN where either first gain is not above 0, or the gold has no area.
    """
    distance, first = _checked(kl, proxy)
    _, second = _checked(kl, gold)
    if len(distance) < _FEWEST_POINTS:
        return math.nan
    gains = first - first[0], second - second[0]
    if not min(gains[0][1], gains[1][1]) > 0:
        return math.nan
    proxy_gain, gold_gain = (gain / gain[1] for gain in gains)
    own = float(np.trapezoid(np.abs(gold_gain), distance))
    return float(np.trapezoid(np.abs(proxy_gain - gold_gain), distance)) / own if own else math.nan


def _checked(kl: ArrayLike, values: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The distances and the values, ``(M,)`` float64 each."""
    nats, given = np.asarray(kl, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if nats.ndim != 1 or not len(nats) or nats.shape != given.shape:
        raise ValueError(
            f"KL of shape {nats.shape} came with values of shape {given.shape}: give one each"
        )
    return np.sqrt(np.maximum(nats, 0.0)), given
