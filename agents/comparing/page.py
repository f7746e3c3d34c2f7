"""A study's page, its tables as CSV and text, and one JSON with all of them.

Everything is made of the cells' folders, so it can be made anew at any time. The page is that of
``agents.reports``: one file that loads nothing.
"""

from __future__ import annotations

import csv
import io
import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from agents.comparing.campaign import read_outcomes
from agents.comparing.forecasts import forecast_table, predictor_table
from agents.comparing.ledger import (
    canary_table,
    cost_table,
    disagreement_table,
    failures,
    hacked,
    pairs_to_label,
    quality_table,
    search_table,
    warning_table,
)
from agents.comparing.matrix import (
    components_table,
    cross_matrix,
    opinions,
    people_pairs,
    style_tables,
)
from agents.comparing.standing import (
    best,
    improvement_table,
    leaderboard,
    of_condition,
    overall,
    profile_curve,
    spread_curve,
)
from agents.comparing.study import BEST_OF_N, GOLD, read_study
from agents.comparing.turning import curves, overoptimisation_table
from agents.reports.charts import Curve
from agents.reports.report import Report, Table, write_report
from textgym.files import atomic_file, write_json
from textgym.statistics.seeds import FEWEST_SEEDS, seed_interval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from agents.comparing.campaign import Outcome
    from agents.comparing.matrix import Vote
    from agents.comparing.study import Study

__all__ = [
    "HACKS_FILE",
    "PAGE_FILE",
    "PEOPLE_FILE",
    "TABLES_FILE",
    "make_report",
    "table_text",
    "tables",
    "write_page",
]

PAGE_FILE, TABLES_FILE = "report.html", "report.json"
HACKS_FILE, PEOPLE_FILE = "hacks.jsonl", "people.jsonl"
"""Pairs for ``textgym label``: what was found that games a reward, and what decides the column of
people."""

_WIDEST = 60  # letters of a cell in a terminal


def tables(study: Study, outcomes: Sequence[Outcome], votes: Sequence[Vote] = ()) -> list[Table]:
    """All tables of a study, in the order of the page.

    Args:
        study: What was compared.
        outcomes: Its cells.
        votes: What people said of its texts; where there are any, they have columns.
    """
    agents = [
        name for name in (BEST_OF_N, *study.learners) if any(e.agent == name for e in outcomes)
    ]
    people = opinions(study, votes)
    found = leaderboard(study, outcomes, people)
    if len(agents) > 1:
        found.append(overall(study, outcomes))
    found.append(improvement_table(study, outcomes))
    found += [cross_matrix(study, outcomes, agent, people) for agent in agents]
    found.append(predictor_table(study, outcomes))
    if study.learners:
        found.append(forecast_table(study, outcomes))
    found += [
        overoptimisation_table(study, outcomes),
        quality_table(study, outcomes),
        components_table(study, outcomes),
        *style_tables(study, outcomes),
        canary_table(study, outcomes),
        search_table(study, outcomes),
        warning_table(study, outcomes),
        _disagreements(study, outcomes),
        disagreement_table(study, outcomes),
        failures(study, outcomes),
        cost_table(study, outcomes),
    ]
    return found


def make_report(
    study: Study,
    outcomes: Sequence[Outcome],
    votes: Sequence[Vote] = (),
    first: Sequence[Table] = (),
) -> Report:
    """The page's contents; some tables may be put before the others."""
    every = [*first, *tables(study, outcomes, votes)]
    agents = list(dict.fromkeys(each.agent for each in outcomes))
    said = [best(study, outcomes, agent) for agent in agents] if len(study.rewards) > 1 else []
    failed = sum(each.failed for each in outcomes)
    total = len(study.cells())
    finding = "; ".join(said) or f"{total - failed} of {total} cells"
    return Report(
        title=f"Rewards compared in {study.env}",
        finding=finding[:1].upper() + finding[1:],
        lead=(
            f"{len(study.rewards)} rewards beside a constant, the length and the gold itself; "
            f"{', '.join(agents)}; {study.seeds} seeds; {study.tokens:,} tokens a learner; "
            f"{len(outcomes)} of {total} cells are there, and {failed} of them failed."
        ),
        curves=_curves(study, outcomes, agents),
        tables=every,
        settings={**study.as_json(), **_provenance(outcomes)},
        notes=(
            "A seed is a replicate; the prompts of a seed are no further ones.",
            "All texts are answers to test prompts, which no cell has learned from; where a task "
            "has no test split, they are those of the training split.",
            "Intervals are of one figure each: nothing is corrected for looking at many.",
        ),
    )


