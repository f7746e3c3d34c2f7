"""What optimising a reward does to another one, without training anything.

Draw n completions of a prompt, keep the one that the proxy scores highest, and ask the gold about
it. As n grows the proxy is optimised harder, and a proxy that is not the gold is sooner or later
gamed: the gold turns over. From N scored completions a prompt the whole curve up to n = N follows
without bias, which is far cheaper than reinforcement learning and warns before it.

How hard is measured by KL from the policy that the completions were drawn from. ``log n - (n - 1) /
n`` is an upper bound of it (Beirami et al. 2024), reached where no two completions score alike, and
far off where there are few different ones. It cannot be set against the KL of a trained policy,
which spends more of it for the same reward.

Simplifications: the same N for every prompt; the fit is plain least squares over the n's given.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from textgym.statistics.bootstrap import weighted_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "BestOfNCurve",
    "OveroptimisationFit",
    "best_of_n",
    "best_of_n_by_prompt",
    "best_of_n_curve",
    "default_ns",
    "fit_overoptimisation",
    "kl_bound",
    "peak_interval",
]

_FEWEST_POINTS = 2  # as many as the fitted form has coefficients


@dataclass(frozen=True, slots=True, kw_only=True)
class BestOfNCurve:
    """Mean over prompts of what the best of n by the proxy is worth, for each n.

    Attributes:
        ns: How many completions the best is chosen from, ``(K,)``, rising.
        kl_bounds: Upper bound of the KL at each n, in nats, ``(K,)``.
        proxy: The proxy's score of what it chose, ``(K,)``.
        gold: The gold's score of what the proxy chose, ``(K,)``.
        gold_low: Lower ends of the gold's 95 % intervals by drawing prompts, ``(K,)``; None from
            a single prompt.
        gold_high: Upper ends.
    """

    ns: list[int]
    kl_bounds: list[float]
    proxy: list[float]
    gold: list[float]
    gold_low: list[float] | None
    gold_high: list[float] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OveroptimisationFit:
    """Gao et al.'s (2023) form of the gold's gain, ``d (alpha - beta d)`` with ``d = sqrt(KL)``.

    Attributes:
        alpha: The slope at the start, in gold units.
        beta: How strongly optimising turns against the gold; above 0 the curve has a peak.
        r_squared: Share of the gain's variance over the n's that the form explains; at most 1.
        shape: ``rises`` without an end, ``turns`` at a peak, or ``falls`` from the start on. A
            curve that falls before it rises is called by where the form ends at the largest KL.
        peak_kl: The KL of the peak, ``(alpha / 2 beta)^2``, in nats; 0 where the curve falls, None
            where it rises. It may lie beyond the largest n, and is then a guess.
        peak_gain: The gold's gain there, ``alpha^2 / 4 beta``; 0 where it falls, None where it
            rises.
    """

    alpha: float
    beta: float
    r_squared: float
    shape: Literal["rises", "turns", "falls"]
    peak_kl: float | None
    peak_gain: float | None


def kl_bound(n: ArrayLike) -> NDArray[np.float64]:
    """Returns ``log n - (n - 1) / n``, an upper bound of best-of-n's KL, in nats, elementwise.

    Raises:
        ValueError: If an n is below 1.
    """
    number = np.asarray(n, dtype=np.float64)
    if np.any(number < 1):
        raise ValueError(f"n is {number.min():g}, but the best is chosen from at least one")
    return np.asarray(np.log(number) - (number - 1) / number, dtype=np.float64)


def default_ns(samples: int) -> list[int]:
    """Returns 1, 2, 4 and so on up to ``samples``, and ``samples`` itself."""
    ns = [2**power for power in range(samples.bit_length()) if 2**power < samples]
    return [*ns, samples]


def best_of_n(proxy: ArrayLike, values: ArrayLike, n: int) -> float:
    """Estimates the value of the best of n by the proxy from N scored completions of one prompt.

    The mean over all subsets of size n, ``sum_i C(i - 1, n - 1) / C(N, n) values_(i)``, with the
    values in rising order of the proxy (Nakano et al. 2021, appendix I). Completions that the proxy
    scores alike stand for their mean, which is what choosing among them by chance is worth.

    Args:
        proxy: What decides, ``(N,)``.
        values: What is reported of the chosen one, such as the gold's scores, ``(N,)``.
        n: Size of the subsets, from 1 to N.

    Raises:
        ValueError: If the shapes do not fit, a score is not finite, or n is out of range.
    """
    (estimate,) = best_of_n_by_prompt(np.atleast_2d(proxy), np.atleast_2d(values), [n])[0]
    return float(estimate)


def best_of_n_by_prompt(
    proxy: ArrayLike, values: ArrayLike, ns: Sequence[int]
) -> NDArray[np.float64]:
    """Does ``best_of_n`` for each prompt and each n.

    Args:
        proxy: What decides, ``(P, N)``.
        values: What is reported of the chosen one, ``(P, N)``.
        ns: Sizes of the subsets, each from 1 to N.

    Returns:
        ``(P, K)`` with K the number of ``ns``.

    Raises:
        ValueError: If the shapes do not fit, a score is not finite, or an n is out of range.
    """
    deciding, reported = _checked(proxy, "proxy"), _checked(values, "values")
    if deciding.shape != reported.shape:
        raise ValueError(
            f"the proxy's scores have shape {deciding.shape} and the values {reported.shape}: "
            "give both for the same completions"
        )
    number = deciding.shape[1]
    if wrong := [n for n in ns if not 1 <= n <= number]:
        raise ValueError(f"n is {wrong[0]}, but there are {number} completions a prompt")
    ranked = np.stack([_in_order(*row) for row in zip(deciding, reported, strict=True)])
    weights = np.stack([_weights(number, n) for n in ns], axis=1)
    return np.asarray(ranked @ weights, dtype=np.float64)


def best_of_n_curve(
    proxy: ArrayLike,
    gold: ArrayLike,
    rng: np.random.Generator,
    ns: Sequence[int] | None = None,
    repetitions: int = 2000,
) -> BestOfNCurve:
    """Draws the curve of a proxy and a gold over n, with intervals over prompts.

    Args:
        proxy: The proxy's scores, ``(P, N)``: N completions of each of P prompts.
        gold: The gold's scores of the same completions, ``(P, N)``.
        rng: What draws prompts for the intervals.
        ns: Which n's, rising; None for 1, 2, 4 and so on up to N.
        repetitions: How many resamples.

    Raises:
        ValueError: As ``best_of_n_by_prompt``.
    """
    chosen = list(ns) if ns is not None else default_ns(_checked(proxy, "proxy").shape[1])
    golds = best_of_n_by_prompt(proxy, gold, chosen)
    low = high = None
    if len(golds) > 1:
        ends = weighted_interval(
            lambda counts: _weighted_means(counts, golds), len(golds), rng, repetitions
        )
        low, high = (end.tolist() for end in ends)
    return BestOfNCurve(
        ns=chosen,
        kl_bounds=kl_bound(chosen).tolist(),
        proxy=best_of_n_by_prompt(proxy, proxy, chosen).mean(axis=0).tolist(),
        gold=golds.mean(axis=0).tolist(),
        gold_low=low,
        gold_high=high,
    )


def fit_overoptimisation(kl: ArrayLike, gold: ArrayLike) -> OveroptimisationFit:
    """Fits ``d (alpha - beta d)``, ``d = sqrt(KL)``, to the gold's gain by least squares.

    Args:
        kl: KL at each n, ``(K,)`` with the first at 0, at least two of the others different.
        gold: Mean gold scores, ``(K,)``; the gain is what they are above the first.

    Raises:
        ValueError: If there are too few points, or the first KL is not 0.
    """
    nats, scores = np.asarray(kl, dtype=np.float64), np.asarray(gold, dtype=np.float64)
    if nats.shape != scores.shape or len(set(nats.tolist())) <= _FEWEST_POINTS or nats[0] != 0:
        raise ValueError(
            f"{len(nats)} values of KL from {nats[:1].tolist()} on cannot be fitted: give one for "
            "each gold score, the first of them 0 (n = 1) and at least two others"
        )
    gain, distance = scores - scores[0], np.sqrt(nats)
    design = np.stack([distance, -(distance**2)], axis=1)
    (alpha, beta), *_ = np.linalg.lstsq(design, gain, rcond=None)
    spread = float(np.sum((gain - gain.mean()) ** 2))
    missed = float(np.sum((gain - design @ [alpha, beta]) ** 2))
    shape, peak_kl, peak_gain = _peak(float(alpha), float(beta), float(distance.max()))
    return OveroptimisationFit(
        alpha=float(alpha),
        beta=float(beta),
        r_squared=1 - missed / spread if spread > 0 else math.nan,
        shape=shape,
        peak_kl=peak_kl,
        peak_gain=peak_gain,
    )


def peak_interval(
    proxy: ArrayLike,
    gold: ArrayLike,
    rng: np.random.Generator,
    ns: Sequence[int] | None = None,
    repetitions: int = 2000,
) -> tuple[float, float]:
    """The 95 % interval of the fitted peak's KL, by drawing prompts and fitting anew.

    A resample whose curve rises counts as a peak at infinity, so that the upper end is infinite
    where more than one in forty rise; one whose curve falls has its peak at 0.

    Args:
        proxy: As in ``best_of_n_curve``.
        gold: As in ``best_of_n_curve``.
        rng: What draws prompts.
        ns: As in ``best_of_n_curve``.
        repetitions: How many resamples.

    Raises:
        ValueError: If there is one prompt only, or too few n's for a fit.
    """
    chosen = list(ns) if ns is not None else default_ns(_checked(proxy, "proxy").shape[1])
    golds = best_of_n_by_prompt(proxy, gold, chosen)
    if len(golds) == 1:
        raise ValueError("an interval needs two prompts or more, and there is one")
    kl = kl_bound(chosen)

    def peaks(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        fits = (fit_overoptimisation(kl, mean).peak_kl for mean in _weighted_means(counts, golds))
        return np.array([math.inf if peak is None else peak for peak in fits])

    # An end between two infinities would be none at all: take one of the peaks themselves.
    low, high = weighted_interval(peaks, len(golds), rng, repetitions, interpolated=False)
    return float(low), float(high)


def _peak(
    alpha: float, beta: float, furthest: float
) -> tuple[Literal["rises", "turns", "falls"], float | None, float | None]:
    """Where ``d (alpha - beta d)`` is highest for d of 0 or more, and what it is worth there."""
    if alpha > 0 and beta > 0:
        return "turns", (alpha / (2 * beta)) ** 2, alpha**2 / (4 * beta)
    # With both below 0 it falls first: what was measured says whether it comes back.
    if alpha - beta * furthest > 0:
        return "rises", None, None
    return "falls", 0.0, 0.0


def _weighted_means(
    counts: NDArray[np.float64], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Means over prompts that were drawn so often, ``(R, P)``, of their values, ``(P, K)``."""
    return np.asarray(counts @ values / len(values), dtype=np.float64)


