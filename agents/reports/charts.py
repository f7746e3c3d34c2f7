"""Line charts as SVG elements that stand inside an HTML page and need nothing else.

Equal curves give equal text, whatever the user's matplotlib settings.

Simplifications: linear axes only; every series is drawn point by point, so thin out what has more
than a few thousand points.
"""

from __future__ import annotations

import io
import math
import re
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING

from matplotlib import style
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

__all__ = ["Curve", "draw"]

# Okabe and Ito's colours, told apart by the colour-blind; the dashes tell them apart in grey.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
_DASHES = ("-", "--", "-.", ":")
_FEW_POINTS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A line chart.

    Attributes:
        title: Heading above the chart.
        x_label: What runs along the bottom, with its unit.
        y_label: What runs upwards, with its unit.
        lines: Points ``(x, y)`` by the name of their line; where one is not finite the line breaks.
        bands: Around lines, by their names: ``(x, low, high)``.
        bound: A value of y to mark with a dotted line.
        caption: One or two sentences on how to read it.
    """

    title: str
    x_label: str
    y_label: str
    lines: Mapping[str, Sequence[tuple[float, float]]]
    bound: float | None = None
    caption: str = ""
    bands: Mapping[str, Sequence[tuple[float, float, float]]] = field(default_factory=dict)

    @property
    def drawable(self) -> bool:
        """Whether any point is finite."""
        return any(_finite(points) for points in self.lines.values())

    @property
    def left_out(self) -> int:
        """How many points are not finite."""
        return sum(len(points) - len(_finite(points)) for points in self.lines.values())


def draw(curve: Curve, salt: str) -> str:
    """Draws one chart.

    Args:
        curve: What to draw.
        salt: Goes into the identifiers of the drawing; give each chart of a page its own.

    Returns:
        An ``<svg>`` element with a text for those who do not see it.
    """
    settings = {
        "axes.spines.right": False,
        "axes.spines.top": False,
        "font.size": 10,
        "svg.fonttype": "none",
        "svg.hashsalt": salt,
        # A dollar sign in a label is a dollar sign.
        "text.parse_math": False,
    }
    with style.context(["default", settings]):
        figure = Figure(figsize=(4.7, 3.1), layout="constrained")
        _plot(figure.add_subplot(), curve)
        buffer = io.StringIO()
        metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", metadata=metadata)
    return _inline(buffer.getvalue(), _description(curve))


def _finite(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]


def _plot(axes: Axes, curve: Curve) -> None:
    handles = []
    for number, (name, points) in enumerate(curve.lines.items()):
        if curve.bands.get(name):
            x, low, high = zip(*curve.bands[name], strict=True)
            colour = _COLOURS[number % len(_COLOURS)]
            axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        handles += axes.plot(
            [x if math.isfinite(x) else math.nan for x, _ in points],
            [y if math.isfinite(y) else math.nan for _, y in points],
            color=_COLOURS[number % len(_COLOURS)],
            linestyle=_DASHES[number % len(_DASHES)],
            linewidth=1.8,
            marker="o" if len(points) <= _FEW_POINTS else "",
            markersize=3,
        )
    labels = list(curve.lines)
    if curve.bound is not None and math.isfinite(curve.bound):
        handles.append(axes.axhline(curve.bound, color="#555555", linestyle=(0, (1, 2))))
        labels.append(f"bound {curve.bound:g}")
    axes.set_xlabel(curve.x_label)
    axes.set_ylabel(curve.y_label)
    axes.grid(color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)
    if len(handles) > 1:
        # Below the axes, where it hides no point.
        axes.figure.legend(
            handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=9
        )


def _description(curve: Curve) -> str:
    parts = [f"Line chart, {curve.title}: {curve.y_label} against {curve.x_label}."]
    for name, given in curve.lines.items():
        points = _finite(given)
        if not points:
            parts.append(f"{name}: no points.")
            continue
        heights = [y for _, y in points]
        parts.append(
            f"{name}: from {heights[0]:.3g} at {points[0][0]:g} to {heights[-1]:.3g} at "
            f"{points[-1][0]:g}, lowest {min(heights):.3g}, highest {max(heights):.3g}."
        )
    if curve.bound is not None:
        parts.append(f"The bound is {curve.bound:g}.")
    return " ".join(parts)


def _inline(document: str, description: str) -> str:
    """Turns matplotlib's SVG file into an element of an HTML page.

    Inside HTML the prologue and the namespaces mean nothing, the style sheet would reach the whole
    page, and the names of the groups would repeat from chart to chart.
    """
    _, _, body = document.partition("</style>")
    _, _, body = body.partition("</defs>")
    box = re.search(r'viewBox="([\d. ]+)"', document)
    if box is None:
        raise RuntimeError("matplotlib wrote an SVG file without a viewBox: please report it")
    body = re.sub(r'<g id="[^"]*">', "<g>", body)
    return f'<svg role="img" aria-label="{escape(description)}" viewBox="{box[1]}">{body}'
