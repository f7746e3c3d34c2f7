"""What others publish, row by row: small rows of our own in each of their formats."""

import json
import re
from pathlib import Path

import pytest

from reward_models.preferences import Preference, Ranking, Rating
from reward_models.preferences.published.items import BothBad
from reward_models.preferences.published.table import FORMATS, format_of, parser_of
from textgym.data.tables import Row

PAGE = Path(__file__).parents[4] / "FORMATS.md"
SHOWN = re.findall(r"^\| ([^|]+) \| `(\{.*\})` \|$", PAGE.read_text(encoding="utf-8"), re.M)


def says(role, content):
    return {"role": role, "content": content}


def parse(row):
    return list(parser_of(row)(Row(place="here", values=row)))


def told(item):
    """What an item says, in a few words."""
    if isinstance(item, BothBad):
        return "both bad"
    if isinstance(item, Rating):
        return item.prompt, item.completion, item.rating
    if isinstance(item, Ranking):
        return item.prompt, item.completions, item.places
    return item.prompt, item.chosen, item.rejected, item.probability


CHAT = "User: Q\nBot:"
ASK = says("user", "Q")
PARTS = [{"type": "text", "text": "Q", "image": None}]
ARENA = {"prompt": '["Q", "R"]', "response_a": '["a", "b"]', "response_b": '["c", null]'}
VOTES = {"winner_model_a": "0", "winner_model_b": "1.0", "winner_tie": "0"}
PANDA = {"instruction": "Q", "input": "R", "response1": "x", "response2": "y"}


