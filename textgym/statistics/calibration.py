"""How far the confidence behind a reward's scores can be trusted.

A lead is ``score(chosen) - score(rejected)`` of one comparison. Bradley and Terry take it for the
log-odds that the labelled choice comes out, ``p = sigmoid(lead / temperature)``, with temperature 1
for raw scores. A reward that is sure of the wrong things has its confidence mended by one number,
the temperature (Guo et al. 2017), which leaves the order of every pair as it was.

Simplifications: one temperature for all; bins of equal mass, whose number moves the error a little.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "ReliabilityBin",
    "brier",
    "calibration_error",
    "chance_calibration_error",
    "cross_fitted",
    "fit_temperature",
    "negative_log_likelihood",
    "probabilities",
    "reliability",
    "reliability_part",
]

_BINS = 15
_LOG_RANGE = math.log(1e6)  # a sharper or duller scale than this is no matter of units


@dataclass(frozen=True, slots=True, kw_only=True)
class ReliabilityBin:
    """Comparisons of similar confidence.

    Attributes:
        pairs: How many.
        confidence: Mean of ``max(p, 1 - p)`` in them, in [.5, 1].
        accuracy: Share that the scores order as the labels do, a tie one half.
        rows: Which of all comparisons they are.
    """

    pairs: int
    confidence: float
    accuracy: float
    rows: Sequence[int] = field(default=(), compare=False)


def probabilities(lead: ArrayLike, temperature: float = 1.0) -> NDArray[np.float64]:
    """Returns ``sigmoid(lead / temperature)``, ``(N,)`` in [0, 1], without overflow.

    Args:
        lead: ``score(chosen) - score(rejected)``, ``(N,)``.
        temperature: What the leads are divided by, above 0; infinity makes each p one half.
    """
    from scipy.special import expit  # here, since scipy is slow to import

    return np.asarray(expit(_checked(lead) / temperature), dtype=np.float64)


def reliability(probability: ArrayLike, bins: int = _BINS) -> list[ReliabilityBin]:
    """Sorts comparisons by confidence into bins of equal mass.

    Args:
        probability: What the model gave to the labelled choice, ``(N,)`` in [0, 1]. Its confidence
            is ``max(p, 1 - p)``; it was right where ``p`` is over one half, half right at one half.
        bins: Number of bins; with fewer pairs than bins each pair is one.

    Returns:
        The bins from the least sure to the surest.

    Raises:
        ValueError: If there is no comparison.
    """
    given = _checked(probability)
    confidence = np.maximum(given, 1 - given)
    right = (np.sign(given - 1 / 2) + 1) / 2
    order = np.argsort(confidence, kind="stable")
    return [
        ReliabilityBin(
            pairs=len(part),
            confidence=float(confidence[part].mean()),
            accuracy=float(right[part].mean()),
            rows=part.tolist(),
        )
        for part in np.array_split(order, min(bins, len(order)))
    ]


def calibration_error(probability: ArrayLike, bins: int = _BINS) -> float:
    """Expected calibration error over bins of equal mass (Naeini et al. 2015).

    Finite data never give 0: a calibrated reward whose confidence is .7 throughout has about
    ``.37 sqrt(bins / N)`` on N pairs.

    Args:
        probability: As in ``reliability``.
        bins: As in ``reliability``.

    Returns:
        The mean over pairs of ``|accuracy - confidence|`` of their bin, in [0, 1].

    Raises:
        ValueError: If there is no comparison.
    """
    parts = reliability(probability, bins)
    gaps = [part.pairs * abs(part.accuracy - part.confidence) for part in parts]
    return float(sum(gaps) / sum(part.pairs for part in parts))


def reliability_part(probability: ArrayLike, bins: int = _BINS) -> float:
    """The part of the Brier score that is wrong confidence, without what chance adds to it.

    The calibration error has a floor that chance makes, and a resample adds to it, so that a
    difference of two of them is drawn to 0 and its interval with it. Here chance's share of each
    bin's square is taken off (Broecker 2012), and what is below 0 stays so: its mean over data is
    the truth's, and a difference of two has an interval.

    Args:
        probability: As in ``reliability``.
        bins: As in ``reliability``; bins of a single pair are left out.

    Returns:
        The mean over pairs of ``(accuracy - confidence)^2 - accuracy (1 - accuracy) / (n - 1)`` of
        their bin of n, with ties as half right; 0 where no bin has two pairs.

    Raises:
        ValueError: If there is no comparison.
    """
    parts = [part for part in reliability(probability, bins) if part.pairs > 1]
    terms = [
        part.pairs
        * (
            (part.accuracy - part.confidence) ** 2
            - part.accuracy * (1 - part.accuracy) / (part.pairs - 1)
        )
        for part in parts
    ]
    return float(sum(terms) / sum(part.pairs for part in parts)) if parts else 0.0


def chance_calibration_error(
    probability: ArrayLike, rng: np.random.Generator, bins: int = _BINS, repetitions: int = 200
) -> tuple[float, float]:
    """The calibration error that chance alone would give a calibrated reward on as many pairs.

    Args:
        probability: As in ``reliability``; what counts is how sure they are.
        rng: Draws which pairs would be right.
        bins: As in ``reliability``.
        repetitions: How often labels are drawn.

    Returns:
        The mean, and what only one draw in twenty is above.

    Raises:
        ValueError: If there is no comparison.
    """
    given = _checked(probability)
    confidence = np.sort(np.maximum(given, 1 - given))
    # What is right is drawn anew, and how sure each is stays: so do the bins.
    parts = np.array_split(np.arange(len(given)), min(bins, len(given)))
    starts, sizes = [part[0] for part in parts], [len(part) for part in parts]
    sure = np.add.reduceat(confidence, starts)
    undecided = np.where(confidence == 1 / 2, 1 / 2, 1.0)  # half right, whatever is drawn
    errors = np.empty(repetitions)
    for repetition in range(repetitions):
        right = np.where(undecided < 1, undecided, rng.random(len(given)) < confidence)
        errors[repetition] = np.abs(np.add.reduceat(right, starts) - sure).sum() / sum(sizes)
    return float(np.mean(errors)), float(np.quantile(errors, 0.95))


def brier(probability: ArrayLike) -> float:
    """Returns the mean of ``(1 - p)^2``: .25 for a coin, 0 for a sure and right reward."""
    return float(np.mean((1 - _checked(probability)) ** 2))


def negative_log_likelihood(lead: ArrayLike, temperature: float = 1.0) -> float:
    """Returns the mean of ``-log sigmoid(lead / temperature)``, in nats; log 2 for a coin."""
    return float(np.mean(np.logaddexp(0.0, -_checked(lead) / temperature)))


def fit_temperature(lead: ArrayLike) -> float:
    """Finds the temperature of the lowest negative log-likelihood.

    Fit it on one split and apply it to another: on its own split it flatters.

    Args:
        lead: ``score(chosen) - score(rejected)`` of held-out comparisons, ``(N,)``.

    Returns:
        The temperature, above 0: over 1 for a reward that is too sure, under 1 for a timid one.

    Raises:
        ValueError: If there is no lowest point: no comparison, none in the wrong order (sharper is
            always better), or leads that are not above 0 on average (a coin is better).
    """
    from scipy.optimize import minimize_scalar

    given = _checked(lead)
    if not np.any(given < 0):
        raise ValueError(
            f"none of {len(given)} pairs is in the wrong order, so that a lower temperature is "
            "always better: give more pairs"
        )
    # The likelihood is concave in 1 / temperature, and its slope at 0 is half of the mean lead.
    if not given.mean() > 0:
        raise ValueError(
            f"the mean lead of {len(given)} pairs is {given.mean():.3g}, so that no confidence at "
            "all is best: the reward does not agree with the labels"
        )
    centre = math.log(float(np.abs(given).mean()))
    found = minimize_scalar(
        lambda log: negative_log_likelihood(given, math.exp(log)),
        bounds=(centre - _LOG_RANGE, centre + _LOG_RANGE),
        method="bounded",
        options={"xatol": 1e-9},
    )
    return math.exp(float(found.x))


def cross_fitted(lead: ArrayLike, groups: Sequence[Hashable]) -> tuple[NDArray[np.float64], float]:
    """Divides each lead by a temperature that was fitted on the other half, and turned round.

    So every comparison is measured on, and none by a temperature that it had a part in.

    Args:
        lead: ``score(chosen) - score(rejected)``, ``(N,)``.
        groups: What must not be in both halves, such as the prompts, ``(N,)``; where there is one
            group alone, every second comparison is in one half.

    Returns:
        The leads at their temperatures, ``(N,)``, and the geometric mean of the two.

    Raises:
        ValueError: If a half has no temperature; see ``fit_temperature``.
    """
    given = _checked(lead)
    place = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    rows = [place[group] for group in groups] if len(place) > 1 else range(len(given))
    half = np.array(rows) % 2 == 0
    for_other, for_half = fit_temperature(given[half]), fit_temperature(given[~half])
    return given / np.where(half, for_half, for_other), math.sqrt(for_other * for_half)


def _checked(values: ArrayLike) -> NDArray[np.float64]:
    given = np.asarray(values, dtype=np.float64)
    if given.ndim != 1 or not len(given):
        raise ValueError(f"values of shape {given.shape} hold no comparison: give at least one")
    return given
