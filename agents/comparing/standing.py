"""The leaderboard: what each reward, optimised by each agent, is worth to the gold.

Gains are means over test prompts, above the start of the same seed, in the gold's own unit; a seed
is a replicate. A gain at so many nats is counted only where every seed that was run has come so
far, and those that failed are said: nothing is left out in silence.

Simplification: best of n is given the upper bound of its KL, which no learner's can be set against.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from agents.comparing.study import BEST_OF_N, GOLD
from agents.reports.charts import Curve
from agents.reports.report import Table
from textgym.statistics.overoptimisation import value_at_kl
from textgym.statistics.ranks import rank_intervals
from textgym.statistics.seeds import (
    FEWEST_SEEDS,
    improvement,
    interquartile_mean,
    profile,
    seed_interval,
    smallest_difference,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from agents.comparing.campaign import Outcome
    from agents.comparing.study import Study

__all__ = [
    "LEVELS",
    "best",
    "figure",
    "final_gain",
    "improvement_table",
    "leaderboard",
    "of_condition",
    "overall",
    "profile_curve",
    "spread_curve",
]

LEVELS = (1.0, 2.0, 4.0, 8.0)
"""Nats at which all are compared."""

_SEED = 0  # of the intervals
_PLACES = 21  # of a profile
_DECILES = 10


def leaderboard(
    study: Study,
    outcomes: Sequence[Outcome],
    people: Mapping[tuple[str, str], str] | None = None,
) -> list[Table]:
    """A table for each agent: a reward a row, the highest gain at equal tokens first.

    Args:
        study: What was compared.
        outcomes: Its cells.
        people: What people say of each reward's and agent's texts, if any do.
    """
    return [_of_agent(study, outcomes, agent, people or {}) for agent in _agents(study, outcomes)]


def overall(study: Study, outcomes: Sequence[Outcome]) -> Table:
    """Each reward over all agents at equal tokens, an agent's seeds a stratum."""
    agents = _agents(study, outcomes)
    rows = []
    for reward in study.conditions:
        strata = [_known(_finals(study, outcomes, reward, agent)) for agent in agents]
        rows.append((reward, strata))
    rows.sort(key=lambda row: -_pooled(row[1]))
    return Table(
        title="Rewards over all agents",
        header=("reward", "gold gain at equal tokens", "seeds"),
        rows=[
            (name, _stratified(strata), f"{sum(map(len, strata))} of {study.seeds * len(agents)}")
            for name, strata in rows
        ],
        caption=(
            "The interquartile mean over all agents' seeds, with a 95 % interval that draws seeds "
            "inside each agent. Nothing is counted for cells that failed."
        ),
    )


def improvement_table(study: Study, outcomes: Sequence[Outcome]) -> Table:
    """How likely a run with the row's reward gains more than one with the column's."""
    agents, names = _agents(study, outcomes), list(study.conditions)
    runs = {
        name: [_known(_finals(study, outcomes, name, agent)) for agent in agents] for name in names
    }
    return Table(
        title="Probability of improvement",
        header=("reward", *(f"over {name}" for name in names)),
        rows=[
            (
                row,
                *(
                    "" if row == column else _improvement(runs[row], runs[column])
                    for column in names
                ),
            )
            for row in names
        ],
        caption=(
            "How likely a run that optimised the row's reward gains more by the gold, at equal "
            "tokens, than one that optimised the column's: over all pairs of seeds of one agent, "
            "the mean over agents, with Newcombe's 95 % interval. An interval that holds 0.5 "
            "leaves it open."
        ),
    )


def _improvement(
    first: Sequence[NDArray[np.float64]], second: Sequence[NDArray[np.float64]]
) -> str:
    both = [pair for pair in zip(first, second, strict=True) if min(map(len, pair)) >= FEWEST_SEEDS]
    if not both:
        return "none"
    found = improvement([x for x, _ in both], [y for _, y in both])
    return f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})"


