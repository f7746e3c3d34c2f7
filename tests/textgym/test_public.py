"""What is public, and what importing it costs."""

import importlib
import inspect
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import textgym

ROOT = Path(textgym.__file__).parents[1]
HEAVY = (
    "torch",
    "transformers",
    "datasets",
    "pandas",
    "stable_baselines3",
    "sklearn",
    "matplotlib",
)
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(textgym.__path__, "textgym.")
    if not module.name.startswith("textgym.cli")
)


def run_fresh(code):
    """What a fresh process prints."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": path},
    ).stdout.strip()


@pytest.mark.parametrize(
    "code",
    [
        "import textgym",
        "from gymnasium import make; make('textgym:TextGym/Alphabet-v0').reset()",
        "from gymnasium import make_vec; make_vec('textgym:TextGym/Bandit-v0', num_envs=3).reset()",
    ],
)
def test_nothing_heavy_is_imported(code):
    """An environment must start fast, and where torch is not wanted."""
    probe = f"{code}\nimport sys; print([name for name in {HEAVY} if name in sys.modules])"
    assert run_fresh(probe) == "[]"


def test_the_package_s_public_names_are_its_all():
    public = {
        name
        for name in dir(textgym)
        if not name.startswith("_")
        and not inspect.ismodule(getattr(textgym, name))
        and name not in ("annotations", "TYPE_CHECKING", "Any")
    }
    assert public == set(textgym.__all__)


def test_each_public_name_is_that_of_the_module_that_defines_it():
    for name in textgym.__all__:
        value = getattr(textgym, name)
        assert value is getattr(importlib.import_module(value.__module__), name)
    scope = {}
    exec("from textgym import *", scope)  # noqa: S102 - the statement is the claim
    assert set(textgym.__all__) <= set(scope)
    with pytest.raises(AttributeError, match="module 'textgym' has no attribute 'TextEnvs'"):
        textgym.TextEnvs  # noqa: B018 - asked for in vain
    with pytest.raises(ImportError, match="cannot import name 'TextEnvs'"):
        exec("from textgym import TextEnvs")  # noqa: S102 - as above


def test_the_package_loads_its_environments_when_they_are_asked_for():
    """And knows their ids before."""
    rooms = ("textgym.envs", "textgym.rewards", "textgym.recording", "textgym.tokenizers")
    probe = (
        "import sys, gymnasium, textgym\n"
        "assert 'TextGym/Alphabet-v0' in gymnasium.registry and 'TextEnv' in dir(textgym)\n"
        f"print([name for name in {rooms} if name in sys.modules])\n"
        "print(textgym.TextEnv.__name__, 'TextEnv' in vars(textgym))\n"
        "print(textgym.testing.check_task.__name__)"
    )
    assert run_fresh(probe).splitlines() == ["[]", "TextEnv True", "check_task"]


@pytest.mark.parametrize("name", MODULES)
def test_a_module_s_public_names_are_its_all(name):
    module = importlib.import_module(name)
    defined = {
        key
        for key, value in vars(module).items()
        if not key.startswith("_") and getattr(value, "__module__", None) == name
    }
    listed = set(getattr(module, "__all__", ()))
    assert defined <= listed
    assert all(hasattr(module, key) for key in listed)


@pytest.mark.parametrize("name", MODULES)
def test_what_is_public_is_documented(name):
    module = importlib.import_module(name)
    assert inspect.getdoc(module)
    for key in getattr(module, "__all__", ()):
        value = getattr(module, key)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert inspect.getdoc(value), key
