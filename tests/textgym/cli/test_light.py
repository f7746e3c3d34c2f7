"""Help, listings and wrong words import nothing heavy, and say what they say with the real things.

Each command line is answered twice: in a process of its own, where nothing is imported yet, and
here, where torch is.
"""

import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout, suppress
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import pytest
import torch  # noqa: F401 - so that nothing is replaced in this process

import agents
from tests.commands import ENVIRONMENT, ROOT, run_commands
from textgym.cli.light import stand_ins
from textgym.cli.main import COMMANDS, GROUPS, main
from textgym.rewards import known_rewards

HEAVY = (
    "torch",
    "transformers",
    "stable_baselines3",
    "pandas",
    "matplotlib",
    "sklearn",
    "datasets",
    "scipy",
)
LINES = [
    "",
    "--help",
    "--version",
    *GROUPS,
    *(f"{group} --help" for group in GROUPS),
    *(f"{name} --help" for name in COMMANDS),
    "train ppo --preset trl -h",
    "envs",
    "envs Alphabet",
    "envs nonsense",
    "rewards",
    *(f"rewards {name}" for name in known_rewards()),
    "rewards clip",
    "rewards reward_models.metrics:Rouge",
    "nonsense",
    "train nonsense",
    "rewards nonsense",
    "train ppo --nonsense 3",
    "train ppo",
    "train ppo --env a --out b --preset none",
    "train ppo --env a --out b --ppo.top-p 3",
    "reward train --data a --out b --votes none",
]

# Each line is answered in a child of a process that has imported what all commands need.
_PROBE = """
import contextlib, io, json, os, sys
import rich.console, rich.table, tyro
from textgym.cli.main import main

def answered(line, heavy):
    out, err = io.StringIO(), io.StringIO()
    sys.argv, left = ["textgym", *line.split()], None
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except BaseException as error:
        left = error.code if isinstance(error, SystemExit) else repr(error)
    heavy = sorted(set(sys.modules).intersection(heavy))
    modules = [module for module in sys.modules.values() if hasattr(module, "__dict__")]
    named = [value for module in modules for value in list(vars(module).values())]
    unreal = [str(value) for value in named if type(value).__module__ == "textgym.cli.light"]
    return {"said": [left, out.getvalue(), err.getvalue()], "heavy": heavy, "unreal": unreal}

def in_a_child(line, heavy):
    reads, writes = os.pipe()
    if not os.fork():
        with os.fdopen(writes, "w") as pipe:
            json.dump(answered(line, heavy), pipe)
        os._exit(0)
    os.close(writes)
    with os.fdopen(reads) as pipe:
        result = json.load(pipe)
    os.wait()
    return result

lines, heavy = json.load(sys.stdin)
print(json.dumps([in_a_child(line, heavy) for line in lines]))
"""


def _probe(*lines, before=""):
    result = subprocess.run(
        [sys.executable, "-c", before + _PROBE],
        input=json.dumps([lines, HEAVY]),
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=os.environ | ENVIRONMENT,
    )
    return dict(zip(lines, json.loads(result.stdout), strict=True))


@pytest.fixture(scope="module")
def answers():
    return _probe(*LINES)


@pytest.mark.parametrize("line", LINES)
def test_an_answer_needs_nothing_heavy_and_is_whole(line, answers, monkeypatch):
    for name in ("COLUMNS", "NO_COLOR"):
        monkeypatch.setenv(name, ENVIRONMENT[name])
    monkeypatch.setattr(sys, "argv", ["textgym", *line.split()])
    out, err, left = io.StringIO(), io.StringIO(), None
    try:
        with redirect_stdout(out), redirect_stderr(err):
            main()
    except SystemExit as stop:
        left = stop.code
    assert answers[line] == {
        "said": [left, out.getvalue(), err.getvalue()],
        "heavy": [],
        "unreal": [],
    }
    assert len(out.getvalue() + err.getvalue() + str(left)) > len("error: ")


@pytest.mark.slow
def test_what_is_imported_is_seen():
    """Safetensors is the lightest of the heavy ones; behind it, nothing is replaced."""
    answer = _probe("train ppo --help", before="import safetensors\n")["train ppo --help"]
    assert {"torch", "transformers"} <= set(answer["heavy"])


