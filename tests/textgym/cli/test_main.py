"""The table of commands: help at every level, lazily; bad input in one line."""

import dataclasses
import importlib.metadata
import os
import shlex
import subprocess
import sys

import pytest

from reward_models.preferences import StoreError
from tests.commands import ROOT
from textgym.cli import main
from textgym.cli.main import COMMANDS, GROUPS, Command
from textgym.cli.parsing import CommandError, options_of
from textgym.cli.stages import RunError
from textgym.rewards import RewardError

HERE = Command(__name__, "Config", "run", "say something")


def _config():
    import dataclasses

    @dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
    class Config:
        """Say a word."""

        word: str = "nothing"
        """What is said."""

    return Config


@pytest.fixture
def say(monkeypatch):
    """A command of one word and one of two; what they are given is kept."""
    said = []
    config = _config()
    monkeypatch.setattr(Command, "load", lambda self: (config, said.append))
    monkeypatch.setattr(main, "COMMANDS", {"say": HERE, "reward say": HERE})
    return said


def _call(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["textgym", *arguments])
    main.main()


@pytest.mark.parametrize("words", [("say",), ("reward", "say")])
def test_a_command_gets_its_config(monkeypatch, say, words):
    _call(monkeypatch, *words, "--word", "yes")
    assert [config.word for config in say] == ["yes"]


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ((), ("{reward,say}", GROUPS["reward"], "say something")),
        (("--help",), ("{reward,say}", GROUPS["reward"], "say something")),
        (("reward",), ("usage: textgym reward", "{say}", GROUPS["reward"])),
        (("reward", "--help"), ("usage: textgym reward", "{say}", "say something")),
        (("reward", "say", "--help"), ("usage: textgym reward say", "Say a word.", "What is said")),
        (("say", "--help"), ("usage: textgym say", "Say a word.", "What is said")),
    ],
)
def test_every_level_explains_itself(monkeypatch, say, capsys, words, shown):
    with pytest.raises(SystemExit) as left:
        _call(monkeypatch, *words)
    assert left.value.code == 0
    text = capsys.readouterr().out
    assert [part for part in shown if part not in text] == []
    assert say == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("sya",), "unknown command sya (did you mean say?); see textgym --help"),
        (("xyz",), "unknown command xyz; known: reward, say; see textgym --help"),
        (
            ("reward", "sya"),
            "unknown command reward sya (did you mean say?); see textgym reward --help",
        ),
        (
            ("say", "--wrod", "x"),
            "unknown option --wrod (did you mean --word?); see textgym say --help",
        ),
    ],
)
def test_what_is_unknown_is_refused(monkeypatch, say, capsys, words, message):
    with pytest.raises(SystemExit) as left:
        _call(monkeypatch, *words)
    assert left.value.code == 2
    assert capsys.readouterr().err == f"error: {message}\n"
    assert say == []


