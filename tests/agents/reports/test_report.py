"""The page: what it says, that it loads nothing, and that no text becomes markup."""

import dataclasses
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import matplotlib as mpl
import pytest

from agents.reports.charts import Curve
from agents.reports.gates import Gate, quickstart_gates
from agents.reports.report import Report, Sample, Table, render_report, write_report

VOID = {"meta", "br", "img", "link", "input"}
EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)> & {{ 7 * 7 }} $x_"


class Page(HTMLParser):
    """Collects tags, attributes, identifiers and text, and insists that tags are balanced."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.words, self.open = set(), [], [], []
        self.feed(html)
        self.close()
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert tag == self.open.pop()

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    def named(self, name):
        return [value for key, value in self.attributes if key == name]


def _gates(**changes):
    measures = {
        "gold_gain": 0.366,
        "kl": 12.0,
        "distinct_2_ratio": 0.523,
        "repeated_bigrams": 0.051,
        "accuracy_noisy": 0.615,
        "accuracy_true": 0.684,
    }
    return quickstart_gates(**measures | changes)


def _curve(**changes):
    curve = Curve(
        title="KL from the reference",
        x_label="iteration",
        y_label="KL, nats",
        lines={"seed 0": [(0, 0.5), (1, 2.0), (2, 9.0)], "seed 1": [(0, 1.0), (1, 3.0)]},
        bound=15.0,
    )
    return dataclasses.replace(curve, **changes)


def _report(**changes):
    report = Report(
        title="A run",
        lead="It went well.",
        gates=_gates(),
        curves=[_curve(), _curve(title="Again")],
        tables=[Table(title="Measures", header=["name", "value"], rows=[["gold", 0.90712]])],
        samples=[
            Sample(
                prompt="The film",
                before=" was a mess",
                after=" was great",
                score_before=0.25,
                score_after=0.875,
            )
        ],
        settings={"seeds": 3, "ppo": {"clip": 0.2}},
        notes=["Read the samples."],
    )
    return dataclasses.replace(report, **changes)


def test_the_page_says_what_it_was_given():
    """Verdict, lead, gates with both numbers and a word, samples, tables, settings, notes."""
    text = Page(render_report(_report())).text
    for expected in (
        "✓ passed It went well.",
        "12.0 nats at most 15 nats ✓ pass",
        "0.366 at least 0.25 ✓ pass",
        "Before score 0.250 The film was a mess",
        "After score 0.875 The film was great",
        "gold 0.907",
        "seeds 3 ppo.clip 0.2",
        "Read the samples.",
    ):
        assert expected in text


def test_the_verdict_names_what_failed():
    """In the heading and the window title, in words, not by colour alone."""
    page = Page(render_report(_report(gates=_gates(kl=48.0, repeated_bigrams=0.114))))
    assert "A run: failed: KL, repetition" in page.text
    assert "✗ failed: KL, repetition It went well." in page.text
    assert "48.0 nats at most 15 nats ✗ fail" in page.text


def test_settings_of_settings_have_dotted_names():
    text = Page(render_report(_report(settings={"ppo": {"clip": {"low": 0.1}, "on": True}}))).text
    assert "ppo.clip.low 0.1 ppo.on True" in text


def test_a_word_stands_left_and_a_number_right():
    table = Table(title="t", header=["a", "b"], rows=[[True, 1]])
    page = render_report(Report(title="r", tables=[table]))
    assert list(re.findall(r"<td([^>]*)>(True|1)</td>", page)) == [
        ("", "True"),
        (' class="number"', "1"),
    ]


def test_a_run_without_gates_is_neither_passed_nor_failed():
    """An empty report is a page all the same, with no empty sections."""
    page = Page(render_report(Report(title="Nothing yet")))
    assert page.text == "Nothing yet: not judged Nothing yet not judged"


def test_what_was_found_stands_where_a_verdict_would():
    page = Page(render_report(Report(title="Two policies", finding="they are alike")))
    assert page.text == "Two policies: they are alike Two policies they are alike"


@pytest.mark.parametrize(
    ("value", "at_least", "expected"),
    [
        (0.24999, True, "0.24999 at least 0.25 ✗ fail"),
        (0.25001, False, "0.25001 at most 0.25 ✗ fail"),
        (0.25, True, "0.250 at least 0.25 ✓ pass"),
        (math.nan, True, "no value at least 0.25 ✗ fail"),
        (math.inf, False, "infinite at most 0.25 ✗ fail"),
    ],
)
def test_a_value_near_its_bound_is_shown_on_its_own_side(value, at_least, expected):
    """Rounded, 0.24999 would read "0.250, at least 0.25, fail"."""
    gate = Gate(name="x", value=value, bound=0.25, at_least=at_least)
    assert expected in Page(render_report(_report(gates=[gate]))).text


def test_the_page_loads_and_runs_nothing():
    """No script, no foreign element, no address; each reference points inside the page."""
    html = render_report(_report())
    page = Page(html)
    assert page.tags.isdisjoint({"script", "link", "img", "iframe", "object", "embed", "base"})
    assert page.named("src") + page.named("href") == []
    assert "://" not in html
    assert "@import" not in html
    assert {"url(#"} == {html[i : i + 5] for i in range(len(html)) if html.startswith("url(", i)}
    local = {f"#{identifier}" for identifier in page.named("id")}
    assert set(page.named("xlink:href")) <= local
    assert page.named("xlink:href")


def test_the_page_is_well_formed():
    """Tags are balanced, and the two charts do not share an identifier."""
    page = Page(render_report(_report()))
    assert page.open == []
    identifiers = page.named("id")
    assert len(set(identifiers)) == len(identifiers) > 0
    assert len(page.named("viewbox")) == 2


def test_no_text_becomes_markup():
    """Markup in every place that takes text is shown as it stands, charts included."""
    curve = Curve(title=EVIL, x_label=EVIL, y_label=EVIL, lines={EVIL: [(0, 1)]}, bound=2)
    report = Report(
        title=EVIL,
        lead=EVIL,
        gates=[
            Gate(name=EVIL, value=1, bound=0, at_least=True, unit=EVIL, explanation=EVIL),
            Gate(name=EVIL, value=1, bound=0, at_least=False),
        ],
        curves=[
            dataclasses.replace(curve, caption=EVIL),
            dataclasses.replace(curve, lines={}, caption=EVIL),
        ],
        tables=[Table(title=EVIL, header=[EVIL], rows=[[EVIL]], caption=EVIL)],
        samples=[Sample(prompt=EVIL, before=EVIL, after=EVIL, score_before=0, score_after=1)],
        samples_caption=EVIL,
        settings={EVIL: {EVIL: EVIL}},
        notes=[EVIL],
    )
    page = Page(render_report(report))
    assert page.tags.isdisjoint({"script", "img"})
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    # title 2, verdict 2, lead, gates 2 + unit 2 + explanation, charts: 2 headings, 3 texts in the
    # drawing, 1 sentence, 2 captions; table 4, samples 4 + caption, settings 3, note.
    assert page.text.count(EVIL) == 2 + 2 + 1 + 5 + 8 + 4 + 5 + 3 + 1


def test_equal_reports_give_equal_pages_whatever_the_settings():
    """No date, no random identifier, nothing from the user's matplotlibrc; and none is left set."""
    expected = render_report(_report())
    with mpl.rc_context({"lines.linewidth": 9, "font.size": 30, "figure.facecolor": "red"}):
        before = dict(mpl.rcParams)
        actual = render_report(_report())
        assert before == dict(mpl.rcParams)
    assert expected == actual