_DESCRIBED = """
from dataclasses import dataclass

import ponderous
import ponderous.nn.functional as F
from ponderous import Tensor, nn, no_grad
from ponderous.callbacks import Callback

Batch = dict[str, Tensor | None] | Tensor["N"]
KINDS = {"float": ponderous.float32, "double": ponderous.float64}
DEVICE = ponderous.device("cpu", index=0)
ponderous.registry.register("model", kind=Callback)

class Model(nn.Module):
    def __init__(self, width: int = 3) -> None:
        super().__init__()

class Watch(Callback):
    pass

@dataclass
class Config:
    kind: Tensor | None = KINDS["float"]

@no_grad()
def called(x: Tensor) -> int:
    return x + 1

@ponderous.jit.script
def bare(x):
    return x + 2
"""


@pytest.fixture
def ponderous(tmp_path, monkeypatch):
    """A package that must not be imported, and a module of ours that imports it."""
    (tmp_path / "ponderous").mkdir()
    (tmp_path / "ponderous" / "__init__.py").write_text("raise RuntimeError('it is imported')")
    (tmp_path / "described.py").write_text(_DESCRIBED)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(agents, "__path__", [*agents.__path__, str(tmp_path)])
    return ["ponderous"]


def test_a_stand_in_can_be_named_in_every_way(ponderous):
    with stand_ins(ponderous):
        described = import_module("agents.described")
        assert [each.__name__ for each in described.Model.__mro__[:2]] == ["Model", "Module"]
        assert described.Model.__mro__[1] is described.nn.Module
        assert described.Watch.__module__ == "agents.described"
        assert described.KINDS["float"] is described.Config().kind
        assert described.KINDS["float"] is not described.KINDS["double"]
        assert (described.called(1), described.bare(1)) == (2, 3)
        assert described.F is import_module("ponderous.nn").functional
        with pytest.raises(AttributeError, match="ponderous is replaced by a stand-in, which has"):
            _ = described.ponderous.__version__


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_is_left_of_a_stand_in(ponderous, fails):
    before, finders = set(sys.modules), list(sys.meta_path)
    with suppress(ZeroDivisionError), stand_ins(ponderous):
        import_module("agents.described")
        assert {"agents.described", "ponderous", "ponderous.nn.functional"} <= set(sys.modules)
        assert 1 / (not fails)
    assert set(sys.modules) == before
    assert sys.meta_path == finders
    assert not hasattr(agents, "described")
    with pytest.raises(RuntimeError, match="it is imported"):
        import_module("agents.described")


def test_other_people_s_modules_are_kept(tmp_path, monkeypatch, ponderous):
    """Some can be imported only once in a process."""
    (tmp_path / "theirs.py").write_text("")
    with stand_ins(ponderous):
        theirs = import_module("theirs")
    assert sys.modules["theirs"] is theirs
    monkeypatch.delitem(sys.modules, "theirs")


def test_what_is_imported_already_is_used_as_it_is(monkeypatch, ponderous):
    real = ModuleType("weighty")
    monkeypatch.setitem(sys.modules, "weighty", real)
    with stand_ins(["weighty", *ponderous]):
        assert import_module("weighty") is real
        with pytest.raises(RuntimeError, match="it is imported"):
            import_module("agents.described")


def test_what_is_not_installed_is_not_there(ponderous):
    """A listing says what is installed."""
    with stand_ins([*ponderous, "nowhere"]):
        assert find_spec("ponderous") is not None
        assert find_spec("nowhere") is None
        with pytest.raises(ModuleNotFoundError, match="nowhere"):
            import_module("nowhere")


@pytest.mark.slow
def test_work_behind_a_help_is_real(tmp_path):
    """In one process: the last command trains by what the first two only described."""
    words = "train ppo --env TextGym/Alphabet-v0 --policy scratch:gpt2?layers=1&width=16&heads=2"
    words += f" --num-envs 8 --ppo.iterations 2 --out {tmp_path}"
    results = run_commands(("train", "ppo", "--help"), ("rewards",), tuple(words.split()))
    assert [result.returncode for result in results] == [0, 0, 0]
    assert "reward" in results[2].stdout
    assert (tmp_path / "policy" / "model.safetensors").is_file()
