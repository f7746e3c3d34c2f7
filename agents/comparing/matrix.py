"""The cross matrix: what was optimised by a row's reward, scored by every column's.

Gains are divided by the standard deviation of the column's scores over the start's texts, so that
columns can be read beside each other. A row that is high on its own diagonal and low elsewhere has
found what nobody else likes: herding is the diagonal less the mean of the others' opinions. People
are a column where they have compared a cell's texts with the start's.

Beside it what a reward is made of: its parts before and after, and whether style outweighs content.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from agents.comparing.probes import STYLES
from agents.comparing.standing import figure, final_gain, of_condition
from agents.comparing.study import BEST_OF_N, GOLD
from agents.reports.report import Table
from textgym.statistics.proportions import clustered_wilson

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agents.comparing.campaign import Outcome
    from agents.comparing.study import Study

__all__ = [
    "START",
    "Vote",
    "components_table",
    "cross_matrix",
    "opinions",
    "people_pairs",
    "style_tables",
]

START = "start"
"""Who wrote the text beside a cell's, in what people compare."""

_ASKED = 24  # pairs of each reward and agent that are put before people


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """What one person said of a cell's text beside the start's.

    Attributes:
        writer: Who wrote the cell's text, as ``people_pairs`` calls it.
        prompt: What both went on from.
        share: 1 if the cell's text is the better one, 0 if the start's is, 0.5 if neither.
    """

    writer: str
    prompt: str
    share: float