def write_page(
    folder: Path, votes: Sequence[Vote] = (), first: Sequence[Table] = ()
) -> list[Table]:
    """Makes page, CSV and JSON of what a study's folder holds, and pairs for people.

    Args:
        folder: The study's.
        votes: What people said of its texts.
        first: More tables, which stand before the others.

    Returns:
        The tables, and the page's figures as such.

    Raises:
        FileNotFoundError: If there is no study in it.
        ValueError: If the study is damaged, or no cell of it has been run.
    """
    study = read_study(folder)
    outcomes = read_outcomes(study, folder)
    if not outcomes:
        raise ValueError(f"{folder} holds a study, but no cell of it has been run yet")
    report = make_report(study, outcomes, votes, first)
    write_report(folder / PAGE_FILE, report)
    figures = [_of_curve(curve) for curve in report.curves if curve.drawable]
    write_json(
        folder / TABLES_FILE,
        {
            "finding": report.finding,
            "lead": report.lead,
            "tables": [_as_json(table) for table in report.tables],
            "figures": [_as_json(table) for table in figures],
            **_provenance(outcomes),
        },
    )
    every = [*report.tables, *figures]
    (folder / "tables").mkdir(exist_ok=True)
    for table in every:
        (folder / "tables" / f"{_file_name(table)}.csv").write_text(_csv(table), encoding="utf-8")
    _write_lines(folder / HACKS_FILE, pairs_to_label(hacked(study, outcomes)))
    _write_lines(folder / PEOPLE_FILE, people_pairs(study, outcomes))
    return every


def _write_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes JSON Lines; of no rows no file."""
    if rows:
        with atomic_file(path) as file:
            file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


def _of_curve(curve: Curve) -> Table:
    """A figure's points, with the ends of a band where it has one."""
    rows = []
    for name, points in curve.lines.items():
        ends = {x: (low, high) for x, low, high in curve.bands.get(name, ())}
        rows += [(name, x, y, *ends.get(x, ("", ""))) for x, y in points]
    return Table(
        title=f"Figure: {curve.title}",
        header=("line", curve.x_label, curve.y_label, "low", "high"),
        rows=rows,
        caption=curve.caption,
    )


def table_text(table: Table) -> str:
    """A table as lines of text, columns aligned, its caption below the title."""
    cells = [[_short(cell) for cell in row] for row in (table.header, *table.rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join([table.title, *(lines if table.rows else ["none"])])


def _short(cell: object) -> str:
    text = f"{cell:.3g}" if isinstance(cell, float) else " ".join(str(cell).split())
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 3]}..."


def _csv(table: Table) -> str:
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows([table.header, *table.rows])
    return written.getvalue()


def _file_name(table: Table) -> str:
    return re.sub(r"[^a-z0-9]+", "-", table.title.lower()).strip("-")


def _as_json(table: Table) -> dict[str, Any]:
    return {
        "title": table.title,
        "caption": table.caption,
        "header": list(table.header),
        "rows": [list(row) for row in table.rows],
    }