def test_a_chart_is_described_in_words():
    """Its name for a screen reader says where each line starts, ends and turns, and the bound."""
    page = Page(render_report(_report(curves=[_curve(lines={"a": [(0, 2.0), (3, 7.5), (4, 5)]})])))
    expected = (
        "Line chart, KL from the reference: KL, nats against iteration. "
        "a: from 2 at 0 to 5 at 4, lowest 2, highest 7.5. The bound is 15."
    )
    assert expected in page.named("aria-label")
    assert "img" in page.named("role")


@pytest.mark.parametrize("lines", [{}, {"a": []}, {"a": [(0, math.nan), (math.inf, 1.0)]}])
def test_a_chart_without_a_point_is_a_sentence(lines):
    """An empty pair of axes would look like a bug of the page."""
    page = Page(render_report(_report(curves=[_curve(lines=lines)])))
    assert "svg" not in page.tags
    assert "Nothing to draw: no point of “KL, nats” has a value." in page.text


def test_points_without_a_value_break_the_line_and_are_counted():
    """One NaN neither empties the chart nor goes unmentioned."""
    lines = {"a": [(0, 1.0), (1, math.nan), (2, math.inf), (3, 2.0)], "b": [(0, math.nan)]}
    page = Page(render_report(_report(curves=[_curve(lines=lines, bound=math.nan)])))
    assert "svg" in page.tags
    assert "Points left out because they are not finite: 3." in page.text
    assert "nan" not in render_report(_report(curves=[_curve(lines=lines)])).lower()


