"""The whole card: complete, repeatable, honest on tiny data, and safe to open."""

import json
import random
from html.parser import HTMLParser

import numpy as np
import pytest

from reward_models.card import CardConfig, CardData, card_data, make_card, render_card, write_card
from reward_models.card.assembly import _made_of, _members, scores_of
from reward_models.card.measures import Sampling
from reward_models.card.pairs import score_pairs
from reward_models.models.ensemble import EnsembleConfig, EnsembleReward
from reward_models.preferences import Preference
from textgym.rewards import RewardError, resolve

CONFIG = CardConfig(repetitions=100, texts=40)
SAMPLING = Sampling(seed=0, repetitions=20)
EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)> & {{ 7 * 7 }} $x_\ud800"


class Page(HTMLParser):
    """Collects tags, attributes and text."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.words = [], [], []
        self.feed(html)
        self.close()
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        if self.tags[-1:] != ["style"]:
            self.words.append(data)


def some_data(drawn_pairs, number=60):
    pairs = drawn_pairs(number)
    people = [
        Preference(
            pair_id="",
            prompt=pair.prompt,
            chosen=pair.chosen if row % (3 + who) else pair.rejected,
            rejected=pair.rejected if row % (3 + who) else pair.chosen,
            annotator=f"person {who}",
            subset="even" if row % 4 < 2 else "odd",
        )
        for row, pair in enumerate(pairs)
        for who in range(3)
    ]
    return card_data(people[: 2 * number], people[2 * number :], source="drawn pairs")


@pytest.fixture(scope="session")
def data(drawn_pairs):
    return some_data(drawn_pairs)


@pytest.fixture(scope="session")
def reward():
    return lambda prompts, completions, **c: [
        float(text.split()[0]) + len(text) / 50 if text[:1] in "-0123456789" else len(text) / 50
        for text in completions
    ]


@pytest.fixture(scope="session")
def card(data, reward):
    return make_card(reward, data, CONFIG, name="a reward", members={"one": reward, "two": reward})


@pytest.fixture(scope="session")
def html(card):
    return render_card(card)


def test_the_card_is_json_and_names_every_section(card):
    json.dumps(card, allow_nan=False)
    assert card.keys() == {
        "reward",
        "data",
        "warnings",
        "accuracy",
        "people",
        "calibration",
        "margins",
        "biases",
        "changes",
        "truncation",
        "steadiness",
        "throughput",
        "members",
        "provenance",
        "undefined",
    }
    assert card["data"]["pairs"] == 40


def test_everything_but_the_speed_repeats_itself(card, data, reward):
    again = make_card(reward, data, CONFIG, name="a reward", members={"one": reward, "two": reward})
    assert {k: v for k, v in again.items() if k != "throughput"} == {
        k: v for k, v in card.items() if k != "throughput"
    }


def test_people_and_reward_are_held_against_the_same_answers(card):
    people = card["people"]
    assert (people["annotators"], people["pairs"], people["answers"]) == (3, 40, 120)
    for figure in ("one_with_another", "reward_with_one", "with_majority", "reward_with_majority"):
        assert people[figure]["low"] <= people[figure]["value"] <= people[figure]["high"]


def test_a_longer_text_pays_and_the_card_says_so(card):
    """The reward adds a fiftieth of a point for each letter."""
    effects = {row["name"]: row["effect"] for row in card["changes"]}
    assert effects["said twice"]["low"] > 0
    assert effects["first half only"]["high"] < 0
    assert card["truncation"]["rows"][-1]["correlation"]["value"] == pytest.approx(1)


def test_the_page_shows_the_figures_of_the_card(card, html):
    page = Page(html)
    accuracy = card["accuracy"][0]["accuracy"]["value"]
    alpha = card["people"]["alpha"]["value"]
    for shown in ("Reward card: a reward", f"{accuracy:.3f}", f"{alpha:.3f}", "words shuffled"):
        assert shown in page.text
    assert card["provenance"]["data_hash"] in page.text
    assert page.tags.count("img") == 5


def test_a_figure_breaks_before_its_interval_and_is_named_where_columns_are_rows(card, html):
    """A table of five figures with intervals was cut at its right edge."""
    row = card["biases"][0]["reward_prefers"]
    ends = f"({row['low']:.3f}\u00a0to\u00a0{row['high']:.3f})"
    assert f'data-label="reward prefers">{row["value"]:.3f} {ends}</td>' in html
    assert html.count("<td") == html.count('<td class="n" data-label="')
    assert 'data-label=""' not in html


def test_a_reward_no_better_than_a_coin_says_so_on_its_card(card, html):
    assert all(warning in Page(html).text for warning in card["warnings"])
    warned = {**card, "warnings": ["no better than a coin"]}
    assert "no better than a coin" in Page(render_card(warned)).text


def test_the_page_is_the_same_from_the_json_read_again(card, html):
    assert render_card(json.loads(json.dumps(card))) == html


def test_the_page_loads_and_runs_nothing_whatever_it_is_told(drawn_pairs, reward):
    """Names, subsets and sources are text; pictures are in the page itself."""
    evil = [
        Preference(pair_id="", prompt=f"p{n}", chosen="2 a", rejected="1 b", subset=EVIL)
        for n in range(4)
    ]
    card = make_card(reward, card_data(evil, [], source=EVIL), CONFIG, name=EVIL)
    page = Page(render_card(card))
    assert "script" not in page.tags
    assert {"link", "iframe", "object", "embed", "base"}.isdisjoint(page.tags)
    sources = [value for name, value in page.attributes if name == "src"]
    assert all(source.startswith("data:image/svg+xml;base64,") for source in sources)
    assert not [name for name, _ in page.attributes if name.startswith("on") or name == "href"]
    assert "<script>alert(1)</script>" in page.text


def test_one_pair_makes_a_card_that_says_what_is_undefined(reward):
    """Nobody's name, one prompt, no repetition: still a card, and a page with the reasons."""
    pair = Preference(pair_id="1", prompt="p", chosen="2", rejected="1")
    card = make_card(reward, CardData(source="one", test=[pair]), CONFIG, name="r")
    json.dumps(card, allow_nan=False)
    text = Page(render_card(card)).text
    assert "What is undefined, and why" in text
    reasons = " ".join(card["undefined"])
    for why in ("two prompts or more", "no validation pairs", "values that vary", "two answers"):
        assert why in reasons
        assert why in text