@pytest.mark.parametrize(
    ("name", "row", "expected"),
    [
        ("pairs", {"prompt": "Q", "chosen": "x", "rejected": ""}, [("Q", "x", "", 1)]),
        (
            "pairs",
            {"prompt": "Q", "prompt_id": "7", "chosen": [ASK, says("assistant", "x")],
             "rejected": [ASK, says("assistant", "y")], "messages": [ASK], "score_chosen": 8},
            [(CHAT, " x", " y", 1)],
        ),
        (
            "pairs",
            {"conversations": [{"from": "system", "value": "S"}, {"from": "human", "value": "Q"}],
             "chosen": {"from": "gpt", "value": "x"}, "rejected": {"from": "gpt", "value": "y"}},
            [("System: S\nUser: Q\nBot:", " x", " y", 1)],
        ),
        ("pairs", {"prompt": [ASK], "chosen": "x", "rejected": "y"}, [(CHAT, " x", " y", 1)]),
        (
            "pairs",
            {"prompt": [ASK], "chosen": [ASK, says("model", "x")],
             "rejected": [ASK, says("bot", "y")]},
            [(CHAT, " x", " y", 1)],
        ),
        (
            "pairs",
            {"system": "S", "question": "Q", "chosen": "x", "rejected": "y"},
            [("S\nQ", "x", "y", 1)],
        ),
        (
            "pairs",
            {"instruction": "Q", "input": "R", "chosen": "x", "rejected": "y"},
            [("Q\nR", "x", "y", 1)],
        ),
        (
            "pairs",
            {"prompt": "Q", "chosen": ["x", "z"], "rejected": ["y"]},
            [("Q", "x", "y", 1), ("Q", "z", "y", 1)],
        ),
        ("pairs", {"question": "Q", "response_j": "x", "response_k": "y"}, [("Q", "x", "y", 1)]),
        *[
            (
                "AlpacaEval",
                {"instruction": "Q", "output_1": "x", "output_2": "y", "preference": given},
                [("Q", *texts, probability)],
            )
            for given, texts, probability in [
                (1, "xy", 1),
                (2, "yx", 1),
                (1.25, "xy", 0.75),
                (1.75, "yx", 0.75),
                (1.5, "xy", 0.5),
                (0, "xy", 0.5),
            ]
        ],
        *[
            (
                "LLMBar",
                {"input": "Q", "output_1": "x", "output_2": "y", "label": label},
                [("Q", *texts, 1)],
            )
            for label, texts in [(1, "xy"), ("2", "yx")]
        ],
        *[
            (
                "chat arena",
                {"prompt": "Q", "response_a": "x", "response_b": "y", "winner": winner},
                expected,
            )
            for winner, expected in [
                ("model_a", [("Q", "x", "y", 1)]),
                ("B", [("Q", "y", "x", 1)]),
                ("tie", [("Q", "x", "y", 0.5)]),
                ("tie (bothbad)", ["both bad"]),
                ("both_bad", ["both bad"]),
            ]
        ],
        (
            "chat arena",
            {"conversation_a": [says("user", PARTS), says("assistant", "x")],
             "conversation_b": [says("user", "Q"), says("assistant", ["y", "z"])],
             "winner": "model_b"},
            [(CHAT, " yz", " x", 1)],
        ),
        (
            "arena votes",
            ARENA | VOTES,
            [(CHAT, " c\nUser: R\nBot: ", " a\nUser: R\nBot: b", 1)],
        ),
        (
            "arena votes",
            ARENA | VOTES | {"prompt": ["Q"], "response_a": ["a"], "response_b": ["b"]},
            [(CHAT, " b", " a", 1)],
        ),
        ("arena votes", ARENA | VOTES | {"prompt": "[Q"}, [("[Q", '["c", null]', '["a", "b"]', 1)]),
        *[
            (
                "JudgeBench",
                {"question": "Q", "response_A": "x", "response_B": "y", "label": label},
                [("Q", *texts, 1)],
            )
            for label, texts in [("A>B", "xy"), ("B>A", "yx")]
        ],
        *[
            (
                "HelpSteer, preferences",
                {"context": [ASK], "response1": "x", "response2": "y", "overall_preference": lead},
                [(CHAT, *(f" {text}" for text in texts), probability)],
            )
            for lead, texts, probability in [(-3, "xy", 1), (0, "xy", 0.5), (1, "yx", 1)]
        ],
        (
            "HelpSteer, preferences",
            {"prompt": "Q", "response_1": "x", "response_2": "y", "preference_strength": -2},
            [("Q", "x", "y", 1)],
        ),
        (
            "PandaLM",
            PANDA | {"annotator1": 1, "annotator2": 2, "annotator3": 0},
            [("Q\nR", "x", "y", 1), ("Q\nR", "y", "x", 1), ("Q\nR", "x", "y", 0.5)],
        ),
        (
            "PandaLM",
            PANDA | {"annotator1": 1, "annotator2": None, "annotator3": ""},
            [("Q\nR", "x", "y", 1)],
        ),
        *[
            (
                "Auto-J",
                {"prompt": "Q", "response 1": "x", "response 2": "y", "label": label},
                [("Q", *texts, probability)],
            )
            for label, texts, probability in [(0, "xy", 1), (1, "yx", 1), (2, "xy", 0.5)]
        ],
        *[
            (
                "SHP",
                {"history": "Q", "human_ref_A": "x", "human_ref_B": "y", "labels": label},
                [("Q", *texts, 1)],
            )
            for label, texts in [(1, "xy"), (0, "yx")]
        ],
        *[
            (
                "PKU-SafeRLHF",
                {"prompt": "Q", "response_0": "x", "response_1": "y", "better_response_id": number},
                [("Q", *texts, 1)],
            )
            for number, texts in [(0, "xy"), (1, "yx")]
        ],
        *[
            (
                "WebGPT comparisons",
                {"question": {"id": "1", "full_text": "Q"}, "answer_0": "x", "answer_1": "y",
                 "score_0": score, "score_1": -score, "quotes_0": {"title": []}},
                [("Q", *texts, probability)],
            )
            for score, texts, probability in [(1, "xy", 1), (-0.5, "yx", 1), (0, "xy", 0.5)]
        ],
        (
            "rankings",
            {"prompt": "Q", "completions": ["x", "y", "z"], "ranks": [3.0, "1", 2]},
            [("Q", ("y", "z", "x"), 2)],
        ),
        (
            "rankings",
            {"info": {"post": "Q"}, "summaries": [{"text": "x"}, {"text": "y"}], "choice": 1},
            [("Q", ("y", "x"), 1)],
        ),
        (
            "best of K",
            {"query": "Q", "sample0": "x", "sample1": "y", "sample10": "z", "best": 2},
            [("Q", ("z", "x", "y"), 1)],
        ),
        (
            "Nectar",
            {"prompt": "Q",
             "answers": [{"answer": "x", "rank": 2.0}, {"answer": "y", "rank": 1.0}]},
            [("Q", ("y", "x"), 1)],
        ),
        (
            "UltraFeedback",
            {"instruction": "Q", "models": ["m", "n"],
             "completions": [{"response": "x", "overall_score": 8.5, "fine-grained_score": 4},
                             {"response": "y", "overall_score": 3.0}]},
            [("Q", "x", 8.5), ("Q", "y", 3)],
        ),
        (
            "lists with ratings",
            {"instruction": "Q", "generations": ["x", "y"], "ratings": [4, "2.5"]},
            [("Q", "x", 4), ("Q", "y", 2.5)],
        ),
        ("ratings", {"prompt": "Q", "completion": "x", "label": True}, [("Q", "x", 1)]),
        (
            "ratings",
            {"prompt": "Q", "response": "x", "helpfulness": 3, "correctness": 4, "verbosity": 1},
            [("Q", "x", 3)],
        ),
        (
            "conversations with a label",
            {"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "x"}],
             "kto_tag": False},
            [(CHAT, " x", 0)],
        ),
    ],
)  # fmt: skip
def test_a_row_is_read_as_its_publisher_means_it(name, row, expected):
    known, _ = format_of(row)
    assert (name, expected) == (known.name, [told(item) for item in parse(row)])