def profile_curve(study: Study, outcomes: Sequence[Outcome]) -> Curve:
    """The share of all runs of a reward that gained more than so much."""
    agents = _agents(study, outcomes)
    strata = {
        name: [
            known for agent in agents if len(known := _known(_finals(study, outcomes, name, agent)))
        ]
        for name in study.conditions
    }
    strata = {name: each for name, each in strata.items() if each}
    ends = [gain for each in strata.values() for runs in each for gain in runs]
    levels = np.linspace(min(ends), max(ends), _PLACES).tolist() if ends else []
    shares = {name: profile(each, levels) for name, each in strata.items()}
    return Curve(
        title="Performance profiles",
        x_label="gold gain at equal tokens",
        y_label="share of runs above",
        lines={
            name: [(level, one.value) for level, one in zip(levels, each, strict=True)]
            for name, each in shares.items()
        },
        bands={
            name: [(level, one.low, one.high) for level, one in zip(levels, each, strict=True)]
            for name, each in shares.items()
            if name in (GOLD, _best_name(strata))
        },
        caption=(
            "All agents' runs together. A line that lies above another everywhere belongs to the "
            "better reward; where they cross, neither is. Wilson's 95 % bands are drawn of the "
            "gold and of the best by its middle."
        ),
    )


def _best_name(strata: Mapping[str, Sequence[NDArray[np.float64]]]) -> str:
    """The reward whose runs have the highest middle, the gold apart; empty where there is none."""
    others = [name for name in strata if name != GOLD]
    return max(others, key=lambda name: _pooled(strata[name]), default="")


def spread_curve(study: Study, outcomes: Sequence[Outcome]) -> Curve:
    """How far a prompt's completions by the start lie apart, by each reward."""
    lines = {}
    for name in study.conditions:
        cells = of_condition(outcomes, name, BEST_OF_N)
        spreads = [value for each in cells for value in each.result.get("within prompts") or ()]
        if spreads:
            shares = np.linspace(0, 1, _DECILES + 1)
            heights = np.interp(shares, np.linspace(0, 1, len(spreads)), np.sort(spreads))
            lines[name] = [(float(x), float(y)) for x, y in zip(shares, heights, strict=True)]
    return Curve(
        title="Spread of the reward within prompts",
        x_label="share of prompts",
        y_label="deviations, at most",
        lines=lines,
        caption=(
            "The standard deviation of a prompt's completions by the start, over that of all "
            "scores; prompts of all seeds, the narrowest first. A policy learns from what lies "
            "within a prompt alone: where a line is low, there is little to learn from."
        ),
    )


def best(study: Study, outcomes: Sequence[Outcome], agent: str) -> str:
    """A sentence on which of the compared rewards may be the best with this agent."""
    names = list(study.rewards)
    runs = np.array([_finals(study, outcomes, name, agent) for name in names])
    ranks = rank_intervals(runs)
    first = [name for name, rank in zip(names, ranks, strict=True) if rank.low == 1]
    if len(first) == len(names) > 1:
        return f"with {agent} the rewards are not distinguishable"
    several = " and ".join([", ".join(first[:-1]), first[-1]] if first[1:] else first)
    kind = "are not distinguishable as the best" if first[1:] else "is the best"
    return f"with {agent} {several} {kind}"


def _of_agent(
    study: Study,
    outcomes: Sequence[Outcome],
    agent: str,
    people: Mapping[tuple[str, str], str],
) -> Table:
    names = list(study.conditions)
    finals = np.array([_finals(study, outcomes, name, agent) for name in names])
    ranks = rank_intervals(finals)
    order = sorted(range(len(names)), key=lambda k: -_centre(finals[k]))
    rows = []
    for k in order:
        cells = of_condition(outcomes, names[k], agent)
        at = [_at_level(cells, level) for level in LEVELS]
        low, high = ranks[k].low, ranks[k].high
        rows.append(
            (
                names[k],
                figure(_known(finals[k])),
                f"{low}" if low == high else f"{low} to {high}",
                *at,
                *([people.get((names[k], agent), "not asked")] if people else []),
                f"{len(_known(finals[k]))} of {study.seeds}",
            )
        )
    return Table(
        title=f"Leaderboard: {agent}",
        header=(
            "reward",
            "gold gain at equal tokens",
            "rank",
            *(f"at {level:g} nats" for level in LEVELS),
            *(["people: wins over the start"] if people else []),
            "seeds",
        ),
        rows=rows,
        caption=_caption(study, finals, agent),
    )


def _caption(study: Study, finals: NDArray[np.float64], agent: str) -> str:
    said = (
        f"What {study.tokens:,} tokens of optimising gained by the gold, above the start: the "
        "interquartile mean over seeds and its 95 % interval. Ranks are those that paired tests "
        "leave open; where they overlap, two rewards are not distinguishable."
    )
    if agent == BEST_OF_N:
        said += " KL is an upper bound here, and is not to be set against a learner's."
    smallest = _smallest(finals)
    if smallest is not None:
        said += (
            f" Two rewards had to differ by {smallest:.3g} to be told apart by so many seeds in "
            "four studies of five."
        )
    else:
        said += f" With fewer than {FEWEST_SEEDS} seeds there are no intervals, and no ranks."
    return said


