"""What is expected of a standard study, and what of it was found.

An expectation is a difference: one reward's runs gain more by the gold than another's, or lose more
of what they had gained. It is held against the runs seed by seed, and what seeds leave open is
called so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from agents.comparing.standing import final_gain, of_condition
from agents.comparing.study import GOLD
from agents.comparing.turning import curves
from agents.reports.report import Table
from textgym.statistics.seeds import FEWEST_SEEDS, interquartile_mean, seed_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agents.comparing.campaign import Outcome

__all__ = ["Expectation", "expected_table"]

_SEED = 0  # of the intervals


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """One reward does more than another.

    Attributes:
        claim: The sentence that it stands for.
        agent: Who optimises both.
        more: The reward with the higher figure.
        less: The reward with the lower one.
        figure: The gold's gain at the end, or what it lost after its peak.
    """

    claim: str
    agent: str
    more: str
    less: str
    figure: Literal["gain", "drop"] = "gain"


def expected_table(expectations: Sequence[Expectation], outcomes: Sequence[Outcome]) -> Table:
    """A row for each: the difference between the two rewards, and whether it is as expected.

    Args:
        expectations: The study's.
        outcomes: Its cells, as far as they are there.
    """
    rows = []
    for each in expectations:
        said, verdict = _judged(each, outcomes)
        pair = f"{each.more} less {each.less}"
        rows.append((each.claim, each.agent, f"{each.figure} of {pair}", said, verdict))
    return Table(
        title="Expected results",
        header=("expected", "agent", "figure", "difference", "found"),
        rows=rows,
        caption=(
            "Differences of the same seed's runs, their interquartile mean with its 95 % interval. "
            "As expected: the whole interval is above 0; open: it holds 0, or there are fewer than "
            f"{FEWEST_SEEDS} seeds."
        ),
    )


def _judged(expectation: Expectation, outcomes: Sequence[Outcome]) -> tuple[str, str]:
    """The difference as text, and the verdict."""
    more, less = (
        {
            cell.seed: value
            for cell in of_condition(outcomes, name, expectation.agent)
            if np.isfinite(value := _figure(cell, expectation.figure))
        }
        for name in (expectation.more, expectation.less)
    )
    apart = np.array([more[seed] - less[seed] for seed in sorted(more.keys() & less.keys())])
    if not len(apart):
        return "none", "not run"
    if len(apart) < FEWEST_SEEDS:
        return f"{interquartile_mean(apart):+.3f}", "open"
    found = seed_interval([apart], np.random.default_rng(_SEED))
    verdict = "as expected" if found.low > 0 else "otherwise" if found.high < 0 else "open"
    return f"{found.value:+.3f} ({found.low:+.3f} to {found.high:+.3f})", verdict


def _figure(cell: Outcome, figure: str) -> float:
    """A cell's gain or drop by the gold; NaN where it failed."""
    if figure == "gain" or cell.failed:
        return final_gain(cell)
    gains = [gain for _, gain in curves(cell, GOLD)]
    return max(gains) - gains[-1] if gains else float("nan")
