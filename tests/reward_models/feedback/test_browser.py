"""The page in a real browser: by keyboard, by two people, with lost tabs and with hostile texts."""

import re

import pytest

from reward_models.preferences import Pair
from tests.browsing import (
    ANNA,
    BEN,
    HOSTILE,
    MANY_WORDS,
    MOST_PARTS,
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


def pairs_of(number):
    return [
        Pair(pair_id=f"pair {n}", prompt=f"prompt {n}", a=f"first {n}", b=f"second {n}")
        for n in range(number)
    ]


def test_a_person_labels_by_keyboard_takes_back_reloads_and_finishes(site):
    with site(pairs_of(6)) as served:
        page = served.person(ANNA)
        shows(page, "prompt 0")
        assert "token" not in page.url
        left = page.locator("#left").text_content()
        press(page, "ArrowLeft", "Left: saved")
        shows(page, "prompt 1")
        (answer,) = served.store.answers()
        assert left == f"{ {'a': 'first', 'b': 'second'}[answer.answer] } 0"
        page.keyboard.press("3")
        page.keyboard.press("n")
        page.keyboard.type("u and s are letters here")
        page.keyboard.press("Escape")
        press(page, "ArrowRight", "Right: saved")
        shows(page, "prompt 2")
        last = served.store.answers()[-1]
        assert (last.strength, last.note) == (3, "u and s are letters here")
        assert page.locator("[name=strength]:checked").count() == 0
        press(page, "u", "taken back")
        shows(page, "prompt 1")
        press(page, "ArrowDown", "Equally good: saved")
        press(page, "b", "Both bad: saved")
        page.reload()
        shows(page, "prompt 3")
        assert page.locator("#progress-text").text_content() == "3 answered, 3 to go"
        page.keyboard.press("s")
        page.keyboard.press("3")
        says(page, "Skipped: saved")
        press(page, "t", "Equally good: saved")
        press(page, "ArrowUp", "Both bad: saved")
        page.get_by_text("Nothing is left for you").wait_for()
        press(page, "u", "taken back")
        shows(page, "prompt 5")
        press(page, "ArrowLeft", "Left: saved")
        page.get_by_text("Nothing is left for you").wait_for()
        found = served.store.answers()
        assert [answer.answer for answer in found[1:5]] == ["tie", "both_bad", "skip", "tie"]
        assert found[3].note == "a language or subject that I do not know"
        assert len({answer.pair_id for answer in found}) == len(found) == 6


def test_two_people_share_the_work_and_a_lost_tab_s_pair_comes_back(site):
    with site(pairs_of(3)) as served:
        anna, ben = served.person(ANNA), served.person(BEN)
        shows(anna, "prompt 0")
        shows(ben, "prompt 1")
        second = served.tab(anna.context)
        shows(second, "prompt 0")
        press(second, "ArrowLeft", "Left: saved")
        shows(second, "prompt 2")
        press(anna, "ArrowRight", "another tab")
        shows(anna, "prompt 2")
        anna.context.close()
        press(ben, "ArrowLeft", "Left: saved")
        ben.get_by_text("Nothing is left for you").wait_for()
        served.clock.now += 61
        ben.get_by_role("button", name="look again").click()
        shows(ben, "prompt 2")
        press(ben, "ArrowLeft", "Left: saved")
        ben.get_by_text("Nothing is left for you").wait_for()
        found = served.store.answers()
        assert [answer.annotator for answer in found] == ["anna", "ben", "ben"]
        assert len({answer.pair_id for answer in found}) == 3


def test_the_owner_looks_over_and_settles_a_disagreement(site):
    with site(pairs_of(1), answers=2) as served:
        for token, wanted in ((ANNA, "first 0"), (BEN, "second 0")):
            page = served.person(token)
            shows(page, "prompt 0")
            assert page.locator("#overview").is_hidden()
            side = "ArrowLeft" if page.locator("#left").text_content() == wanted else "ArrowRight"
            press(page, side, "saved")
        owner = served.person(OWNER, "owner")
        owner.get_by_text("Nothing is left for you").wait_for()
        owner.get_by_role("link", name="Overview").click()
        owner.get_by_text("1 of 1 pairs have an answer").wait_for()
        owner.get_by_role("button", name="Settle").click()
        shows(owner, "prompt 0")
        press(owner, "ArrowLeft", "Left: saved")
        assert len(served.store.answers()) == 3
        owner.get_by_role("link", name="Overview").click()
        owner.get_by_text("0 pairs of which people prefer").wait_for()


def test_who_has_no_token_is_asked_for_it(site):
    with site(pairs_of(1)) as served:
        page = served.person("wrong" * 10, "eve")
        says(page, "not known")
        assert page.locator("#work").is_hidden()
        page.get_by_label("Token").fill(OWNER)
        page.get_by_label("Pseudonym").fill("me")
        page.get_by_role("button", name="Begin").click()
        shows(page, "prompt 0")


@pytest.mark.parametrize("question", ["compare", "edits"])
def test_hostile_texts_are_shown_as_they_are_and_nothing_runs(site, question):
    """Of an edit each word was a part of its own, and a browser takes 100,000 or so at once.

    So a page of many short words failed, and nothing was saved any more; fewer were slow.
    """
    texts = HOSTILE + MANY_WORDS * (question == "edits")
    short = [text if len(text) < 10_000 else "a megabyte" for text in texts]
    pairs = [
        Pair(pair_id=f"hostile {n}", prompt=prompt, a=text, b=f"{prompt}!")
        for n, (prompt, text) in enumerate(zip(short, texts, strict=True))
    ]
    if question == "edits":
        pairs += [
            Pair(pair_id=f"draft {n}", prompt=text, a="one words of it", b="another")
            for n, text in enumerate(HOSTILE)
            if len(text) >= 10_000
        ]
    with site(pairs, question) as served:
        page = served.person(OWNER, "<img src=x onerror=alert(1)>")
        page.locator("#work").wait_for()
        title = page.title()

        def read(part):
            return page.locator(part).evaluate("each => each.textContent")

        for number, pair in enumerate(pairs):
            if number:
                says(page, "Equally good: saved")
            assert read("#prompt") == pair.prompt
            assert {pair.a, pair.b} == {read("#left"), read("#right")}
            inside = page.locator("#work *").evaluate_all(
                "all => [...new Set(all.map(each => each.tagName))]"
            )
            assert set(inside) <= {"SECTION", "DIV", "H2", "SPAN", "CODE", "STRONG", "INS"}
            assert page.locator("#work *").count() <= MOST_PARTS
            assert page.evaluate("document.documentElement.scrollWidth") <= WIDE["width"]
            assert page.title() == title
            page.keyboard.press("t")
        page.get_by_text("Nothing is left for you").wait_for()
        page.goto(f"{served.home}/overview")
        assert page.title() == f"Overview: {title}"
        assert page.locator("main img, main iframe, main script, main svg").count() == 0


def test_hidden_characters_are_marked_and_turn_nothing_round(site):
    pairs = [Pair(pair_id="p", prompt="\u202eabc", a="x\0y", b="z")]
    with site(pairs) as served:
        page = served.person(ANNA)
        shows(page, "\u202eabc")
        marks = page.locator(".hidden-character").evaluate_all(
            "all => all.map(each => each.dataset.code).sort()"
        )
        assert marks == ["U+0000", "U+202E"]
        first, last = (
            page.locator("#prompt").evaluate(
                """(each, at) => {
                  const range = document.createRange();
                  range.setStart(each.lastChild, at); range.setEnd(each.lastChild, at + 1);
                  return range.getBoundingClientRect().left;
                }""",
                at,
            )
            for at in (0, 2)
        )
        assert first < last, "a is left of c"


@pytest.mark.parametrize(
    ("scheme", "viewport"), [("light", WIDE), ("dark", NARROW)], ids=["wide", "narrow, dark"]
)
def test_it_is_usable_on_a_phone_and_in_the_dark(site, scheme, viewport):
    long = [Pair(pair_id="p", prompt="word " * 80, a="long " * 900, b="x" * 3000)]
    with site(long) as served:
        page = served.person(OWNER, "me", viewport=viewport, color_scheme=scheme)
        page.locator("#left").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        for name in ("Left is better", "Equally good", "Both bad", "Right is better", "Skip"):
            box = page.get_by_role("button", name=re.compile(name)).bounding_box()
            assert box["width"] >= 44 or box["height"] >= 30
            assert box["y"] + box["height"] <= viewport["height"]
            assert box["x"] + box["width"] <= viewport["width"]
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        brightness = sum(map(int, re.findall(r"\d+", ground)[:3])) / 3
        assert (brightness > 128) == (scheme == "light")
        left, right = (page.locator(side).bounding_box() for side in ("#left", "#right"))
        assert (left["x"] < right["x"]) == (viewport is WIDE)


def test_a_screen_reader_is_told_what_everything_is(site):
    with site(pairs_of(2)) as served:
        page = served.person(OWNER, "me")
        shows(page, "prompt 0")
        for region in ("The prompt", "The left text", "The right text"):
            assert page.get_by_role("region", name=region).count() == 1
        keys = page.get_by_role("button").evaluate_all(
            "all => all.map(each => each.getAttribute('aria-keyshortcuts')).filter(Boolean)"
        )
        assert {"ArrowLeft", "ArrowRight", "ArrowDown", "ArrowUp", "s", "u", "?"} == set(keys)
        assert page.get_by_role("progressbar", name="How much is answered").count() == 1
        assert page.get_by_role("status").get_attribute("aria-live") == "polite"
        assert page.get_by_role("group", name="How much better?").get_by_role("radio").count() == 4
        page.keyboard.press("?")
        page.get_by_role("dialog", name="Keys").wait_for()
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("Escape")
        assert served.store.answers() == [], "keys in a dialog answer nothing"
        page.keyboard.press("r")
        page.get_by_role("dialog", name="What to look at").get_by_text("kinder").wait_for()


def test_an_answer_is_sent_again_until_it_is_stored(site):
    """A connection that is gone for a while loses nothing, and stores nothing twice."""
    with site(pairs_of(2)) as served:
        page = served.person(ANNA)
        shows(page, "prompt 0")
        tries = []

        def lose(route):
            tries.append(route.request.post_data)
            if len(tries) == 1:
                route.abort()
            elif len(tries) == 2:  # stored, and the acknowledgement is lost
                route.fetch()
                route.abort()
            else:
                route.continue_()

        page.route("**/api/vote", lose)
        page.keyboard.press("ArrowLeft")
        says(page, "Not saved yet")
        page.keyboard.press("ArrowRight")
        says(page, "Left: saved")
        shows(page, "prompt 1")
        assert len(tries) == 3
        assert len(set(tries)) == 1
        assert len(served.store.answers()) == 1


def test_two_edits_show_what_they_add_and_leave_out_and_stay_what_they_are(site):
    draft, first, second = "The old dog sat.", "The dog sat down.", "A dog sat."
    pairs = [Pair(pair_id="p", prompt=draft, a=first, b=second)]
    with site(pairs, question="edits") as served:
        page = served.person(OWNER, "me")
        shows(page, draft)
        page.get_by_role("heading", name="Draft").wait_for()
        seen = {}
        for side in ("#left", "#right"):
            part = page.locator(side)
            gone = part.locator(".gone").evaluate_all("all => all.map(each => each.dataset.words)")
            seen[part.evaluate("each => each.textContent")] = (
                part.locator("ins").all_text_contents(),
                gone,
            )
        assert seen == {first: (["sat down."], ["old", "sat."]), second: (["A"], ["The old"])}
        press(page, "ArrowLeft", "Left: saved")