def _provenance(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Versions and threads that cells were run with; more than one of a kind is said."""
    found: dict[str, set[str]] = {}
    for cell in outcomes:
        for name, value in cell.cost.get("versions", {}).items():
            found.setdefault(name, set()).add(value)
        for name in ("threads", "machine"):
            if name in cell.cost:
                found.setdefault(name, set()).add(str(cell.cost[name]))
    return {"made with": {name: ", ".join(sorted(each)) for name, each in found.items()}}


def _disagreements(study: Study, outcomes: Sequence[Outcome]) -> Table:
    rows = [
        (
            *(row[k] for k in ("reward", "agent", "seed")),
            *(f"{row[k]:+.2f}" for k in ("proxy", "gold")),
            *(row[k] for k in ("prompt", "completion", "start")),
        )
        for row in hacked(study, outcomes)
    ]
    return Table(
        title="Where reward and gold disagree most",
        header=(
            *("reward", "agent", "seed", "by it", "by the gold", "prompt", "completion"),
            "the start wrote",
        ),
        rows=rows,
        caption=(
            "Last texts that their reward raised furthest above what the gold thinks of them, in "
            "standard deviations of the start's texts: the ones to show to people first."
        ),
    )


def _curves(study: Study, outcomes: Sequence[Outcome], agents: Sequence[str]) -> list[Curve]:
    """A panel a reward and agent, its own score and the gold; and all golds of an agent."""
    found = [profile_curve(study, outcomes), spread_curve(study, outcomes)]
    for agent in agents:
        lines, bands = {}, {}
        for name in study.conditions:
            points = _mean_curve(of_condition(outcomes, name, agent), GOLD)
            if points:
                lines[name] = [(d, value) for d, value, *_ in points]
                bands[name] = _band(points)
        found.append(
            Curve(
                title=f"The gold by all: {agent}",
                x_label="root of KL, nats",
                y_label="gold gain",
                lines=lines,
                bands=bands,
                caption="Means over seeds, with 95 % intervals from three seeds on.",
            )
        )
        for name in study.rewards:
            cells = of_condition(outcomes, name, agent)
            own, gold = (_mean_curve(cells, judge, scaled=True) for judge in (name, GOLD))
            if own and gold:
                peak = max(gold, key=lambda point: point[1])
                found.append(
                    Curve(
                        title=f"{name}, {agent}",
                        x_label="root of KL, nats",
                        y_label="gain, deviations of the start",
                        lines={
                            name: [(d, value) for d, value, *_ in own],
                            "gold": [(d, value) for d, value, *_ in gold],
                        },
                        bands={
                            name: _band(own),
                            "gold": _band(gold),
                        },
                        caption=f"The gold is highest at {peak[0] ** 2:.2g} nats.",
                    )
                )
    return found


def _band(points: Sequence[tuple[float, ...]]) -> list[tuple[float, float, float]]:
    """Root of KL and the ends of the gain, of the points that have them."""
    return [(point[0], point[2], point[3]) for point in points if point[2:]]


def _mean_curve(
    cells: Sequence[Outcome], judge: str, *, scaled: bool = False
) -> list[tuple[float, ...]]:
    """Means over seeds of root KL and gain, measurement by measurement, with the gain's ends."""
    runs = []
    for cell in cells:
        points = curves(cell, judge)
        unit = 1.0
        if points and scaled:
            unit = cell.snapshots[0]["scores"][judge].get("deviation") or 1.0
        if len(points) > 1:
            runs.append([(d, gain / unit) for d, gain in points])
    shortest = min(map(len, runs), default=0)
    found: list[tuple[float, ...]] = []
    for k in range(shortest):
        distances, gains = (np.array(each) for each in zip(*(run[k] for run in runs), strict=True))
        ends: tuple[float, ...] = ()
        if len(gains) >= FEWEST_SEEDS:
            interval = seed_interval([gains], np.random.default_rng(0), repetitions=500)
            ends = interval.low, interval.high
        found.append((float(distances.mean()), float(gains.mean()), *ends))
    return found
