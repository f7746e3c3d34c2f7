"""What the models of ``textgym reward curve`` are worth, as tables in Markdown and as curves.

Simplification: intervals draw the test's prompts anew, not the seeds; the worst and the best seed
say how far other pairs and first weights move a figure.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import expit

from reward_models.card.charts import curve_chart, save_charts
from textgym.statistics.bootstrap import cluster_interval, cluster_mean_interval
from textgym.statistics.calibration import (
    calibration_error,
    cross_fitted,
    probabilities,
    reliability_part,
)
from textgym.statistics.linked import grouped

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from numpy.typing import NDArray

__all__ = ["Trained", "accuracy_table", "confidence_table", "draw_curves", "trained_of"]


_REPETITIONS = 400  # of a reliability part, which takes a sort


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """The models of several seeds that learned from as many pairs in the same way.

    Attributes:
        model: The model's name.
        size: How many pairs each learned from.
        noise: The share of them that was turned round.
        leads: How far each seed's model puts the chosen text of each test pair above the other
            one, in log-odds, ``(S, N)`` float64.
        labels: Each seed's share of texts on the right side of the mean score; empty where prompts
            decide as well.
        seconds: How long each took to learn.
    """

    model: str
    size: int
    noise: float
    leads: NDArray[np.float64]
    labels: Sequence[float]
    seconds: Sequence[float]

    @property
    def says(self) -> str:
        """The first cells of a row."""
        return f"| {Path(self.model).name} | {self.size:,} | {self.noise:g} |"


def trained_of(found: Sequence[dict[str, Any]]) -> Trained:
    """Puts the results of several seeds together."""
    first = found[0]
    return Trained(
        model=first["model"],
        size=first["size"],
        noise=first["noise"],
        leads=np.array([result["leads"] for result in found], dtype=np.float64),
        labels=[r["label_accuracy"] for r in found if "label_accuracy" in r],
        seconds=[result["seconds"] for result in found],
    )


def accuracy_table(trained: Sequence[Trained], prompts: Sequence[Hashable]) -> list[str]:
    """Says how often the models order a test pair rightly.

    Args:
        trained: The models, a row each.
        prompts: What the intervals draw, ``(N,)``.

    Returns:
        Lines of Markdown. An accuracy is the mean over seeds, and its interval that of the mean;
        what it is over the first model's is measured on the same pairs.
    """
    first = {(one.size, one.noise): one for one in reversed(trained)}
    base = Path(trained[0].model).name
    lines = [
        f"| model | pairs | noise | accuracy (95 %) | over {base} | worst and best seed | labels "
        "| seconds |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for one in trained:
        right = _right(one.leads)
        each = right.mean(axis=1)
        labels = f"{np.mean(one.labels):.3f}" if one.labels else ""
        other = first[one.size, one.noise]
        over = right.mean(axis=0) - _right(other.leads).mean(axis=0)
        lines.append(
            f"{one.says} {_mean(right.mean(axis=0), prompts)} | "
            f"{'' if other is one else _mean(over, prompts)} | {each.min():.3f}, "
            f"{each.max():.3f} | {labels} | {np.mean(one.seconds):.0f} |"
        )
    return lines


def confidence_table(trained: Sequence[Trained], prompts: Sequence[Hashable]) -> list[str]:
    """Says how far the models' confidence is to be trusted, each alone and their mean score.

    The log-loss of a mean of log-odds is never above the mean log-loss; that it is lower by so much
    is the news. The calibration error is a picture: its differences have no interval that holds the
    truth, those of the Brier score's reliability part have.

    Args:
        trained: The models, two rows each: what a model of one seed is worth on average, and the
            mean of the seeds' leads, where there are several.
        prompts: What intervals draw and what temperatures keep apart, ``(N,)``.

    Returns:
        Lines of Markdown. Temperatures are fitted on the other half of the test's prompts.
    """
    lines = [
        "| model | pairs | noise | whose scores | accuracy (95 %) | calibration error | log-loss | "
        "over one seed's (95 %) | Brier | over one seed's (95 %) | its reliability part | over one "
        "seed's (95 %) | temperature | error at it | log-loss at it |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- "
        "|",
    ]
    for one in trained:
        ways = {"one seed's": one.leads}
        if len(one.leads) > 1:
            ways[f"mean of {len(one.leads)}"] = one.leads.mean(axis=0, keepdims=True)
        for whose, leads in ways.items():
            accuracy = _mean(_right(leads).mean(axis=0), prompts)
            confidence = _confidence(leads, one.leads, prompts)
            lines.append(f"{one.says} {whose} | {accuracy} | {confidence} |")
    return lines


def draw_curves(trained: Sequence[Trained], prompts: Sequence[Hashable], path: Path) -> None:
    """Draws accuracy against pairs without noise, and against noise with the most pairs there are.

    Args:
        trained: The models.
        prompts: What the intervals draw, ``(N,)``.
        path: A ``.png`` or ``.svg``; a curve of one point is left out where the other has more.
    """
    rows = []
    for one in trained:
        right = _right(one.leads).mean(axis=0)
        low, high = _interval(right, prompts)
        row = {"model": Path(one.model).name, "value": right.mean(), "low": low, "high": high}
        rows.append((one.size, one.noise, row))
    least, most = min(one.noise for one in trained), max(one.size for one in trained)
    sizes = [row | {"place": size} for size, noise, row in rows if noise == least]
    noises = [row | {"place": noise} for size, noise, row in rows if size == most]
    curves = [(sizes, "pairs"), (noises, "share of the answers turned round")]
    several = [curve for curve in curves if len({row["place"] for row in curve[0]}) > 1]
    draws = [curve_chart(*curve) for curve in several or curves[:1]]
    save_charts(draws, path, (4.8 * len(draws), 3.6))


def _confidence(
    leads: NDArray[np.float64], alone: NDArray[np.float64], prompts: Sequence[Hashable]
) -> str:
    """Ten cells: means over the rows, before and at the temperature of each."""
    several = leads is not alone
    cells = [f"{np.mean([_figures(lead)[0] for lead in leads]):.3f}"]
    for score in (_losses, _squares):
        here, there = score(leads).mean(axis=0), score(alone).mean(axis=0)
        cells += [f"{here.mean():.3f}", _signed(here - there, prompts) if several else ""]
    part = np.mean([reliability_part(probabilities(lead)) for lead in leads])
    cells += [f"{part:.4f}", _over_one(alone, prompts) if several else ""]
    try:
        fitted = [cross_fitted(lead, grouped(prompts)) for lead in leads]
    except ValueError:  # nothing to fit: all pairs are in order, or the model knows nothing
        return " | ".join([*cells, "none", "", ""])
    after = np.mean([_figures(lead) for lead, _ in fitted], axis=0)
    temperature = np.exp(np.mean(np.log([temperature for _, temperature in fitted])))
    return " | ".join([*cells, f"{temperature:.2f}", *(f"{figure:.3f}" for figure in after)])


def _figures(lead: NDArray[np.float64]) -> tuple[float, float]:
    return calibration_error(probabilities(lead)), float(_losses(lead).mean())


def _losses(leads: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.logaddexp(0.0, -leads)


def _squares(leads: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((1 - expit(leads)) ** 2, dtype=np.float64)


def _over_one(leads: NDArray[np.float64], prompts: Sequence[Hashable]) -> str:
    """How far the reliability part of the mean's score is above the mean of the seeds' own."""
    mean, each = probabilities(leads.mean(axis=0)), [probabilities(lead) for lead in leads]

    def over(rows: NDArray[np.intp]) -> float:
        alone = np.mean([reliability_part(given[rows]) for given in each])
        return reliability_part(mean[rows]) - float(alone)

    low, high = cluster_interval(over, prompts, np.random.default_rng(0), _REPETITIONS)
    return f"{over(np.arange(len(mean))):+.4f} ({low:+.4f} to {high:+.4f})"


def _signed(values: NDArray[np.float64], prompts: Sequence[Hashable]) -> str:
    low, high = _interval(values, prompts)
    return f"{values.mean():+.3f} ({low:+.3f} to {high:+.3f})"


def _right(leads: NDArray[np.float64]) -> NDArray[np.float64]:
    return (np.sign(leads) + 1) / 2


def _mean(values: NDArray[np.float64], prompts: Sequence[Hashable]) -> str:
    low, high = _interval(values, prompts)
    return f"{values.mean():.3f} ({low:.3f} to {high:.3f})"


def _interval(values: NDArray[np.float64], prompts: Sequence[Hashable]) -> tuple[float, float]:
    return cluster_mean_interval(values, prompts, np.random.default_rng(0))