def people_pairs(study: Study, outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Texts for people to compare, blind: of each reward and agent some last ones, and the start's.

    Seeds take turns over prompts, so that none is chosen by what it is worth.

    Returns:
        Rows as ``textgym label`` reads them; which side the start's text is on changes.
    """
    rows = []
    for agent in (BEST_OF_N, *study.learners):
        for name in study.conditions:
            cells = [e for e in of_condition(outcomes, name, agent) if not e.failed]
            texts = [(e.texts("start"), e.texts("end")) for e in cells]
            count = min((len(ends) for _, ends in texts), default=0)
            for place in range(min(count, _ASKED)):
                starts, ends = texts[place % len(texts)]
                sides = [(ends[place], f"{name}, {agent}"), (starts[place], START)]
                (a, who_a), (b, who_b) = sides[:: 1 if place % 2 else -1]
                if a["completion"] != b["completion"]:
                    row = {"prompt": a["prompt"], "a": a["completion"], "b": b["completion"]}
                    rows.append({**row, "policy_a": who_a, "policy_b": who_b})
    return rows


def opinions(study: Study, votes: Sequence[Vote]) -> dict[tuple[str, str], str]:
    """How often people preferred each reward's and agent's texts to the start's.

    Answers about one prompt are alike, and count as fewer in Wilson's 95 % interval.
    """
    found = {}
    for agent in (BEST_OF_N, *study.learners):
        for name in study.conditions:
            mine = [vote for vote in votes if vote.writer == f"{name}, {agent}"]
            if mine:
                shares = [vote.share for vote in mine]
                low, high = clustered_wilson(shares, [vote.prompt for vote in mine])
                found[name, agent] = (
                    f"{np.mean(shares):.2f} ({low:.2f} to {high:.2f}), {len(mine)} answers"
                )
    return found


def cross_matrix(
    study: Study,
    outcomes: Sequence[Outcome],
    agent: str,
    people: Mapping[tuple[str, str], str] | None = None,
) -> Table:
    """The matrix of one agent at equal tokens, a mean over the seeds that did not fail.

    Args:
        study: What was compared.
        outcomes: Its cells.
        agent: The agent's name.
        people: What people say of each reward's and agent's texts beside the start's, if any do.
    """
    asked = {} if people is None else people
    names = list(study.conditions)
    gains = [[_standardised(outcomes, row, agent, column) for column in names] for row in names]
    rows = []
    for place, name in enumerate(names):
        others = [g for k, g in enumerate(gains[place]) if k != place and math.isfinite(g)]
        own = gains[place][place]
        herding = own - float(np.mean(others)) if others and math.isfinite(own) else math.nan
        said = [asked.get((name, agent), "not asked")] if asked else []
        rows.append((name, *(_cell(gain) for gain in gains[place]), *said, _cell(herding)))
    return Table(
        title=f"Cross matrix: {agent}",
        header=(
            "optimised",
            *(f"by {name}" for name in names),
            *(["by people: wins over the start"] if asked else []),
            "herding",
        ),
        rows=rows,
        caption=(
            "Rows were optimised, columns judge: the gain at the end in standard deviations of the "
            f"column's scores on the start's texts, {GOLD} last. Where a row is high by another "
            "and that other's row is low by it, the one games the other."
        ),
    )


def style_tables(study: Study, outcomes: Sequence[Outcome]) -> list[Table]:
    """Content against style: the matrix of each reward, and what its corners say."""
    cells, summaries = [], []
    for name in study.conditions:
        runs = [e.result.get("styles") for e in of_condition(outcomes, name, BEST_OF_N)]
        known = np.array([each for each in runs if each])
        if len(known):
            shares = [
                [_share(known[:, i, j]) for j in range(len(STYLES))] for i in range(len(STYLES))
            ]
            cells += [(name, style, *row) for style, row in zip(STYLES, shares, strict=True)]
            decorated = np.subtract.outer(np.arange(len(STYLES)), np.arange(len(STYLES)))
            corners = (decorated < 0, decorated == 0, decorated > 0)  # of the better text
            summaries.append((name, *(_share(known[:, each].mean(axis=1)) for each in corners)))
    return [
        Table(
            title="Style matrix",
            header=("reward", "the better text is", *(f"the worse is {each}" for each in STYLES)),
            rows=cells,
            caption=(
                "Of each prompt's completions by the start, the two that the gold tells apart "
                "most, with the same words put in three styles: as written, in capitals with "
                "exclamation marks, as a list. The share of prompts where the reward is higher for "
                "the better text; a middle over seeds with its 95 % interval. A reward that looks "
                "at what is said has one figure in all nine places."
            ),
        ),
        Table(
            title="Content against style",
            header=("reward", "style speaks against", "no difference", "style speaks for"),
            rows=summaries,
            caption=(
                "The matrix above, on its diagonal, and above and below it, where the worse text "
                "or the better one is the more decorated."
            ),
        ),
    ]


def components_table(study: Study, outcomes: Sequence[Outcome]) -> Table:
    """Each part of rewards that have several, before and after."""
    rows = []
    for agent in study.learners:
        for name in study.conditions:
            cells = [e for e in of_condition(outcomes, name, agent) if not e.failed]
            known = [e.snapshots for e in cells if e.snapshots[0].get("components")]
            for part in known[0][0]["components"] if known else ():
                first, last = (
                    np.array([snapshots[k]["components"][part]["mean"] for snapshots in known])
                    for k in (0, -1)
                )
                unit = np.array([each[0]["components"][part]["deviation"] for each in known])
                moved = (last - first)[unit > 0] / unit[unit > 0]
                rows.append(
                    (
                        *(name, agent, part, figure(first, "{:.3f}"), figure(last, "{:.3f}")),
                        figure(moved, "{:+.2f}") if len(moved) else "none",
                    )
                )
    return Table(
        title="Components of rewards",
        header=("reward", "agent", "part", "before", "after", "change, deviations of the start"),
        rows=rows,
        caption=(
            "What the parts of a reward say, without their weights, of test texts before and after "
            "it was optimised; middles over seeds. Rewards of one part are not listed."
        ),
    )


def _share(values: object) -> str:
    return figure(np.asarray(values, dtype=np.float64), "{:.2f}", (0.0, 1.0))


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