def test_a_constant_reward_makes_a_card_of_ties(data):
    card = make_card(lambda p, c, **k: [1.0] * len(c), data, CONFIG, name="constant")
    assert card["accuracy"][0]["accuracy"]["value"] == 0.5
    assert card["accuracy"][0]["ties"] == 40
    assert card["calibration"]["temperature"]["value"] is None
    assert all(row["effect"]["value"] is None for row in card["changes"])
    assert "same score" in Page(render_card(card)).text


def test_an_ensemble_is_shown_with_its_members_and_is_better_calibrated(drawn_pairs):
    """Members say the log-odds with errors of their own, so are too sure; their mean is less so.

    The labels are drawn from the log-odds themselves, and an error hangs on the text alone.
    """

    def member(number):
        def score(prompts, completions, **columns):
            seeds = (f"{number}/{text}" for text in completions)
            errors = (random.Random(seed).gauss(0, 1) for seed in seeds)  # noqa: S311  no secret
            return [
                float(text.split()[0]) + error
                for text, error in zip(completions, errors, strict=True)
            ]

        return score

    members = [member(number) for number in range(5)]
    ensemble = EnsembleReward(members, EnsembleConfig(how="mean"), np.zeros(5), np.ones(5))
    scores = scores_of(resolve(ensemble))
    test, validation = (score_pairs(scores, drawn_pairs(1500, seed=seed)) for seed in (1, 2))
    data = CardData(source="drawn", test=test.pairs, validation=validation.pairs)
    rows = _members(_made_of(resolve(ensemble)), ("ensemble", test, validation), data, SAMPLING)[
        "rows"
    ]
    assert [row["name"] for row in rows] == [*(f"member {n}" for n in range(5)), "ensemble"]
    whole = rows.pop()
    for figure in (
        "calibration_error_before",
        "negative_log_likelihood_before",
        "negative_log_likelihood_after",
    ):
        assert whole[figure] < min(row[figure] for row in rows)
    assert whole["accuracy"]["value"] > max(row["accuracy"]["value"] for row in rows)
    assert whole["temperature"]["value"] < min(row["temperature"]["value"] for row in rows)


def test_a_reward_that_fails_stops_the_card_and_shows_the_text(data):
    def fails(prompts, completions, **columns):
        raise ZeroDivisionError

    with pytest.raises(RewardError, match="raised ZeroDivisionError"):
        make_card(resolve(fails), data, CONFIG, name="fails")


def test_raw_scores_are_preferred_to_scaled_ones():
    """A temperature of normalised scores would say nothing of the model's confidence."""

    class Scaled:
        def __call__(self, prompts, completions, **columns):
            return [0.0] * len(completions)

        def raw(self, prompts, completions):
            return np.arange(len(completions))

    assert scores_of(resolve(Scaled()))(["p"] * 3, ["a"] * 3).tolist() == [0, 1, 2]


def test_both_files_are_written_and_an_earlier_card_is_replaced(card, tmp_path):
    folder = tmp_path / "new" / "card"
    folder.mkdir(parents=True)
    (folder / "card.html").write_text("an earlier one")
    write_card(card, folder)
    assert "Reward card" in (folder / "card.html").read_text()
    assert sorted(path.name for path in folder.iterdir()) == ["card.html", "card.json"]
    assert json.loads((folder / "card.json").read_text()) == json.loads(json.dumps(card))
