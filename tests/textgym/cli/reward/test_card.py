"""The command: from a file to a page, and one line for what cannot work."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from textgym.cli.parsing import CommandError
from textgym.cli.reward.card import RewardCardConfig, reward_card


@pytest.fixture
def pairs(tmp_path):
    rows = [
        {"prompt": f"p{n}", "chosen": "x y " * (n % 5 + 2), "rejected": "z " * (n % 3 + 1)}
        for n in range(20)
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return str(path)


def config(pairs, out, **changes):
    settings = {"reward": "length", "data": pairs, "out": Path(out), "repetitions": 50, "texts": 20}
    return RewardCardConfig(**settings | changes)


def test_a_reward_by_name_gets_its_page(pairs, tmp_path):
    """Every chosen text has more words than the other."""
    output = io.StringIO()
    reward_card(config(pairs, tmp_path / "card"), Console(file=output, width=200))
    card = json.loads((tmp_path / "card" / "card.json").read_text())
    assert card["accuracy"][0]["accuracy"]["value"] == 1.0
    assert card["data"]["validation_pairs"] > 0
    shared, said = output.getvalue().split("\n", 1)
    assert "held-out pairs share a text with what is learned from" in shared
    assert said.startswith("accuracy 1.000 (1.000 to 1.000) on ")
    assert str(tmp_path / "card" / "card.html") in output.getvalue()


def test_a_picture_holds_four_charts(pairs, tmp_path):
    picture = tmp_path / "card.svg"
    reward_card(config(pairs, tmp_path, picture=picture), Console(file=io.StringIO()))
    assert picture.read_text().count('id="axes_') == 4


def test_members_are_compared(pairs, tmp_path):
    members = ("textgym.tasks.toys:bandit_score",)
    reward_card(config(pairs, tmp_path, members=members), Console(file=io.StringIO()))
    card = json.loads((tmp_path / "card.json").read_text())
    assert [row["name"] for row in card["members"]["rows"]] == [*members, "length"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"reward": "nothing"}, "unknown reward 'nothing'"),
        ({"members": ("length",)}, "name each reward and member once"),
        ({"split": "test"}, "is a file"),
        ({"picture": Path("card.gif")}, "ends in .png or .svg"),
        ({"validation_share": 1.5}, "share"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"repetitions": 0}, "repetitions must be at least 1, got 0"),
        ({"texts": -5}, "texts must be at least 1, got -5"),
    ],
)
def test_what_cannot_work_is_one_line(pairs, tmp_path, changes, reason):
    with pytest.raises(CommandError, match=reason):
        reward_card(config(pairs, tmp_path, **changes))
