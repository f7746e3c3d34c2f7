"""The cross matrix: what was optimised by a row's reward, scored by every column's.

Gains are divided by the standard deviation of the column's scores over the start's texts, so that
columns can be read beside each other. A row that is high on its own diagonal and low elsewhere has
found what nobody else likes: herding is the diagonal less the mean of the others' opinions.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from agents.comparing.standing import final_gain, of_condition
from agents.comparing.study import GOLD
from agents.reports.report import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agents.comparing.campaign import Outcome
    from agents.comparing.study import Study

__all__ = ["cross_matrix"]


def cross_matrix(study: Study, outcomes: Sequence[Outcome], agent: str) -> Table:
    """The matrix of one agent at equal tokens, a mean over the seeds that did not fail.

    Args:
        study: What was compared.
        outcomes: Its cells.
        agent: The agent's name.
    """
    names = list(study.conditions)
    gains = [[_standardised(outcomes, row, agent, column) for column in names] for row in names]
    rows = []
    for place, name in enumerate(names):
        others = [g for k, g in enumerate(gains[place]) if k != place and math.isfinite(g)]
        own = gains[place][place]
        herding = own - float(np.mean(others)) if others and math.isfinite(own) else math.nan
        rows.append((name, *(_cell(gain) for gain in gains[place]), _cell(herding)))
    return Table(
        title=f"Cross matrix: {agent}",
        header=("optimised", *(f"by {name}" for name in names), "herding"),
        rows=rows,
        caption=(
            "Rows were optimised, columns judge: the gain at the end in standard deviations of the "
            f"column's scores on the start's texts, {GOLD} last. Where a row is high by another "
            "and that other's row is low by it, the one games the other."
        ),
    )


def _standardised(outcomes: Sequence[Outcome], reward: str, agent: str, judge: str) -> float:
    gains = []
    for cell in of_condition(outcomes, reward, agent):
        gain = final_gain(cell, judge)
        unit = cell.snapshots[0]["scores"].get(judge, {}).get("deviation") if cell.snapshots else 0
        if math.isfinite(gain) and unit:
            gains.append(gain / unit)
    return float(np.mean(gains)) if gains else math.nan


def _cell(gain: float) -> str:
    return f"{gain:+.2f}" if math.isfinite(gain) else "none"
