"""Over-optimisation: where the gold turned while the proxy went on, with how much certainty.

Peaks are of the measurements, a seed each; fits are Gao et al.'s (2023) forms of the mean curve.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from agents.comparing.standing import figure, of_condition
from agents.comparing.study import BEST_OF_N, GOLD
from agents.reports.report import Table
from textgym.statistics.best_of_n import fit_overoptimisation
from textgym.statistics.overoptimisation import fit_learner
from textgym.statistics.seeds import interquartile_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from agents.comparing.campaign import Outcome
    from agents.comparing.study import Study

__all__ = ["curves", "overoptimisation_table"]

_SMALLEST_DROP = 0.05  # of what was gained: less is called no turn
_NEAREST = 0.05  # nats: who turns before has gained nothing


def curves(cell: Outcome, judge: str) -> list[tuple[float, float]]:
    """Root of KL and gain by a judge at each measurement; nothing where the KL is unknown."""
    points = []
    for each in cell.snapshots:
        scores = each["scores"].get(judge)
        if each["kl"] is not None and scores is not None and scores["mean"] is not None:
            points.append((math.sqrt(max(0.0, each["kl"])), scores["mean"]))
    return [(d, value - points[0][1]) for d, value in points]


def overoptimisation_table(study: Study, outcomes: Sequence[Outcome]) -> Table:
    """A row for each reward and agent: peak, drop after it, fit, and when to stop."""
    rows = []
    for agent in (BEST_OF_N, *study.learners):
        for name in study.conditions:
            cells = [curves(each, GOLD) for each in of_condition(outcomes, name, agent)]
            known = [points for points in cells if len(points) > 1]
            if known:
                rows.append((name, agent, *_row(known, agent)))
    return Table(
        title="Over-optimisation",
        header=(
            *("reward", "agent", "gold's peak", "peak's KL, nats", "gold at the end"),
            *("drop", "alpha", "beta", "R²", "advice"),
        ),
        rows=rows,
        caption=(
            "The highest gain by the gold among the measurements, the KL at which it was, and what "
            "was lost after it: interquartile means over seeds with 95 % intervals. The highest of "
            "several is somewhat high by chance. alpha and beta are of the form that was fitted, d "
            "(alpha - beta log d) of learners and d (alpha - beta d) of best of n, d the root of "
            "the KL."
        ),
    )


def _row(cells: Sequence[Sequence[tuple[float, float]]], agent: str) -> tuple[Any, ...]:
    peaks = [max(points, key=lambda point: point[1]) for points in cells]
    ends = np.array([points[-1][1] for points in cells])
    heights = np.array([peak[1] for peak in peaks])
    nats = np.array([peak[0] ** 2 for peak in peaks])
    drop = heights - ends
    alpha, beta, explained = _fitted(cells, agent)
    return (
        figure(heights),
        figure(nats, "{:.2f}", (0.0, math.inf)),
        figure(ends),
        figure(drop, within=(0.0, math.inf)),
        alpha,
        beta,
        explained,
        _advice(heights, nats, drop),
    )


def _advice(
    heights: NDArray[np.float64], nats: NDArray[np.float64], drop: NDArray[np.float64]
) -> str:
    """What the middles of peaks, their KL and the drops after them, ``(S,)`` each, speak for."""
    peak, place, lost = map(interquartile_mean, (heights, nats, drop))
    turned = lost > _SMALLEST_DROP * peak
    if not peak > 0 or (turned and place < _NEAREST):
        return "do not optimise it"
    return f"stop at {place:.2g} nats" if turned else "go on"


def _fitted(cells: Sequence[Sequence[tuple[float, float]]], agent: str) -> tuple[str, str, str]:
    """Of all seeds' measurements together."""
    points = [point for each in cells for point in each[1:]]
    kl = [d**2 for d, _ in points]
    gains = [gain for _, gain in points]
    try:
        fit: Any = (
            fit_overoptimisation([0.0, *kl], [0.0, *gains])
            if agent == BEST_OF_N
            else fit_learner([0.0, *kl], [0.0, *gains])
        )
    except ValueError:
        return "none", "none", "none"
    explained = f"{fit.r_squared:.2f}" if math.isfinite(fit.r_squared) else "none"
    return f"{fit.alpha:+.3f}", f"{fit.beta:+.3f}", explained
