"""Other people's agents train on the same id by the snippets of the page, as they stand."""

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SNIPPETS = ROOT / "examples" / "libraries"
MOST_LINES = 40
# Of an environment with the project's own requirements, of the one that is laid over it, and of
# environments of their own.
OURS = ("cleanrl_ppo", "sb3_contrib_maskable_ppo", "sb3_ppo")
LAID_OVER = {"skrl": "skrl_ppo", "tianshou": "tianshou_ppo", "torchrl": "torchrl_ppo"}
APART = ("pufferlib_ppo", "rllib_ppo")
# A uniform policy scores 0.094 over legal tokens, and less where illegal ones use the allowance up.
# By another rounding each of them ends elsewhere, and none that learns ends near chance.
CHANCE, LEARNED = 0.2, 0.5
CODE = """
import json, runpy, sys
for path in sys.argv[1:]:
    print(json.dumps([path, *map(float, runpy.run_path(path)["main"]())]))
"""


def scores_of(names):
    """What the snippets return, by name, from one process, so that torch is imported once."""
    paths = [str(SNIPPETS / f"{name}.py") for name in names]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CODE, *paths],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines() if line.startswith('["')]
    return {Path(path).stem: scores for path, *scores in lines}


def require_learned(names):
    scores = scores_of(names)
    assert list(names) == list(scores)
    assert {name: before for name, (before, _) in scores.items() if not 0 <= before < CHANCE} == {}
    assert {name: after for name, (_, after) in scores.items() if not LEARNED < after <= 1} == {}


def length_of(path):
    """How many lines a script has, without the blank ones."""
    return len(re.findall(r"^.*\S", path.read_text(encoding="utf-8"), re.M))


@pytest.mark.learning
def test_stable_baselines3_sb3_contrib_and_cleanrl_s_manner_learn():
    require_learned(OURS)


@pytest.mark.learning
def test_skrl_tianshou_and_torchrl_learn():
    missing = [library for library in LAID_OVER if find_spec(library) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)}: make test installs them over the rest")
    require_learned(LAID_OVER.values())


def test_these_are_all_the_snippets_and_each_is_under_forty_lines():
    """Blank lines aside, the docstring and the line that prints included."""
    paths = {path.stem: path for path in SNIPPETS.glob("*.py")}
    assert sorted([*OURS, *LAID_OVER.values(), *APART]) == sorted(paths)
    lengths = {name: length_of(path) for name, path in paths.items()}
    assert {name: length for name, length in lengths.items() if length >= MOST_LINES} == {}
    assert all("textgym:TextGym/Alphabet-v0" in path.read_text() for path in paths.values())


def test_the_page_s_table_has_each_snippet_its_lines_and_the_version_that_is_installed():
    page = (ROOT / "ENVIRONMENTS.md").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| (.+) \| (\S+) \| (\d+) \| ([\d.]+) \| ([\d.]+) \| `(.+)` \|$", page, re.M
    )
    named = [re.findall(r"\w+_ppo(?=\.py)", command) for *_, command in rows]
    assert sorted([*OURS, *LAID_OVER.values()]) == sorted(name for names in named for name in names)
    for library, version, lines, before, after, command in rows:
        package = {"RLlib": "ray[rllib]"}.get(library, library.lower())
        if package in ("ray[rllib]", "pufferlib", *LAID_OVER):
            assert f"{package}=={version}" in makefile
        for name in re.findall(r"\w+_ppo(?=\.py)", command):
            assert int(lines) == length_of(SNIPPETS / f"{name}.py")
        assert 0 <= float(before) < CHANCE
        assert LEARNED < float(after) <= 1
