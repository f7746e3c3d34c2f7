"""Where the names of these rooms are found, and what looking for them costs."""

import ast
import importlib
import inspect
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import agents

ROOT = Path(agents.__file__).parents[1]
MODULES = sorted(module.name for module in pkgutil.walk_packages(agents.__path__, "agents."))
HEAVY = ("torch", "transformers", "stable_baselines3", "pandas", "matplotlib", "sklearn")


@pytest.mark.parametrize("name", MODULES)
def test_a_name_has_one_door(name):
    """A module lists what it defines, and nothing that another one lists as well.

    The package's own front door, ``agents``, is the exception: all that it lists is elsewhere.
    """
    module = importlib.import_module(name)
    listed = {key: getattr(module, key) for key in getattr(module, "__all__", ())}
    made = {
        key for key, value in listed.items() if inspect.isroutine(value) or inspect.isclass(value)
    }
    assert [key for key in made if listed[key].__module__ != name] == []


@pytest.mark.parametrize("name", agents.__all__)
def test_the_front_door_gives_the_object_of_its_module(name):
    value = getattr(agents, name)
    if inspect.ismodule(value):
        assert value is importlib.import_module(f"agents.{name}")
        return
    home = importlib.import_module(value.__module__)
    assert getattr(home, name) is value
    assert name in home.__all__


def test_the_front_door_says_what_it_has():
    assert dir(agents) == sorted(agents.__all__)
    with pytest.raises(AttributeError, match="module 'agents' has no attribute 'PPOO'"):
        _ = agents.PPOO
    with pytest.raises(ImportError, match="cannot import name 'PPOO' from 'agents'"):
        from agents import PPOO  # noqa: F401 - it is not there


def test_type_checkers_see_what_the_front_door_gives():
    """Every name is imported once more for them, from the same module."""
    tree = ast.parse(inspect.getsource(agents))
    (checked,) = (node for node in tree.body if isinstance(node, ast.If))
    imported = {alias.name: node.module for node in checked.body for alias in node.names}
    given = {name: getattr(agents, name) for name in agents.__all__}
    assert imported == {
        name: "agents" if inspect.ismodule(value) else value.__module__
        for name, value in given.items()
    }


@pytest.mark.parametrize("line", ["import agents", "import agents; dir(agents)"])
def test_the_front_door_loads_nothing_heavy(line):
    probe = f"{line}\nimport sys; print([name for name in {HEAVY} if name in sys.modules])"
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    result = subprocess.run(
        [sys.executable, "-c", probe],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert result.stdout.strip() == "[]"