def test_an_empty_completion_is_named():
    """A policy that ends at once writes nothing; an empty box would look like a missing one."""
    sample = Sample(prompt="So", before=" ", after="", score_before=math.nan, score_after=0.5)
    text = Page(render_report(_report(samples=[sample]))).text
    assert "Before score no value So (nothing) After score 0.500 So (nothing)" in text


def test_a_ragged_table_is_refused_where_it_is_made():
    """A cell without a heading would shift its row."""
    with pytest.raises(ValueError, match="row 1 of table 'Measures' has 1 cells under 2"):
        Table(title="Measures", header=["a", "b"], rows=[[1, 2], [3]])


def test_numbers_are_short_and_honest():
    """Three digits for floats, whole numbers as they are, no value for NaN; bools are words."""
    row = [0.0, 12.04, 1234567.8, -1234567.8, 7, True, math.nan, math.inf, -math.inf, None]
    table = Table(title="t", header=list("abcdefghij"), rows=[row])
    text = Page(render_report(Report(title="r", tables=[table]))).text
    expected = "0.00 12.0 1,234,568 -1,234,568 7 True no value infinite minus infinite None"
    assert expected in text


def test_rows_that_are_folded_stand_under_their_first_cell():
    rows = [["The film", "ppo", "was"], ["A dog", "ppo", "ran"], ["The film", "grpo", "is"]]
    table = Table(title="t", header=["prompt", "by", "text"], rows=rows, folded=True)
    page = Page(render_report(Report(title="r", tables=[table])))
    assert page.text.count("The film") == page.text.count("A dog") == 1
    film, dog = page.text.index("The film"), page.text.index("A dog")
    assert film < page.text.index("ppo was") < page.text.index("grpo is") < dog
    assert dog < page.text.index("ppo ran")


def test_writing_makes_the_folder_and_replaces_the_page(tmp_path: Path):
    """The page on the disk is the rendered one, alone in its folder."""
    path = tmp_path / "new" / "report.html"
    write_report(path, _report(title="Old"))
    write_report(path, _report())
    assert render_report(_report()) == path.read_text(encoding="utf-8")
    assert [path] == list(path.parent.iterdir())


def test_a_write_that_fails_leaves_the_old_page(tmp_path: Path, monkeypatch):
    """Killed or out of space in the middle, there is no half page and nothing beside it."""
    path = tmp_path / "report.html"
    write_report(path, _report())

    def half(self, data):
        with self.open("wb") as file:
            file.write(data[:100])
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OSError, match="no space"):
        write_report(path, _report(title="New"))
    assert render_report(_report()) == path.read_text(encoding="utf-8")
    assert [path] == list(tmp_path.iterdir())


def test_text_that_no_encoding_has_is_still_written(tmp_path: Path):
    """Half of a surrogate pair, as byte pieces can decode to, must not cost the whole page."""
    path = tmp_path / "report.html"
    write_report(path, _report(notes=["broken \ud83d here"]))
    assert "broken &#55357; here" in path.read_text(encoding="utf-8")