def test_the_second_word_of_a_command_is_not_the_first(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        _call(monkeypatch, "best-of-n")
    assert "(did you mean textgym reward best-of-n?)" in capsys.readouterr().err


def test_the_version_is_told(monkeypatch, capsys):
    with pytest.raises(SystemExit) as left:
        _call(monkeypatch, "--version")
    assert left.value.code == 0
    assert capsys.readouterr().out == f"textgym {importlib.metadata.version('textgym')}\n"


def test_a_word_of_pages_is_not_said_again_whole(monkeypatch):
    def fail(config):
        raise OSError(36, "File name too long", "x" * 100_000)

    monkeypatch.setattr(Command, "load", lambda self: (_config(), fail))
    monkeypatch.setattr(main, "COMMANDS", {"say": HERE})
    with pytest.raises(SystemExit) as left:
        _call(monkeypatch, "say")
    assert str(left.value.code).startswith("error: [Errno 36] File name too long: 'xxx")
    assert len(str(left.value.code)) < 1000


@pytest.mark.parametrize(
    "error",
    [
        CommandError("no such split"),
        RunError("choose another --out"),
        RewardError("reward 'x' raised"),
        StoreError("no store"),
        ModuleNotFoundError("pip install it"),
        FileNotFoundError("no such folder"),
        FileExistsError("a file is where the folder should be"),
        PermissionError("not yours"),
        OSError(36, "File name too long", "x" * 300),
    ],
)
def test_a_foreseeable_failure_is_one_line(monkeypatch, error):
    def fail(config):
        raise error

    monkeypatch.setattr(Command, "load", lambda self: (_config(), fail))
    monkeypatch.setattr(main, "COMMANDS", {"say": HERE})
    with pytest.raises(SystemExit) as left:
        _call(monkeypatch, "say")
    assert left.value.code == f"error: {error}"


@pytest.mark.parametrize(
    ("error", "said", "waits"),
    [
        (CommandError("no such split"), "process 1: error: no such split", [3.0]),
        (KeyboardInterrupt(), 1, []),
    ],
)
def test_of_several_processes_the_main_one_speaks_first(monkeypatch, error, said, waits):
    """Each of eight said the same line; one that fails by itself still says it."""

    def fail(config):
        raise error

    waited = []
    monkeypatch.setenv("RANK", "1")

    def ends(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(main.time, "sleep", waited.append)
    monkeypatch.setattr(Command, "load", lambda self: (_config(), fail))
    monkeypatch.setattr(main, "COMMANDS", {"say": HERE})
    with pytest.raises(SystemExit) as left:
        _call(monkeypatch, "say")
    assert (left.value.code, waited) == (said, waits)
    monkeypatch.setattr(main.time, "sleep", ends)
    with pytest.raises(SystemExit) as left:
        _call(monkeypatch, "say")
    assert left.value.code == 1


def test_a_command_s_own_error_imports_nothing(monkeypatch):
    """Where memory has run out, an import would fail and hide it."""

    def fail(config):
        raise CommandError("out of memory: lower it")

    monkeypatch.setattr(Command, "load", lambda self: (_config(), fail))
    monkeypatch.setattr(main, "COMMANDS", {"say": HERE})
    monkeypatch.setattr(main, "_foreseeable", lambda: pytest.fail("it was asked for"))
    with pytest.raises(SystemExit) as left:
        _call(monkeypatch, "say")
    assert left.value.code == "error: out of memory: lower it"


@pytest.mark.parametrize(
    ("name", "said", "message"),
    [
        ("quickstart", "", "stopped; the same command goes on from here"),
        ("say", "", "stopped"),
        ("say", "five are kept", "stopped; five are kept"),
    ],
)
def test_a_stop_says_whether_it_goes_on(monkeypatch, name, said, message):
    """What begins anew does not claim to go on."""

    def stops(config):
        raise KeyboardInterrupt(*([said] if said else []))

    monkeypatch.setattr(Command, "load", lambda self: (_config(), stops))
    monkeypatch.setattr(main, "COMMANDS", {name: HERE})
    with pytest.raises(SystemExit) as left:
        _call(monkeypatch, name)
    assert left.value.code == f"\n{message}"


def test_a_defect_keeps_its_stack_trace(monkeypatch):
    def fail(config):
        raise IndexError("a bug")

    monkeypatch.setattr(Command, "load", lambda self: (_config(), fail))
    monkeypatch.setattr(main, "COMMANDS", {"say": HERE})
    with pytest.raises(IndexError, match="a bug"):
        _call(monkeypatch, "say")


def test_the_table_is_sorted_and_its_groups_are_explained():
    """Sorted, so that two people who add a command rarely meet in one line."""
    assert sorted(COMMANDS) == list(COMMANDS)
    groups = {name.split()[0] for name in COMMANDS if " " in name}
    assert groups <= GROUPS.keys()
    assert not groups & COMMANDS.keys()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_where_the_table_says(name):
    config, run = COMMANDS[name].load()
    assert config.__module__ == run.__module__ == COMMANDS[name].module
    assert config.__doc__


# Another word for what CONTRIBUTING.md has one for.
RETIRED = {"rows", "draws", "keep", "samples", "tokens", "number", "file", "path", "output"}
RETIRED |= {"input", "dataset", "episodes", "resamples", "bootstrap", "kwargs", "gpu", "batch"}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_speaks_the_one_vocabulary_and_shows_examples(name, capsys):
    config, _ = COMMANDS[name].load()
    options = {option.removeprefix("--") for option in options_of(config)}
    assert not options & RETIRED
    kinds = {field.name: field.default for field in dataclasses.fields(config)}
    assert kinds.get("device", "auto") == "auto"
    assert COMMANDS[name].examples
    with pytest.raises(SystemExit):
        COMMANDS[name].parse(name, ["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert f"Examples: textgym {name}" in shown.replace("│", "")
    for words in COMMANDS[name].examples:
        COMMANDS[name].parse(name, shlex.split(words))


def test_a_hub_is_asked_unless_the_user_forbids_it(monkeypatch, say):
    """A message would say of a user who has set nothing that they have."""
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    _call(monkeypatch, "say")
    assert "HF_HUB_OFFLINE" not in os.environ


def test_the_list_of_commands_imports_nothing_heavy():
    code = (
        "import sys; sys.argv = ['textgym']\n"
        "try:\n    from textgym.cli.main import main; main()\n"
        "except SystemExit:\n"
        "    print([m for m in ('torch', 'transformers', 'tyro', 'rich') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert result.stdout.splitlines()[-1] == "[]"


def test_a_module_of_the_current_folder_is_found_by_the_installed_command(tmp_path):
    """A console script has its own folder in its path, and not the one that it was called in."""
    (tmp_path / "brevity.py").write_text(
        "def brevity(prompts, completions, **columns):\n"
        '    """How short it is."""\n'
        "    return [-len(text) for text in completions]\n"
    )
    code = "from textgym.cli.main import main; main()"
    asked = ("brevity:brevity", "brevty:brevity")
    results = [
        subprocess.run(
            [sys.executable, "-P", "-c", code, "rewards", name],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        for name in asked
    ]
    assert "How short it is." in results[0].stdout
    assert results[1].stderr.startswith(
        "error: reward 'brevty:brevity': there is no module 'brevty' (did you mean brevity?)"
    )
