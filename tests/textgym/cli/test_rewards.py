"""The list of rewards, and a page about each."""

import io
from importlib.metadata import EntryPoint

import pytest
from rich.console import Console

from textgym.cli.errors import CommandError
from textgym.cli.rewards import RewardsConfig, list_rewards
from textgym.rewards import describe, known_rewards, register_reward, registry
from textgym.rewards.resolving import COMBINATIONS


def printed(**settings):
    output = io.StringIO()
    list_rewards(RewardsConfig(**settings), Console(file=output, width=200))
    return output.getvalue()


def lines(**settings):
    return {line.split()[0]: line for line in printed(**settings).splitlines() if line.split()}


@pytest.fixture(autouse=True)
def nothing_stays(monkeypatch):
    monkeypatch.setattr(registry, "_registered", {})


def test_every_reward_has_a_line_with_what_it_reads_and_its_range():
    listed = lines()
    assert set(known_rewards()) <= listed.keys()
    assert listed["rouge"].split()[1:6] == ["reference", "[0,", "1]", "textgym[metrics]", "yes"]
    assert listed["length"].split()[1:5] == ["nothing", "[0,", "inf)", "none"]
    assert listed["log_likelihood"].split()[1:4] == ["prompt", "(-inf,", "0]"]
    assert listed["preference_model"].split()[1:3] == ["prompt", "any"]


@pytest.mark.parametrize(("installed", "shown"), [(False, True), (True, False)])
def test_what_is_not_installed_says_so_and_can_be_left_out(monkeypatch, installed, shown):
    @register_reward("theirs")
    @describe(needs=["a_package_that_is_lost"], low=0)
    def theirs(prompts, completions, **columns):
        """How theirs it is."""
        return [0.0] * len(completions)

    lost = EntryPoint("lost", "another_package_that_is_lost:reward", "textgym.rewards")
    known = registry._listed()
    monkeypatch.setattr(registry, "_listed", lambda: (*known, lost))
    listed = lines(installed=installed)
    assert shown == ("theirs" in listed) == ("lost" in listed)
    if shown:
        assert listed["theirs"].split()[1:6] == [
            "nothing",
            "[0,",
            "inf)",
            "a_package_that_is_lost",
            "no",
        ]
        assert "How theirs it is" in listed["theirs"]
        assert "another_package_that_is_lost no" in " ".join(listed["lost"].split())


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        (
            "rouge",
            ["Lin, ", "variant: str, default 'rougeL'", 'reward={"rouge": {"variant": ...}}'],
        ),
        ("keywords", ["range: [0, 1]", "keywords: "]),
        ("vader", ["needs: vaderSentiment", 'gymnasium.make(..., reward="vader")']),
        ("length_window", ["low: int, needed", "reads: nothing"]),
        ("clip", ["Scores cut off at bounds.", 'reward={"clip": {"reward": ...}}']),
    ],
)
def test_a_page_explains_one(name, parts):
    page = printed(name=name)
    assert [part for part in parts if part not in page] == []


@pytest.mark.parametrize("name", sorted({*COMBINATIONS, "chat", "none_as"}))
def test_each_combination_has_a_page(name):
    assert f'reward={{"{name}": ' in printed(name=name)


def test_an_unknown_name_is_bad_input():
    with pytest.raises(CommandError, match="unknown reward 'vadr'; known: bleu"):
        list_rewards(RewardsConfig(name="vadr"))
