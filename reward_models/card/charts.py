"""The pictures of reward cards, of best of n and of learning curves, as SVG or PNG.

Equal figures give equal bytes, whatever the user's matplotlib settings. Letters are drawn as
outlines, so that a picture looks the same wherever it is shown.
"""

from __future__ import annotations

import base64
import io
import math
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import style
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

__all__ = [
    "accuracy_chart",
    "best_of_n_chart",
    "changes_chart",
    "curve_chart",
    "data_address",
    "margin_chart",
    "reliability_chart",
    "save_chart",
    "save_charts",
    "truncation_chart",
]

# Okabe and Ito's colours, told apart by the colour-blind; markers and dashes tell them apart too.
_BLUE, _RED, _GREEN, _GREY = "#0072B2", "#D55E00", "#009E73", "#777777"
_COLOURS, _MARKERS = (_BLUE, _RED, _GREEN, "#CC79A7", "#E69F00", _GREY), "osD^vP"
_SETTINGS = {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.axisbelow": True,
    "font.size": 10,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "svg.fonttype": "path",
    "svg.hashsalt": "textgym",
    # A dollar sign in a label is a dollar sign.
    "text.parse_math": False,
}
_LONGEST_LABEL = 38


def data_address(draw: Callable[[Axes], None], size: tuple[float, float] = (4.7, 3.1)) -> str:
    """Draws a chart as an address that holds it: the ``src`` of an image that loads nothing."""
    return "data:image/svg+xml;base64," + base64.b64encode(_drawn([draw], size, "svg")).decode()


def save_chart(
    draw: Callable[[Axes], None], path: Path, size: tuple[float, float] = (6.4, 4.0)
) -> None:
    """Writes a chart as PNG or SVG, by the path's suffix."""
    save_charts([draw], path, size)


def save_charts(
    draws: Sequence[Callable[[Axes], None]], path: Path, size: tuple[float, float] = (9.6, 6.4)
) -> None:
    """Writes one chart, or several in rows of two, as PNG or SVG, by the path's suffix."""
    path.write_bytes(_drawn(draws, size, path.suffix.lstrip(".")))


def accuracy_chart(
    rows: Sequence[Mapping[str, Any]], people: Mapping[str, Any]
) -> Callable[[Axes], None]:
    """Accuracy of each row with its interval, and how people and the reward agree with the others.

    Args:
        rows: The card's accuracy.
        people: The card's section on people.
    """
    figures = [(_label(row), row["accuracy"]) for row in rows]
    with_others = [
        ("the reward, with majorities of people", people["reward_with_majority"]),
        ("a person, with the same majorities", people["with_majority"]),
    ]
    shown = [entry for entry in [*figures, *with_others] if entry[1]["value"] is not None]

    def draw(axes: Axes) -> None:
        _whiskers(axes, [label for label, _ in shown], [figure for _, figure in shown])
        if shown[-1][1] is people["with_majority"]:
            axes.plot([people["with_majority"]["value"]], [1 - len(shown)], "s", color=_GREEN)
        axes.axvline(0.5, color=_GREY, linestyle=":")
        axes.set_xlabel("accuracy; the dotted line is a coin")

    return draw


def reliability_chart(
    before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]] | None
) -> Callable[[Axes], None]:
    """Accuracy against confidence, in bins of equal mass, with Wilson's intervals."""

    def draw(axes: Axes) -> None:
        axes.plot([0.5, 1], [0.5, 1], color=_GREY, linestyle=":", label="as sure as right")
        series = [("as it is", before, _BLUE, "o"), ("with temperature", after, _RED, "s")]
        for name, bins, colour, marker in series:
            if bins is None:
                continue
            heights = [part["accuracy"] for part in bins]
            low, high = np.array([part["wilson"] for part in bins]).T
            axes.errorbar(
                [part["confidence"] for part in bins],
                heights,
                yerr=[heights - low, high - heights],
                color=colour,
                marker=marker,
                markersize=4,
                linewidth=1.2,
                elinewidth=0.7,
                label=name,
            )
        axes.set_xlabel("confidence")
        axes.set_ylabel("accuracy")
        axes.set_xlim(0.48, 1.02)
        axes.set_ylim(-0.02, 1.02)
        axes.grid(visible=True)
        _legend(axes)

    return draw


def margin_chart(margins: Mapping[str, Any]) -> Callable[[Axes], None]:
    """How far the chosen text is ahead: pairs in the wrong order are on the left of 0."""

    def draw(axes: Axes) -> None:
        edges, counts = np.array(margins["edges"]), np.array(margins["counts"])
        colours = np.where(edges[:-1] + edges[1:] > 0, _BLUE, _RED)
        axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color=list(colours))
        axes.axvline(0, color=_GREY, linestyle=":")
        axes.locator_params(axis="x", nbins=5)  # more would run into each other
        axes.set_xlabel("score of the chosen text over the other's")
        axes.set_ylabel("pairs")
        axes.grid(visible=True, axis="y")

    return draw


def changes_chart(rows: Sequence[Mapping[str, Any]]) -> Callable[[Axes], None]:
    """What each change of a text does to its score, with intervals."""

    def draw(axes: Axes) -> None:
        known = [row for row in rows if row["effect"]["value"] is not None]
        _whiskers(axes, [row["name"] for row in known], [row["effect"] for row in known])
        axes.axvline(0, color=_GREY, linestyle=":")
        axes.set_xlabel("change of the score, standard deviations")

    return draw


