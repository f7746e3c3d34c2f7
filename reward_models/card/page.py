"""The reward card as one HTML page that loads nothing: no script, no font, no picture elsewhere.

Equal cards give equal bytes. The page is made of the card's JSON alone, so it can be made again.

Simplification: the page is English.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from reward_models.card.charts import (
    accuracy_chart,
    changes_chart,
    data_address,
    margin_chart,
    reliability_chart,
    save_charts,
    truncation_chart,
)
from textgym.files import atomic_file, write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from matplotlib.axes import Axes

__all__ = ["PAGE_FILE", "draw_card", "render_card", "write_card"]

PAGE_FILE = "card.html"
_JSON_FILE = "card.json"
_UNBROKEN = "\u00a0"  # a figure is broken before its interval, and not within it
_CHART, _ROW_HEIGHT = (4.7, 3.1), 0.28  # inches


def render_card(card: Mapping[str, Any]) -> str:
    """Makes the page.

    Args:
        card: What ``make_card`` returned, or ``card.json`` read again.

    Returns:
        HTML, whole; every text in it is shown as text, never taken as markup.
    """
    environment = Environment(
        loader=PackageLoader("reward_models.card", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": _number, "figure": _figure, "interval": _interval}
    return environment.get_template("card.html").render(
        card=card, summary=_summary(card), charts=_addresses(card)
    )


def write_card(card: Mapping[str, Any], out: Path) -> None:
    """Writes ``card.json`` and ``card.html`` into a folder, each whole or not at all."""
    write_json(out / _JSON_FILE, card)
    # A lone surrogate, which no encoding has, becomes a reference that browsers show as U+FFFD.
    page = render_card(card).encode("utf-8", "xmlcharrefreplace")
    with atomic_file(out / PAGE_FILE) as temporary:
        temporary.write_bytes(page)


def draw_card(card: Mapping[str, Any], path: Path) -> None:
    """Draws confidence, margins, cut texts and changed texts into one PNG or SVG, by its suffix."""
    draws = _charts(card)
    save_charts([draws[name] for name in ("reliability", "margins", "truncation", "changes")], path)


def _charts(card: Mapping[str, Any]) -> dict[str, Callable[[Axes], None]]:
    calibration = card["calibration"]
    after = calibration["after"]
    return {
        "accuracy": accuracy_chart(card["accuracy"], card["people"]),
        "reliability": reliability_chart(
            calibration["before"]["bins"], after["bins"] if after else None
        ),
        "margins": margin_chart(card["margins"]),
        "changes": changes_chart(card["changes"]),
        "truncation": truncation_chart(card["truncation"]["rows"]),
    }


def _addresses(card: Mapping[str, Any]) -> dict[str, str]:
    """The charts as addresses; those with a row a figure are as high as they have rows."""
    sizes = {
        "accuracy": (7.2, 1.4 + _ROW_HEIGHT * len(card["accuracy"])),
        "changes": (7.2, 0.9 + _ROW_HEIGHT * len(card["changes"])),
    }
    return {
        name: data_address(draw, sizes.get(name, _CHART)) for name, draw in _charts(card).items()
    }


def _summary(card: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The few figures to read first, in words."""
    accuracy, people = card["accuracy"][0], card["people"]
    calibration, batches = card["calibration"], card["steadiness"]["batches"]
    before, after = calibration["before"], calibration["after"]
    error = _number(before["calibration_error"])
    if after is not None:
        error += f"; {_number(after['calibration_error'])} at temperature "
        error += _number(calibration["temperature"]["value"])
    length = next(row for row in card["biases"] if row["name"] == "length")
    worst = max(batch["largest_difference"] for batch in batches)
    return [
        ("accuracy", _figure(accuracy["accuracy"])),
        ("with majorities of people", _figure(people["reward_with_majority"])),
        ("a person, with the same majorities", _figure(people["with_majority"])),
        ("calibration error", error),
        ("prefers the longer text, beyond people", _figure(length["excess"])),
        ("largest difference between batches", _number(worst)),
    ]


def _number(value: float | None, digits: int = 3) -> str:
    if value is None or math.isnan(value):
        return "undefined"
    if math.isinf(value):
        return "infinite" if value > 0 else "minus infinite"
    if isinstance(value, int) or abs(value) >= 10**digits:
        return f"{value:,.0f}"
    if value != 0 and abs(value) < 10**-digits:
        return f"{value:.1e}"
    return f"{value:.{digits}f}"


def _interval(figure: Mapping[str, Any]) -> str:
    low, high = figure.get("low"), figure.get("high")
    if low is None and high is None:
        return ""
    ends = ["unbounded" if end is None else _number(end) for end in (low, high)]
    return f"{ends[0]}{_UNBROKEN}to{_UNBROKEN}{ends[1]}"


def _figure(figure: Mapping[str, Any]) -> str:
    """A number with its interval, or the word for none; the reasons stand in a list."""
    between = _interval(figure)
    return _number(figure["value"]) + (f" ({between})" if between else "")
