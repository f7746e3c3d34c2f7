"""A study's page as a browser draws it, on a desk and on a telephone."""

import pytest

from agents.comparing.page import make_report
from agents.reports.report import write_report
from tests.agents.comparing.parts import small, straight, write_texts
from tests.browsing import NARROW
from tests.programs import require_modules

require_modules("playwright", extra="dev")

pytestmark = pytest.mark.browser

NAMES = [f"a reward with a long name that is number {n}" for n in range(6)]
DESK = {"width": 1200, "height": 900}
WORD = "unbreakable" * 30  # what has no place where a line could end
OVERFLOWING = """() => [...document.querySelectorAll("main *")]
    .filter(each => !each.closest(".scroll") && !each.closest("svg"))
    .filter(each => each.getBoundingClientRect().right > window.innerWidth + 1)
    .map(each => each.outerHTML.slice(0, 200))"""


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    """A page of wide tables, long names, and texts without a space."""
    folder = tmp_path_factory.mktemp("page")
    study = small(
        seeds=3,
        rewards=dict.fromkeys(NAMES, "length"),
        agents={"ppo": {"agent": "ppo", "settings": {"learning_rate": 3e-3}}},
        policy=f"scratch:gpt2?layers=1&width=16&heads=2&{WORD}",
    )
    scores = dict.fromkeys((*study.conditions,), 0.0)
    write_texts(
        folder,
        [
            ("start", f"p {WORD}", f"start {WORD}", scores),
            ("end", f"p {WORD}", f"end {WORD}", {**scores, NAMES[0]: 3.0}),
        ],
    )
    cells = straight(folder, study, {name: [1.0, 2.0, 4.0] for name in study.conditions})
    write_report(folder / "report.html", make_report(study, cells))
    return folder / "report.html"


@pytest.fixture(params=["wide", "narrow"])
def page(request, browser, page_file):
    context = browser.new_context(viewport=DESK if request.param == "wide" else NARROW)
    context.set_default_timeout(120_000)  # a busy machine draws slowly
    page, said = context.new_page(), []
    page.on("request", lambda each: said.append(each.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(page_file.as_uri())
    yield page
    context.close()
    assert said == [page_file.as_uri()]  # it has asked for itself alone, and complained of nothing


def test_the_page_is_as_wide_as_its_window_and_tables_scroll_in_themselves(page):
    folded = page.locator("details")
    for place in range(folded.count()):
        folded.nth(place).locator("summary").first.click()
    width = page.evaluate("document.documentElement.clientWidth")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(OVERFLOWING) == []
    page.evaluate("window.scrollTo(1000, 0)")
    assert page.evaluate("window.scrollX") == 0
    wider = "all => all.filter(each => each.scrollWidth > each.clientWidth).length"
    assert page.locator(".scroll").evaluate_all(wider) > 0
    matrix = page.get_by_role("region", name="Cross matrix: ppo")
    assert matrix.get_attribute("tabindex") == "0"  # whoever has no mouse scrolls by keys
    matrix.evaluate("each => { each.scrollLeft = 9999 }")
    last = matrix.locator("th").last.bounding_box()
    assert last["x"] + last["width"] <= width


def test_every_figure_is_drawn_and_none_is_cut_off(page):
    panels = page.locator("figure .panel svg")
    assert panels.count() > 0
    width = page.evaluate("document.documentElement.clientWidth")
    for box in (panels.nth(place).bounding_box() for place in range(panels.count())):
        assert box["width"] > 200
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