def test_who_said_so_how_strongly_and_where_is_kept():
    """Also where several people answered in one row, and the row is what names the pair."""
    row = PANDA | {"annotator1": 1, "annotator2": 2, "annotator3": 0, "scenario": "chat"}
    items = parse(row)
    assert [item.annotator for item in items] == ["annotator1", "annotator2", "annotator3"]
    assert {(item.pair_id, item.subset) for item in items} == {("here", "chat")}
    row = {"prompt": "Q", "response1": "x", "response2": "y", "overall_preference": -3}
    (item,) = parse(row | {"domain": "stem"})
    assert (item.strength, item.subset) == (3, "stem")
    (item,) = parse(row | {"subset": "mine", "domain": "stem"})
    assert item.subset == "mine"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            PANDA | {"annotator1": None, "annotator2": "", "annotator3": None},
            "here: nobody answered",
        ),
        (
            PANDA | {"annotator1": 3, "annotator2": 1, "annotator3": 1},
            r"'annotator1' is 3; known: 1",
        ),
        (ARENA | VOTES | {"winner_tie": "1"}, "here: 2 of winner_model_a, .* exactly one is"),
        ({"prompt": "Q", "answers": ["x"]}, "'answers' is .*, but it is a list of objects"),
        ({"prompt": "Q", "answers": [{"rank": 1}]}, "an object has none of answer, .*, but rank"),
        ({"prompt": "Q", "answers": [{"answer": "x"}]}, "'ranks' is None, but it is a number"),
        ({"prompt": "Q", "responses": ["x"], "scores": [1, 2]}, "2 ratings for 1 texts"),
        ({"messages": [ASK], "label": 1}, "has no message before the one that is rated"),
        ({"prompt": 7, "chosen": "x", "rejected": "y"}, "'prompt' is 7, but it holds a text"),
    ],
)
def test_a_row_that_cannot_be_meant_says_why(row, message):
    with pytest.raises(ValueError, match=message) as caught:
        parse(row)
    assert "\n" not in str(caught.value)


def test_every_format_is_on_the_page():
    assert {known.name for known in FORMATS} == {name for name, _ in SHOWN}


@pytest.mark.parametrize(("name", "row"), SHOWN)
def test_the_page_s_rows_are_read(name, row):
    """In each, what says yes is better than what says no."""
    values = json.loads(row)
    known, _ = format_of(values)
    assert known.name == name
    for item in parse(values):
        assert item.prompt
        if isinstance(item, Preference) and item.probability > 0.5 and not item.annotator:
            assert item.chosen.strip().startswith(("Yes", "yes", "This", "Hi"))
