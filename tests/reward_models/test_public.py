"""The front door: what stands in it, that it opens, and what passing it costs."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import reward_models

ROOT = Path(reward_models.__file__).parents[1]
HEAVY = (
    *("torch", "transformers", "datasets", "pandas", "sklearn", "matplotlib", "scipy"),
    *("sqlalchemy", "numpy"),
)


def loaded(code, modules):
    """Which of the modules a fresh process has loaded after the code."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    probe = f"{code}\nimport sys; print(*[name for name in {modules!r} if name in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", probe],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    return result.stdout.split()


@pytest.mark.parametrize(
    "code", ["import reward_models", "import reward_models; dir(reward_models)"]
)
def test_importing_the_package_loads_nothing(code):
    assert loaded(code, HEAVY) == []


@pytest.mark.parametrize(
    "name", ["Preference", "PreferenceStore", "RewardTrainingConfig", "read_preferences"]
)
def test_what_needs_no_model_loads_no_torch(name):
    """Such as settings, of which the command line's help is made."""
    assert loaded(f"from reward_models import {name}", ("torch", "transformers")) == []


@pytest.mark.parametrize("name", reward_models.__all__)
def test_every_name_is_there(name):
    value = getattr(reward_models, name)
    assert value.__name__ == name
    assert value.__module__.startswith("reward_models.")
    assert name in dir(reward_models)


def test_the_type_checker_sees_the_same_names():
    """They are written twice, for it and for the one who runs them, from the same rooms."""
    tree = ast.parse(Path(reward_models.__file__).read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)][:1]
    shown = {
        alias.name: node.module.removeprefix("reward_models.")
        for node in block.body
        for alias in node.names
    }
    assert shown == reward_models._ROOMS
    assert sorted(shown) == sorted(reward_models.__all__)


def test_another_name_is_refused_and_a_room_is_not():
    with pytest.raises(AttributeError, match="'reward_models' has no attribute 'reward'"):
        _ = reward_models.reward
    from reward_models import metrics

    assert metrics.__name__ == "reward_models.metrics"
