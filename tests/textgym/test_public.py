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
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    result = subprocess.run(
        [sys.executable, "-c", probe],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert result.stdout.strip() == "[]"


def test_the_package_s_public_names_are_its_all():
    public = {
        name
        for name, value in vars(textgym).items()
        if not name.startswith("_") and not inspect.ismodule(value) and name != "annotations"
    }
    assert public == set(textgym.__all__)


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
