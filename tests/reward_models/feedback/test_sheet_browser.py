"""Texts that are ranked, rated and marked on the page: by keyboard, by hand, and hostile ones."""

import pytest

from reward_models.preferences import learned_from
from tests.browsing import (
    ANNA,
    BEN,
    HOSTILE,
    MANY_WORDS,
    NARROW,
    OWNER,
    WIDE,
    press,
    says,
    shows,
)
from tests.programs import require_modules

require_modules("playwright", extra="dev")
require_modules("starlette", "uvicorn", extra="feedback")

pytestmark = pytest.mark.browser

TEXTS = [(f"prompt {n}", f"text {n}{letter}", "w") for n in range(3) for letter in "abcd"]
PROSE = "One two. Three four five!\nSix \U0001f600 seven"


def learned(served):
    store = served.store
    return [item for _, item in learned_from(store.sheets(), store.judgements())]


def read(page, part):
    return page.locator(part).evaluate("each => each.textContent")


def test_texts_are_put_in_order_by_keyboard_and_by_hand(site):
    with site(TEXTS, question="rank") as served:
        page = served.person(ANNA)
        shows(page, "prompt 0")
        seen = [read(page, f"#text-{n}") for n in (1, 2, 3, 4)]
        assert sorted(seen) == [f"text 0{letter}" for letter in "abcd"]
        press(page, "Enter", "Give every text a place")
        press(page, "3", "Text 3 is 1st")
        press(page, "1", "Text 1 is 2nd")
        press(page, "1", "Text 1 has no place")
        press(page, "4", "Text 4 is 2nd")
        press(page, "Backspace", "Text 4 has no place")
        press(page, "2", "Text 2 is 2nd")
        press(page, "1", "Text 1 is 3rd. All have a place")
        assert page.locator(".place").all_text_contents() == ["3rd", "2nd", "1st", "4th"]
        press(page, "Enter", "Order: saved")
        shows(page, "prompt 1")
        assert learned(served)[0].completions == (seen[2], seen[1], seen[0], seen[3])
        assert page.locator(".place").all_text_contents() == [""] * 4
        press(page, "u", "taken back")
        shows(page, "prompt 0")
        assert [read(page, f"#text-{n}") for n in (1, 2, 3, 4)] == seen
        page.keyboard.press("s")
        page.keyboard.press("1")
        says(page, "Skipped: saved")
        for name in ("2 next place", "4 next place", "1 next place", "Save the order"):
            page.get_by_role("button", name=name).click()
        says(page, "Order: saved")
        shows(page, "prompt 2")
        assert len(learned(served)) == 1


def test_one_key_rates_saves_and_goes_on(site):
    texts = [(f"prompt {n}", f"text {n}", "w") for n in range(3)]
    with site(texts, question="rate") as served:
        page = served.person(ANNA)
        shows(page, "prompt 0")
        page.keyboard.press("n")
        page.keyboard.type("5 is a letter here")
        page.keyboard.press("Escape")
        press(page, "4", "4, good: saved")
        shows(page, "prompt 1")
        page.reload()
        shows(page, "prompt 1")
        page.get_by_role("button", name="1 useless").click()
        says(page, "1, useless: saved")
        press(page, "u", "taken back")
        shows(page, "prompt 1")
        press(page, "6", "taken back")
        press(page, "2", "2, weak: saved")
        press(page, "5", "5, excellent: saved")
        page.get_by_text("Nothing is left for you").wait_for()
        assert [item.rating for item in learned(served)] == [4, 2, 5]
        assert served.store.judgements()[0].note == "5 is a letter here"


def test_words_are_marked_by_keyboard_and_by_mouse(site):
    texts = [("p", PROSE, "w"), ("q", PROSE, "w"), ("r", "  all of it ", "w")]
    with site(texts, question="spans") as served:
        page = served.person(ANNA)
        shows(page, "p")
        assert read(page, "#text-1") == PROSE
        press(page, "ArrowRight", "Word 2 of 8: “two.”")
        press(page, "g", "1 word: good")
        press(page, "Shift+ArrowDown", "Words 3 to 5 of 8: “Three four five!”")
        press(page, "b", "3 words: bad")
        press(page, "End", "Word 8 of 8: “seven”")
        press(page, "Shift+ArrowLeft", "Words 7 to 8")
        press(page, "g", "2 words: good")
        press(page, "ArrowUp", "Word 6 of 8: “Six”")
        press(page, "ArrowUp", "Word 3 of 8: “Three”, bad")
        press(page, "x", "1 word: no mark")
        press(page, "Enter", "3 marked: saved")
        shows(page, "q")
        assert page.locator(".unit.good, .unit.bad").count() == 0
        words = page.locator(".unit")
        words.nth(0).hover()
        page.mouse.down()
        words.nth(2).hover()
        page.mouse.up()
        says(page, "Words 1 to 3")
        page.get_by_role("button", name="Bad").click()
        says(page, "3 words: bad")
        words.nth(6).click()
        page.get_by_role("button", name="Good").click()
        says(page, "1 word: good")
        page.get_by_role("button", name="Save the marks").click()
        says(page, "2 marked: saved")
        shows(page, "r")
        press(page, "Enter", "Nothing marked: saved")
        page.get_by_text("Nothing is left for you").wait_for()
        found = [[(PROSE[i:j], mark) for i, j, mark in item.spans] for item in learned(served)]
        assert found == [
            [("two.", "good"), ("four five!", "bad"), ("\U0001f600 seven", "good")],
            [("One two. Three", "bad"), ("\U0001f600", "good")],
            [],
        ]


