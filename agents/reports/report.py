"""One self-contained HTML page that shows whether a run worked.

The page loads nothing: no script, no font, no picture from elsewhere. Equal reports give equal
bytes.

Simplifications: the page is English; whether a column holds numbers is read off its first row.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined

from agents.reports.charts import draw
from agents.reports.gates import Gate, all_passed, verdict
from textgym.files import atomic_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from agents.reports.charts import Curve

__all__ = ["Report", "Sample", "Table", "render_report", "write_report"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table with one heading for each column.

    Attributes:
        title: Heading above the table.
        header: Names of the columns.
        rows: Cells, as long as ``header``; a float is shown with three significant digits.
        caption: One or two sentences on how to read it.
        folded: Whether rows with the same first cell stand together and are opened by it.

    Raises:
        ValueError: If a row is longer or shorter than the header.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[object]]
    caption: str = ""
    folded: bool = False

    def __post_init__(self) -> None:
        for number, row in enumerate(self.rows):
            if len(row) != len(self.header):
                raise ValueError(
                    f"row {number} of table {self.title!r} has {len(row)} cells under "
                    f"{len(self.header)} headings: give one cell for each heading"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What one prompt was continued with, before and after training.

    Attributes:
        prompt: The text both begin with.
        before: The completion alone, with its leading space if it has one.
        after: The same from the trained policy.
        score_before: The judge's score of ``before``.
        score_after: Its score of ``after``.
    """

    prompt: str
    before: str
    after: str
    score_before: float
    score_after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that the page shows, from top to bottom.

    Attributes:
        title: What was run.
        lead: A sentence or two under the verdict, in words.
        gates: What the verdict is made of.
        curves: Line charts.
        tables: Tables.
        samples: Completions side by side.
        samples_caption: How the samples were picked and who scored them.
        settings: What the run was given; mappings inside become dotted names.
        notes: What a reader should bear in mind, a sentence or two each.
        finding: What was found, in a line, where no gates pass a verdict.
    """

    title: str
    lead: str = ""
    gates: Sequence[Gate] = ()
    curves: Sequence[Curve] = ()
    tables: Sequence[Table] = ()
    samples: Sequence[Sample] = ()
    samples_caption: str = ""
    settings: Mapping[str, object] = field(default_factory=dict)
    notes: Sequence[str] = ()
    finding: str = ""


def render_report(report: Report) -> str:
    """Makes the page.

    Returns:
        HTML, whole; everything in ``report`` is shown as text, never taken as markup.
    """
    environment = Environment(
        loader=PackageLoader("agents.reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = _number
    environment.filters["folded"] = _folded
    return environment.get_template("report.html").render(
        report=report,
        verdict=report.finding or verdict(report.gates),
        passed=all_passed(report.gates),
        gates=[(gate, _gate_value(gate)) for gate in report.gates],
        charts=[
            (curve, draw(curve, f"chart-{number}") if curve.drawable else "")
            for number, curve in enumerate(report.curves)
        ],
        tables=[
            (table, [[(_cell(cell), _is_number(cell)) for cell in row] for row in table.rows])
            for table in report.tables
        ],
        settings=list(_flat(report.settings)),
    )


def _folded(
    rows: Sequence[Sequence[tuple[str, bool]]],
) -> list[tuple[str, list[Sequence[tuple[str, bool]]]]]:
    """Rows by their first cell, which is taken off them, in the order of the first of each."""
    groups: dict[str, list[Sequence[tuple[str, bool]]]] = {}
    for row in rows:
        groups.setdefault(row[0][0], []).append(row[1:])
    return list(groups.items())


def write_report(path: Path, report: Report) -> None:
    """Writes the page so that ``path`` holds either what it held or the whole new page.

    Args:
        path: Where to; its folder is made if it is missing.
        report: What to show.
    """
    # A lone surrogate, which no encoding has, becomes a reference that browsers show as U+FFFD.
    page = render_report(report).encode("utf-8", "xmlcharrefreplace")
    with atomic_file(path) as temporary:
        temporary.write_bytes(page)


def _number(value: float, digits: int = 3) -> str:
    if math.isnan(value):
        return "no value"
    if math.isinf(value):
        return "infinite" if value > 0 else "minus infinite"
    if abs(value) >= 10**digits:
        return f"{value:,.0f}"
    return f"{value:#.{digits}g}".rstrip(".")


def _gate_value(gate: Gate) -> str:
    """Shows so many digits that the text lies on the same side of the bound as the value."""
    if not math.isfinite(gate.value) or gate.value == gate.bound:
        return _number(gate.value)
    for digits in range(3, 17):
        shown = float(f"{gate.value:.{digits}g}")
        if shown != gate.bound and (shown > gate.bound) == (gate.value > gate.bound):
            return _number(gate.value, digits)
    return repr(gate.value)


def _is_number(cell: object) -> bool:
    return isinstance(cell, int | float) and not isinstance(cell, bool)


def _cell(cell: object) -> str:
    return _number(cell) if isinstance(cell, float) else str(cell)


def _flat(settings: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(value)