def _smallest(finals: NDArray[np.float64]) -> float | None:
    """At the median deviation of paired differences, between all two rows."""
    deviations, counts = [], []
    for first in range(len(finals)):
        for second in range(first):
            known = _known(finals[first] - finals[second])
            if len(known) >= FEWEST_SEEDS:
                deviations.append(float(known.std(ddof=1)))
                counts.append(len(known))
    if not deviations:
        return None
    return smallest_difference(float(np.median(deviations)), min(counts))


def of_condition(outcomes: Sequence[Outcome], reward: str, agent: str) -> list[Outcome]:
    """The cells of a reward and an agent, by seed."""
    mine = [each for each in outcomes if (each.reward, each.agent) == (reward, agent)]
    return sorted(mine, key=lambda each: each.seed)


def final_gain(cell: Outcome, judge: str = GOLD) -> float:
    """What a cell has gained by a judge at the end of its tokens; NaN where it failed."""
    if cell.failed or not cell.snapshots:
        return math.nan
    within = [
        each
        for each in cell.snapshots
        if cell.agent != BEST_OF_N or each["tokens"] <= _budget(cell) or each["n"] == 1
    ]
    return _score(within[-1], judge) - _score(cell.snapshots[0], judge)


def _budget(cell: Outcome) -> int:
    return int(cell.result["cell"]["study"]["tokens"])


def _score(snapshot: object, judge: str) -> float:
    scores = snapshot["scores"].get(judge)  # type: ignore[index] # it is read from JSON
    return math.nan if scores is None or scores["mean"] is None else float(scores["mean"])


def _finals(
    study: Study, outcomes: Sequence[Outcome], reward: str, agent: str
) -> NDArray[np.float64]:
    """Gains by the gold, ``(S,)``, NaN where there is none."""
    finals = np.full(study.seeds, np.nan)
    for cell in of_condition(outcomes, reward, agent):
        finals[cell.seed] = final_gain(cell)
    return finals


def _at_level(cells: Sequence[Outcome], level: float) -> str:
    """The gain at so many nats, or how many seeds came so far."""
    gains = []
    for cell in cells:
        if any(each["kl"] is None for each in cell.snapshots):
            return "KL unknown"
        if cell.snapshots:
            kl = [each["kl"] for each in cell.snapshots]
            gold = [_score(each, GOLD) for each in cell.snapshots]
            gains.append(value_at_kl(kl, gold, level) - gold[0])
    known = [gain for gain in gains if math.isfinite(gain)]
    if len(known) < len(cells) or not known:
        return f"reached by {len(known)} of {len(cells)}"
    return figure(np.array(known))


def figure(
    values: NDArray[np.float64],
    form: str = "{:+.3f}",
    within: tuple[float, float] = (-math.inf, math.inf),
) -> str:
    """The middle of runs with its interval, as far as there are runs enough.

    Args:
        values: ``(S,)``, all finite.
        form: How a number is written.
        within: Between what the truth can be; an interval ends there.
    """
    return _stratified([values], form, within)


def _stratified(
    strata: Sequence[NDArray[np.float64]],
    form: str = "{:+.3f}",
    within: tuple[float, float] = (-math.inf, math.inf),
) -> str:
    known = [each for each in strata if len(each)]
    if not known:
        return "none"
    if any(len(each) < FEWEST_SEEDS for each in known):
        return _rounded(interquartile_mean(np.concatenate(known)), form)
    found = seed_interval(known, np.random.default_rng(_SEED))
    low, high = (_rounded(end, form) for end in np.clip((found.low, found.high), *within))
    return f"{_rounded(found.value, form)} ({low} to {high})"


def _rounded(value: float, form: str) -> str:
    """A number as it is written; what rounds to nothing has no minus before it."""
    shown = form.format(value)
    return form.format(0.0) if float(shown) == 0 else shown


def _pooled(strata: Sequence[NDArray[np.float64]]) -> float:
    return _centre(np.concatenate([np.zeros(0), *strata]))


def _centre(values: NDArray[np.float64]) -> float:
    known = _known(values)
    return interquartile_mean(known) if len(known) else -math.inf


def _known(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values[np.isfinite(values)]


def _agents(study: Study, outcomes: Sequence[Outcome]) -> list[str]:
    """Those that have a cell, best of n first."""
    there = {each.agent for each in outcomes}
    return [name for name in (BEST_OF_N, *study.learners) if name in there]
