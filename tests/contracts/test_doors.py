"""Other people's models come in by one door, ``textgym.pretrained``, and by no other."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("textgym", "agents", "reward_models")
DOOR = Path("textgym", "pretrained")
OWN = {"TransformerPolicy"}
"""Our classes with a method of this name: they open their own folders, through the door."""

REREAD = "pickle.loads(pickle.dumps(value))"
"""What was written on the very line is nobody else's."""

LOADERS = {"torch": {"load"}, "pickle": {"load", "loads", "Unpickler"}}


def others_models(tree):
    """The lines of a module that would open somebody's model, and what stands there."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    own = [call.func for call in calls if ast.unparse(call) == REREAD]
    for node in ast.walk(tree):
        if node in own:
            continue
        if isinstance(node, ast.Attribute):
            called = node.value.id if isinstance(node.value, ast.Name) else ""
            if node.attr == "from_pretrained" and called not in OWN:
                yield node.lineno, ast.unparse(node)
            if node.attr in LOADERS.get(called, ()):
                yield node.lineno, ast.unparse(node)
        elif isinstance(node, ast.Constant) and node.value == "from_pretrained":
            yield node.lineno, "from_pretrained by its name"
        elif isinstance(node, ast.ImportFrom | ast.Import):
            module = getattr(node, "module", None)
            for alias in node.names:
                package = (module or alias.name).partition(".")[0]
                automatic = package == "transformers" and alias.name.startswith("Auto")
                loader = alias.name in LOADERS.get(package, ()) and module is not None
                if automatic or loader or package == "peft":
                    yield node.lineno, alias.name


def outside_the_door(root):
    """Every such line of the packages below ``root``, but for the door's own."""
    found = []
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            place = path.relative_to(root)
            if not place.is_relative_to(DOOR):
                tree = ast.parse(path.read_text(encoding="utf-8"))
                found += [f"{place}:{line} {what}" for line, what in others_models(tree)]
    return found


def test_the_door_is_the_only_place_that_opens_other_peoples_models():
    assert outside_the_door(ROOT) == []


def test_the_door_itself_would_be_seen():
    """So the check knows what it looks for, in each module that opens something."""
    for name in ("models", "adapters", "smollm2"):
        path = ROOT / DOOR / f"{name}.py"
        assert list(others_models(ast.parse(path.read_text(encoding="utf-8")))), name


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("GPT2LMHeadModel.from_pretrained('x')", "GPT2LMHeadModel.from_pretrained"),
        ("transformers.GPT2Model.from_pretrained('x')", "transformers.GPT2Model.from_pretrained"),
        ("load(PreferenceModel.from_pretrained, 'x')", "PreferenceModel.from_pretrained"),
        ("type(model).from_pretrained('x')", "type(model).from_pretrained"),
        ("getattr(kind, 'from_pretrained')('x')", "from_pretrained by its name"),
        ("from transformers import AutoModel", "AutoModel"),
        ("from transformers.models.auto import AutoConfig", "AutoConfig"),
        ("import peft", "peft"),
        ("from peft.tuners import lora", "lora"),
        ("torch.load('x')", "torch.load"),
        ("from pickle import loads", "loads"),
    ],
)
def test_every_way_of_opening_one_is_seen(line, what):
    assert list(others_models(ast.parse(f"def planted():\n    {line}\n"))) == [(2, what)]


def test_our_own_class_s_method_is_told_apart():
    assert list(others_models(ast.parse("TransformerPolicy.from_pretrained('x')"))) == []


def test_a_call_that_is_planted_in_a_copy_is_found(tmp_path):
    """In each package, in a room as well as beside the rooms."""
    skipped = shutil.ignore_patterns("__pycache__", "[!_]*.py")
    planted = []
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=skipped)
        room = min(path for path in (tmp_path / package).iterdir() if path.is_dir())
        for folder in (room, tmp_path / package):
            (folder / "planted.py").write_text("GPT2LMHeadModel.from_pretrained('x')\n")
            place = (folder / "planted.py").relative_to(tmp_path)
            planted.append(f"{place}:1 GPT2LMHeadModel.from_pretrained")
    assert sorted(outside_the_door(tmp_path)) == sorted(planted)


@pytest.mark.parametrize("name", sorted(OWN))
def test_a_class_of_ours_that_keeps_the_name_defines_it(name):
    """And does not inherit it from transformers, whose own would be no door."""
    owners = [
        node
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and node.name == name
    ]
    assert len(owners) == 1
    methods = {part.name for part in owners[0].body if isinstance(part, ast.FunctionDef)}
    assert "from_pretrained" in methods


def run_afresh(code):
    """What a line prints in a process of its own."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    return result.stdout.strip()


def test_what_is_ours_does_not_touch_the_door():
    code = (
        "import sys, textgym\n"
        "from gymnasium import make\n"
        "make('TextGym/Alphabet-v0').reset()\n"
        "textgym.load_tokenizer()\n"
        "print([name for name in sys.modules if name.startswith('textgym.pretrained')])"
    )
    assert run_afresh(code) == "[]"


def test_the_door_is_looked_at_without_torch():
    modules = [f"textgym.pretrained.{path.stem}" for path in (ROOT / DOOR).glob("[!_]*.py")]
    code = (
        f"import importlib, sys\nfor name in {modules}: importlib.import_module(name)\n"
        "heavy = ('torch', 'transformers', 'peft', 'agents', 'reward_models')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    assert run_afresh(code) == "[]"
