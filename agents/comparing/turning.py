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

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agents.comparing.campaign import Outcome
    from agents.comparing.study import Study

__all__ = ["curves", "overoptimisation_table"]

_SMALLEST_DROP = 0.05  # of what was gained: less is called no turn


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
    turned = drop.mean() > _SMALLEST_DROP * max(heights.mean(), 1e-12) and drop.mean() > 0
    if not heights.mean() > 0:
        advice = "do not optimise it"
    else:
        advice = f"stop at {float(np.median(nats)):.2g} nats" if turned else "go on"
    return (
        figure(heights),
        figure(nats, "{:.2f}", (0.0, math.inf)),
        figure(ends),
        figure(drop, within=(0.0, math.inf)),
        alpha,
        beta,
        explained,
        advice,
    )


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