def _in_order(proxy: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values in rising order of the proxy, ``(N,)``; where it ties, the mean of those that tie."""
    _, place, counts = np.unique(proxy, return_inverse=True, return_counts=True)
    means = np.bincount(place, values) / counts
    return np.asarray(means[np.sort(place)], dtype=np.float64)


def _weights(number: int, n: int) -> NDArray[np.float64]:
    """Chance that rank i, from 1, is the highest of n out of ``number``, ``(number,)``."""
    rank = np.arange(n, number + 1, dtype=np.float64)
    log = _log_choose(rank - 1, n - 1) - _log_choose(np.float64(number), n)
    return np.concatenate([np.zeros(n - 1), np.exp(log)])


def _log_choose(top: NDArray[np.float64] | np.float64, bottom: int) -> NDArray[np.float64]:
    """Logarithm of a binomial coefficient: the coefficients themselves overflow from 1030 on."""
    from scipy.special import gammaln  # here, since scipy is slow to import

    log = gammaln(top + 1) - gammaln(bottom + 1) - gammaln(top - bottom + 1)
    return np.asarray(log, dtype=np.float64)


def _checked(scores: ArrayLike, name: str) -> NDArray[np.float64]:
    given = np.asarray(scores, dtype=np.float64)
    if given.ndim != 2 or not given.size:  # noqa: PLR2004  prompts and completions
        raise ValueError(
            f"{name} has shape {given.shape}: give a row for each prompt, a column for each of its "
            "completions"
        )
    if not np.isfinite(given).all():
        row, column = np.argwhere(~np.isfinite(given))[0]
        raise ValueError(f"{name}[{row}, {column}] is {given[row, column]}: leave that prompt out")
    return given