@pytest.mark.parametrize("question", ["rank", "rate", "spans"])
def test_hostile_texts_are_shown_as_they_are_and_nothing_runs(site, question):
    hostile = HOSTILE + MANY_WORDS * (question == "spans")
    texts = [(HOSTILE[0], text, HOSTILE[1]) for text in hostile]
    with site(texts, question=question) as served:
        page = served.person(OWNER, "<img src=x onerror=alert(1)>")
        page.locator("#work").wait_for()
        title, seen = page.title(), set()
        for number in range(len(served.store.sheets())):
            if number:
                says(page, "saved")
                page.locator("#progress-text", has_text=f"{number} answered").wait_for()
            assert read(page, "#prompt") == HOSTILE[0]
            shown = page.locator("#sheet .text").evaluate_all(
                "all => all.map(each => each.textContent)"
            )
            seen |= set(shown)
            inside = page.locator("#work *").evaluate_all(
                "all => [...new Set(all.map(each => each.tagName))]"
            )
            ours = {"SECTION", "DIV", "H2", "SPAN", "CODE", "STRONG", "BUTTON", "KBD", "OUTPUT"}
            assert set(inside) <= ours
            assert page.evaluate("document.documentElement.scrollWidth") <= WIDE["width"]
            assert page.title() == title
            if question == "rank":
                for place in range(1, len(shown) + 1):
                    page.keyboard.press(str(place)) if place < len(shown) or place == 1 else None
            elif question == "spans":
                page.keyboard.press("b")
            page.keyboard.press("3" if question == "rate" else "Enter")
        page.get_by_text("Nothing is left for you").wait_for()
        assert seen == set(hostile)
        page.goto(f"{served.home}/overview")
        assert page.locator("main img, main iframe, main script, main svg").count() == 0
        page.get_by_text("have an answer").wait_for()


@pytest.mark.parametrize("question", ["rank", "rate", "spans"])
@pytest.mark.parametrize("viewport", [WIDE, NARROW], ids=["wide", "narrow, dark"])
def test_it_is_usable_on_a_phone_and_says_what_everything_is(site, question, viewport):
    long = [("word " * 40, text, "w") for text in ("long " * 300, "x" * 3000, "y " * 200)]
    with site(long, question=question) as served:
        page = served.person(
            OWNER, "me", viewport=viewport, color_scheme="light" if viewport is WIDE else "dark"
        )
        page.locator("#text-1").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        for button in page.locator("#sheet-buttons button").all():
            box = button.bounding_box()
            assert box["height"] >= 30
            assert box["y"] + box["height"] <= viewport["height"]
            assert box["x"] + box["width"] <= viewport["width"]
            assert button.get_attribute("aria-keyshortcuts")
        texts = page.locator("#sheet .text").count()
        assert page.get_by_role("region", name="The text").count() == texts
        assert page.get_by_role("group", name="How much better?").count() == 0
        page.keyboard.press("?")
        page.get_by_role("dialog", name="Keys").wait_for()
        assert page.locator("#help [data-for~=pair]:visible").count() == 0
        assert page.locator(f"#help [data-for~={question}]:visible").count() >= 1
        page.keyboard.press("3")
        page.keyboard.press("Enter")
        assert served.store.judgements() == [], "keys in a dialog answer nothing"


@pytest.mark.parametrize(("others", "apart"), [("135", 0), ("131", 1)])
def test_two_people_s_ratings_stand_in_the_overview(site, others, apart):
    texts = [(f"prompt {n}", f"text {n}", "w") for n in range(3)]
    with site(texts, question="rate", answers=2) as served:
        for token, grades in ((ANNA, "135"), (BEN, others)):
            page = served.person(token)
            for grade in grades:
                page.locator("#work").wait_for()
                press(page, grade, f"{grade}, ")
                says(page, "saved")
            page.get_by_text("Nothing is left for you").wait_for()
        owner = served.person(OWNER, "owner")
        owner.get_by_role("link", name="Overview").click()
        owner.get_by_text("3 of 3 texts have an answer").wait_for()
        owner.get_by_text("Krippendorff's alpha").first.wait_for()
        assert (owner.get_by_text("Krippendorff's alpha 1.00").count() == 1) is (not apart)
        assert owner.get_by_role("button", name="Settle").count() == apart
        if apart:
            owner.get_by_role("button", name="Settle").click()
            owner.locator("#work").wait_for()
            assert owner.get_by_text("text 2").count() == 1
            press(owner, "4", "4, ")
            says(owner, "saved")
            owner.get_by_role("link", name="Overview").click()
            owner.get_by_text("3 of 3 texts have an answer").wait_for()
            assert owner.get_by_role("button", name="Settle").count() == 0
