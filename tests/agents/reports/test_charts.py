"""What is drawn stands where it belongs: heights are read off the drawing."""

import re

import pytest

from agents.reports.charts import Curve, draw

LINE, BAND, BOUND = "stroke: #0072b2", "fill-opacity: 0.15", "stroke: #555555"


def drawn(**changes):
    curve = {"title": "t", "x_label": "x", "y_label": "y", "lines": {"a": [(0, 0.0), (1, 10.0)]}}
    return draw(Curve(**curve | changes), "salt")


def heights(path):
    return [float(y) for y in re.findall(r"[ML] \S+ (\S+)", path)]


def height_of(svg):
    """From a value to how far down it is, by the line from 0 to 10."""
    path = next(d for d, style in re.findall(r'<path d="([^"]*)"([^>]*)', svg) if LINE in style)
    nothing, ten = heights(path)
    return lambda value: nothing + (ten - nothing) * value / 10


@pytest.mark.parametrize("bound", [10.0, 2.5])
def test_a_bound_is_a_dotted_line_at_its_height(bound):
    svg = drawn(bound=bound)
    path = next(d for d, style in re.findall(r'<path d="([^"]*)"([^>]*)', svg) if BOUND in style)
    assert heights(path) == pytest.approx([height_of(svg)(bound)] * 2, abs=0.01)


def test_a_band_reaches_from_its_lower_to_its_upper_end():
    svg = drawn(bands={"a": [(0, -1, 2), (1, 8, 11)]})
    name, origin = next(
        (name, float(y))
        for name, y, style in re.findall(
            r'<use xlink:href="#(\w+)" x="[^"]*" y="([^"]*)"([^>]*)', svg
        )
        if BAND in style
    )
    path = re.search(rf'<path id="{name}" d="([^"]*)"', svg)[1]
    reached = {round(origin + y, 2) for y in heights(path)}
    expected = {round(height_of(svg)(value), 2) for value in (-1, 2, 8, 11)}
    assert len(reached) == 4
    assert sorted(reached) == pytest.approx(sorted(expected), abs=0.02)


def test_a_dollar_sign_in_a_label_is_a_dollar_sign():
    assert ">from $5 to $x_6</text>" in drawn(x_label="from $5 to $x_6")


def test_lines_are_told_apart_by_colour_and_dashes_and_bands_have_their_line_s_colour():
    lines = {name: [(0, place), (1, place)] for place, name in enumerate("abc")}
    svg = drawn(lines=lines, bands={"b": [(0, 0.5, 1.5), (1, 0.5, 1.5)]})
    styles = re.findall(r'<path d="[^"]*" clip-path="[^"]*" style="fill: none;([^"]*)"', svg)
    of_lines = [style for style in styles if "stroke-width: 1.8" in style]
    colours = [re.search(r"stroke: (#\w+)", style)[1] for style in of_lines]
    assert len(set(colours)) == 3
    dashes = {(re.search(r"stroke-dasharray: ([^;]*)", style) or " ")[0] for style in of_lines}
    assert len(dashes) == 3
    assert re.search(r"fill: (#\w+); fill-opacity", svg)[1] == colours[1]


def test_a_line_breaks_where_it_has_no_value():
    svg = drawn(lines={"a": [(0, 1.0), (1, 2.0), (2, float("nan")), (3, 3.0), (4, 4.0)]})
    path = next(d for d, style in re.findall(r'<path d="([^"]*)"([^>]*)', svg) if LINE in style)
    assert [path.count("M "), path.count("L ")] == [2, 2]
