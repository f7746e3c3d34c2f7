"""What was known of a reward before training, against what training with it then gained.

This is the table that benchmarks of reward models argue about: does accuracy say which reward to
train with, or the gain of best of n, the spread of the reward, its calibration?

Simplification: each figure is a mean over the seeds' draws, and rewards are taken as independent.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from agents.comparing.standing import final_gain, of_condition
from agents.comparing.study import BEST_OF_N, GOLD
from agents.reports.report import Table
from textgym.statistics.ranks import FEWEST_RANKED, rank_correlation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agents.comparing.campaign import Outcome
    from agents.comparing.study import Study

__all__ = ["FIGURES", "forecast_table", "predictor_table"]

FIGURES = (
    "accuracy",
    "hard accuracy",
    "best-of-n gain",
    "gamma",
    "spread",
    "calibration error",
)
"""What is known beforehand, see ``agents.comparing.measures.predictors``."""


def predictor_table(study: Study, outcomes: Sequence[Outcome]) -> Table:
    """The figures of each reward on the start's texts, and each learner's gain beside them."""
    rows = []
    for name in study.conditions:
        known = _figures(outcomes, name)
        gains = [_gain(outcomes, name, agent) for agent in study.learners]
        rows.append((name, *(_cell(known[each]) for each in FIGURES), *map(_cell, gains)))
    return Table(
        title="Known before training",
        header=("reward", *FIGURES, *(f"gold gain, {agent}" for agent in study.learners)),
        rows=rows,
        caption=(
            "From the start's texts alone: the share of pairs of one prompt's completions that the "
            "reward orders as the gold does, in the half that the gold tells apart least as well; "
            f"what the best of {study.draws} gains by the gold in its standard deviations; gamma, "
            "the area between the proxy's and the gold's curves over the gold's (0: none); the "
            "share of the reward's spread that is within prompts; and its calibration error."
        ),
    )


def forecast_table(study: Study, outcomes: Sequence[Outcome]) -> Table:
    """Spearman's correlation of each figure with each learner's gain, over rewards."""
    names = [name for name in study.conditions if name != GOLD]
    rows = [
        (each, *(_correlation(outcomes, names, each, agent) for agent in study.learners))
        for each in FIGURES
    ]
    return Table(
        title="Predictors against outcome",
        header=("known before", *study.learners),
        rows=rows if study.learners else [],
        caption=(
            "Spearman's rank correlation with the gold's gain at equal tokens over the rewards, "
            "the gold itself left out, and its 95 % interval. An interval needs "
            f"{FEWEST_RANKED} rewards, and with less than a score of them it is wide."
        ),
    )


def _figures(outcomes: Sequence[Outcome], reward: str) -> Mapping[str, float]:
    found: dict[str, float] = {}
    cells = [each for each in of_condition(outcomes, reward, BEST_OF_N) if not each.failed]
    for name in FIGURES:
        values = [each.result["predictors"][name] for each in cells]
        known = [value for value in values if value is not None]
        found[name] = float(np.mean(known)) if known else math.nan
    return found


def _gain(outcomes: Sequence[Outcome], reward: str, agent: str) -> float:
    gains = [final_gain(each) for each in of_condition(outcomes, reward, agent)]
    known = [gain for gain in gains if math.isfinite(gain)]
    return float(np.mean(known)) if known else math.nan


def _correlation(outcomes: Sequence[Outcome], names: Sequence[str], known: str, agent: str) -> str:
    both = [(_figures(outcomes, name)[known], _gain(outcomes, name, agent)) for name in names]
    both = [pair for pair in both if all(map(math.isfinite, pair))]
    try:
        found = rank_correlation([pair[0] for pair in both], [pair[1] for pair in both])
    except ValueError:
        return f"none from {len(both)} rewards"
    return f"{found.value:+.2f} ({found.low:+.2f} to {found.high:+.2f})"


def _cell(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "none"