def truncation_chart(rows: Sequence[Mapping[str, Any]]) -> Callable[[Axes], None]:
    """Accuracy on cut texts, and how far their scores follow those of the whole ones."""

    def draw(axes: Axes) -> None:
        shares = [100 * row["share"] for row in rows]
        for key, name, colour, dash in (
            ("accuracy", "accuracy", _BLUE, "-"),
            ("correlation", "rank correlation with the whole text's score", _RED, "--"),
        ):
            values = [np.nan if row[key]["value"] is None else row[key]["value"] for row in rows]
            axes.plot(shares, values, color=colour, linestyle=dash, marker="o", label=name)
        axes.axhline(0.5, color=_GREY, linestyle=":")
        axes.set_xlabel("words kept, %")
        axes.grid(visible=True)
        _legend(axes)

    return draw


def best_of_n_chart(
    curves: Mapping[str, Any], *, gold_name: str, fit: Mapping[str, Any] | None = None
) -> Callable[[Axes], None]:
    """The gold and the proxy, both as gains over n = 1, against the bound of KL.

    Args:
        curves: The fields of a ``BestOfNCurve``.
        gold_name: What the gold is called.
        fit: The fields of an ``OveroptimisationFit``; None for none.
    """

    def draw(axes: Axes) -> None:
        kl = np.array(curves["kl_bounds"])
        gold, start = np.array(curves["gold"]), curves["gold"][0]
        if curves["gold_low"] is not None:
            low, high = np.array(curves["gold_low"]), np.array(curves["gold_high"])
            axes.fill_between(kl, low - start, high - start, color=_BLUE, alpha=0.15, linewidth=0)
        axes.plot(kl, gold - start, color=_BLUE, marker="o", label=f"gold: {gold_name}")
        proxy = np.array(curves["proxy"]) - curves["proxy"][0]
        right = axes.twinx()
        right.plot(kl, proxy, color=_RED, linestyle="--", marker="s", markersize=4)
        right.spines["right"].set_visible(True)
        right.set_ylabel("proxy, gain", color=_RED)
        axes.plot([], [], color=_RED, linestyle="--", marker="s", markersize=4, label="proxy")
        if fit is not None:
            distance = np.sqrt(np.linspace(0, kl[-1], 200))
            form = distance * (fit["alpha"] - fit["beta"] * distance)
            axes.plot(distance**2, form, color=_GREY, linestyle=":", label="d (alpha - beta d)")
        axes.set_xlabel("KL, nats (upper bound)")
        axes.set_ylabel("gold, gain", color=_BLUE)
        axes.grid(visible=True)
        _legend(axes)

    return draw


def curve_chart(rows: Sequence[Mapping[str, Any]], label: str) -> Callable[[Axes], None]:
    """Accuracy against what was changed, a line a model, with intervals.

    Args:
        rows: Each with the ``model``, the ``place`` on the axis, and ``value``, ``low``, ``high``.
        label: What the places are; numbers above 1 are drawn on a logarithmic scale.
    """
    models = list(dict.fromkeys(row["model"] for row in rows))

    def draw(axes: Axes) -> None:
        for number, model in enumerate(models):
            points = sorted((r for r in rows if r["model"] == model), key=lambda r: r["place"])
            value, low, high = (np.array([r[k] for r in points]) for k in ("value", "low", "high"))
            axes.errorbar(
                [row["place"] for row in points],
                value,
                yerr=[value - low, high - value],
                color=_COLOURS[number % len(_COLOURS)],
                marker=_MARKERS[number % len(_MARKERS)],
                linewidth=1.2,
                markersize=4,
                capsize=2,
                label=model,
            )
        if max(row["place"] for row in rows) > 1:
            places = sorted({row["place"] for row in rows})
            axes.set_xscale("log")
            axes.set_xticks(places, [f"{place:,}" for place in places])
            axes.minorticks_off()
        axes.set_xlabel(label)
        axes.set_ylabel("accuracy")
        axes.grid(visible=True)
        _legend(axes)

    return draw


def _whiskers(axes: Axes, labels: Sequence[str], figures: Sequence[Mapping[str, Any]]) -> None:
    """One row a figure, the first on top; a figure without an interval is a dot."""
    places = -np.arange(len(figures))
    for place, figure in zip(places, figures, strict=True):
        low, high = figure.get("low"), figure.get("high")
        if low is not None and high is not None:
            axes.plot([low, high], [place, place], color=_BLUE, linewidth=1.4)
    axes.plot([figure["value"] for figure in figures], places, "o", color=_BLUE, markersize=5)
    axes.set_yticks(places, labels)
    axes.set_ylim(-len(figures) + 0.4, 0.6)
    axes.grid(visible=True, axis="x")


def _label(row: Mapping[str, Any]) -> str:
    name = f"{row['division']}: {row['name']}" if row["division"] else row["name"]
    short = name if len(name) <= _LONGEST_LABEL else f"{name[: _LONGEST_LABEL - 3]}..."
    return f"{short} ({row['pairs']})"


def _legend(axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    # Below the axes, where it hides no point.
    axes.figure.legend(
        handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=9
    )


def _drawn(draws: Sequence[Callable[[Axes], None]], size: tuple[float, float], kind: str) -> bytes:
    with style.context(["default", _SETTINGS]), warnings.catch_warnings():
        # A name in letters that the font lacks is drawn as boxes; the tables have it in full.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=size, layout="constrained")
        columns = min(len(draws), 2)
        parts = figure.subfigures(math.ceil(len(draws) / columns), columns, squeeze=False)
        for draw, part in zip(draws, parts.flat, strict=False):
            draw(part.add_subplot())
        buffer = io.BytesIO()
        nothing = ("Creator", "Date", "Format", "Type") if kind == "svg" else ("Software",)
        figure.savefig(buffer, format=kind, dpi=144, metadata=dict.fromkeys(nothing))
    return buffer.getvalue()
