"""The house keeps its shape: no circle of imports, rooms that can be overseen, one direction."""

import ast
import graphlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = "textgym", "agents", "reward_models"
MOST_IN_A_ROOT, MOST_IN_A_ROOM, MOST_LINES = 12, 13, 450


def modules_below(root):
    """Each module's file by its dotted name; a package stands for its ``__init__``."""
    files = (path for package in PACKAGES for path in (root / package).rglob("*.py"))
    dotted = {path: path.relative_to(root).with_suffix("").as_posix() for path in files}
    return {name.replace("/", ".").removesuffix(".__init__"): path for path, name in dotted.items()}


def imported(path, modules):
    """What a module imports of ours, for types alone and inside functions as well."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in modules else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def circle_in(root):
    """The names of modules that import each other in a circle; none if there is no circle.

    A package's own front door names what is behind it, and counts for no one.
    """
    modules = modules_below(root)
    inner = {name for name, path in modules.items() if path.name != "__init__.py"}
    graph = {name: set(imported(modules[name], modules)) & inner - {name} for name in inner}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


@pytest.fixture
def copy(tmp_path):
    """The three packages, to plant an error in."""
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def plant(root, module, line):
    path = root / f"{module.replace('.', '/')}.py"
    path.write_text(path.read_text(encoding="utf-8") + f"\n{line}\n", encoding="utf-8")


def test_no_modules_import_each_other_in_a_circle():
    assert circle_in(ROOT) == []


@pytest.mark.parametrize(
    "line",
    [
        "from agents.learner import Learner",
        "import agents.learner",
        "def late():\n    from agents.learner import Learner",
        "if TYPE_CHECKING:\n    from agents.learner import Learner",
    ],
)
def test_a_circle_is_found_however_it_is_imported(copy, line):
    plant(copy, "agents.training.updates", line)
    assert {"agents.learner", "agents.training.updates"} <= set(circle_in(copy))


@pytest.mark.parametrize("package", PACKAGES)
def test_a_root_holds_a_dozen_modules_at_most(package):
    assert len([*(ROOT / package).glob("*.py")]) <= MOST_IN_A_ROOT


def test_rooms_and_modules_can_be_overseen():
    """And each room says in a sentence what it is for."""
    for package in PACKAGES:
        for door in (ROOT / package).rglob("__init__.py"):
            room = [path for path in door.parent.glob("*.py") if path != door]
            assert len(room) <= MOST_IN_A_ROOM, door.parent
            assert ast.get_docstring(ast.parse(door.read_text(encoding="utf-8"))), door
    for name, path in modules_below(ROOT).items():
        assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES, name


FORBIDDEN = {
    "The world knows neither the writer nor the judge; only the command line knows all three": (
        "textgym.envs.view",
        "import reward_models.models.words",
    ),
    "What is checked does not lean on its checks": (
        "textgym.wrappers.views",
        "import textgym.testing.findings",
    ),
    "The writer and the judge never meet": ("agents.sft", "import reward_models.models.words"),
    "The rooms of the world stand on each other in one direction": (
        "textgym.dynamics.states",
        "import textgym.envs.view",
    ),
    "The families of commands stand on each other in one direction": (
        "textgym.cli.console",
        "import textgym.cli.lists",
    ),
    "The rooms of the writer stand on each other in one direction": (
        "agents.maths.kl",
        "import agents.rollouts.rollout",
    ),
    "The rooms of the judge stand on each other in one direction": (
        "reward_models.preferences.pairs",
        "import reward_models.card.page",
    ),
}


@pytest.mark.slow
def test_each_import_contract_can_be_broken(copy):
    """One forbidden import for each, all in one copy; and a room that no layer names."""
    for module, line in FORBIDDEN.values():
        plant(copy, module, line)
    said = _lint_imports(copy)
    broken = {name for name in FORBIDDEN if f"{name} BROKEN" in said}
    assert broken == FORBIDDEN.keys()
    assert said.count("BROKEN") == len(FORBIDDEN)


@pytest.mark.slow
def test_a_new_room_must_find_its_layer(copy):
    (copy / "agents" / "attic.py").write_text('"""Nobody knows where this belongs."""\n')
    said = _lint_imports(copy)
    assert "The rooms of the writer stand on each other in one direction BROKEN" in said
    assert "agents.attic" in said


def _lint_imports(root):
    """What the linter says, its line breaks taken out."""
    result = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Contracts" in result.stdout, result.stderr
    return " ".join(result.stdout.split())
