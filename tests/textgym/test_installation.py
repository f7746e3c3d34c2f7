"""Another package of the name ``agents``, laid over ours or ours over it, is one line."""

import os
import shutil
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

import agents
from textgym.installation import require_own_agents

ROOT = Path(agents.__file__).parents[1]
TRAIN = (
    "train",
    "ppo",
    "--env",
    "TextGym/Alphabet-v0",
    "--policy",
    "scratch:gpt2",
    "--out",
    "runs",
)

_THREE_WAYS = """
for line in ("import agents", "from agents import PPO", "import agents.ppo"):
    try:
        exec(line)
    except ImportError as error:
        print(error)
"""


def _lay_ours(site):
    shutil.copytree(ROOT / "agents", site / "agents", ignore=shutil.ignore_patterns("__pycache__"))


def _lay_theirs(site, init="from agents.guardrail import guard\n"):
    """What openai-agents has, as far as it matters: modules of the same and of other names."""
    for name, text in {
        "__init__.py": init,
        "guardrail.py": "guard = None\n",
        "models/__init__.py": "from agents.guardrail import guard\n",
    }.items():
        path = site / "agents" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _python(folder, sites, *arguments):
    paths = os.pathsep.join(map(str, sites))
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": paths},
    )


def _message(site):
    return (
        "another package called agents, such as openai-agents, is installed in place of textgym's "
        f"or over it, in {site / 'agents'}: install textgym into a virtual environment of its own"
    )


def test_ours_alone_is_well():
    require_own_agents()


def test_ours_over_theirs_is_not_imported(tmp_path):
    """Our front door runs, and modules of theirs that have lost it lie beside it."""
    site = tmp_path / "site"
    _lay_theirs(site)
    shutil.copytree(ROOT / "agents", site / "agents", dirs_exist_ok=True)
    told = _python(tmp_path, [site, ROOT], "-c", _THREE_WAYS)
    assert told.stdout.splitlines() == [_message(site)] * 3, told.stderr


@pytest.mark.parametrize("init", ["guard = 1\n", "raise ImportError('no module named openai')\n"])
def test_theirs_over_ours_is_told_by_the_command(tmp_path, init):
    """Whether or not theirs can be imported: it is not tried."""
    site = tmp_path / "site"
    _lay_ours(site)
    _lay_theirs(site, init)
    told = _python(tmp_path, [site, ROOT], "-m", "textgym", *TRAIN)
    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr == f"error: {_message(site)}\n"
    assert _python(tmp_path, [site, ROOT], "-m", "textgym", "--version").returncode == 0


def test_theirs_in_front_of_ours_is_told_by_the_command(tmp_path):
    """As where textgym is installed in place, and theirs is among the installed packages."""
    site = tmp_path / "site"
    _lay_theirs(site)
    told = _python(tmp_path, [site, ROOT], "-m", "textgym", *TRAIN)
    assert told.stderr == f"error: {_message(site)}\n"


def test_theirs_behind_ours_does_no_harm(tmp_path):
    site = tmp_path / "site"
    _lay_theirs(site)
    told = _python(tmp_path, [ROOT, site], "-c", "import agents; print(agents.__file__)")
    assert told.stdout.strip() == str(ROOT / "agents" / "__init__.py")


@pytest.mark.parametrize("spec", [None, ModuleSpec("agents", None, is_package=True)])
def test_what_is_left_after_theirs_was_uninstalled_is_told(monkeypatch, spec):
    """The front door goes with them, as it was theirs last; Python sees a folder without one."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: spec)
    with pytest.raises(ModuleNotFoundError, match=r"no __init__\.py, .*: install textgym again$"):
        require_own_agents()


def test_nothing_of_ours_is_called_as_what_theirs_is_known_by():
    assert not (ROOT / "agents" / "guardrail.py").exists()
