"""A reader that goes, an encoding that is poor, a signal, a full disk: nothing made is lost."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from safetensors import SafetensorError

from textgym.cli import main as door
from textgym.cli.policy.stopping import stoppable
from textgym.cli.terminal import (
    ReaderGoneError,
    disk_trouble,
    lasting_streams,
    stopped_by_signals,
)

COMMAND = [sys.executable, "-m", "textgym"]
# Prints many lines, as a command does, and then makes a file.
WORK = """
import sys
from textgym.cli import main as door
from textgym.cli.parsing import CommandError

def work(config):
    for _ in range(20_000):
        print("a line of what is going on")
    open({made!r}, "w").write("made")

class Command:
    examples, start = (), ""
    def parse(self, name, arguments):
        from types import SimpleNamespace
        return SimpleNamespace({out})
    def load(self):
        return None, work

door.COMMANDS = {{"work": Command()}}
sys.argv = ["textgym", "work"]
door.main()
"""


def piped(script, reader):
    """Runs a script whose output goes to a reader of a few bytes."""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.read(reader)
        process.stdout.close()
        errors = process.stderr.read()
        return process.wait(60), errors


def test_a_reader_that_goes_ends_no_work(tmp_path):
    made = tmp_path / "made"
    code, errors = piped(WORK.format(made=str(made), out="out=__import__('pathlib').Path()"), 10)
    assert (code, errors, made.read_text()) == (0, "", "made")


def test_what_only_prints_ends_with_its_reader(tmp_path):
    made = tmp_path / "made"
    code, errors = piped(WORK.format(made=str(made), out=""), 10)
    assert (code, errors, made.exists()) == (141, "", False)


@pytest.mark.parametrize("command", [["envs"], ["rewards"], ["--help"], ["train", "ppo", "--help"]])
def test_a_poor_encoding_prints_all_the_same(command):
    surroundings = {**os.environ, "PYTHONIOENCODING": "ascii", "LANG": "C", "LC_ALL": "C"}
    done = subprocess.run([*COMMAND, *command], capture_output=True, env=surroundings, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.isascii()


def test_a_letter_that_an_encoding_lacks_is_spelled():
    script = (
        "from textgym.cli.terminal import lasting_streams\n"
        "with lasting_streams():\n    print('\\u00e9')"
    )
    surroundings = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, env=surroundings, check=True
    )
    assert done.stdout == b"\\xe9\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_closed_terminal_and_a_cluster_stop_as_ctrl_c_does(number):
    with stopped_by_signals(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)
    assert signal.getsignal(number) is signal.SIG_DFL
    with stoppable() as stop:
        signal.raise_signal(number)
        assert stop.asked


def test_what_is_ignored_stays_ignored():
    """As by nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopped_by_signals(), stoppable() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert not stop.asked
    finally:
        signal.signal(signal.SIGHUP, before)


def test_streams_are_put_back():
    before = sys.stdout, sys.stderr
    with lasting_streams():
        assert sys.stdout.isatty() is before[0].isatty()
    assert (sys.stdout, sys.stderr) == before
    assert issubclass(ReaderGoneError, Exception)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("I/O error: No space left on device (os error 28)"), "No space left"),
        (RuntimeError("[enforce fail] . PytorchStreamWriter failed writing file"), "Pytorch"),
        (ValueError("another"), ""),
    ],
)
def test_a_disk_that_is_full_is_told_from_what_is_broken(error, said):
    outer = ValueError("it failed")
    outer.__cause__ = error
    for one in (error, outer):
        assert said in disk_trouble(one)
        assert bool(disk_trouble(one)) == bool(said)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device here")
def test_a_disk_that_is_full_where_output_goes_is_one_line():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, "envs"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (1, "error: [Errno 28] No space left on device\n")


class Broken:
    examples, start = (), ""

    def parse(self, name, arguments):
        return SimpleNamespace()

    def load(self):
        return None, self.work

    def work(self, config):
        raise SafetensorError("I/O error: No space left on device (os error 28)")


def test_a_disk_that_is_full_is_one_line_of_any_library(monkeypatch):
    monkeypatch.setattr(door, "COMMANDS", {"reward train": Broken()})
    monkeypatch.setattr(sys, "argv", ["textgym", "reward", "train"])
    with pytest.raises(SystemExit) as caught:
        door.main()
    assert str(caught.value) == (
        "error: the disk is full or refuses: I/O error: No space left on device (os error 28); "
        "make room, and the same command goes on"
    )


FOLDERS = {
    "reward card": ["--reward", "length", "--data", "{data}"],
    "reward best-of-n": ["--proxy", "length", "--gold", "vader", "--data", "{data}"],
    "reward curve": ["--data", "{data}"],
    "reward ensemble": ["--members", "a", "b", "--data", "{data}"],
    "reward train": ["--data", "{data}"],
    "train ppo": ["--env", "TextGym/Alphabet-v0", "--policy", "scratch:gpt2"],
    "train dpo": ["--env", "TextGym/Alphabet-v0", "--policy", "scratch:gpt2"],
    "data split": ["--corpus", "{data}"],
    "quickstart": [],
}
FILES = {
    "generate": ["--policy", "scratch:gpt2", "--prompt", "a"],
    "reward export": ["--store", "{data}"],
    "rescore": ["--data", "{data}", "--rewards", "length"],
    "score": ["--data", "{data}", "--rewards", "length"],
}
CASES = [
    *((name, "file", "folder") for name in FOLDERS),
    ("reward card", "below a file", "folder"),
    *((name, "below a file", "file") for name in FILES),
    ("score", "folder", "file"),
]


@pytest.mark.parametrize(("name", "where", "wanted"), CASES)
def test_what_cannot_be_written_is_said_before_any_work(name, where, wanted, tmp_path, monkeypatch):
    """The data is not even looked for, and what is in the way stays; brackets are no markup."""
    there = tmp_path / "a[b]"
    if where == "folder":
        there.mkdir()
    else:
        there.write_text("mine")
    out = there / "deeper" / "out" if where == "below a file" else there
    asked = {**FOLDERS, **FILES}[name]
    words = [word.format(data=tmp_path / "none.jsonl") for word in asked]
    monkeypatch.setattr(sys, "argv", ["textgym", *name.split(), *words, "--out", str(out)])
    with pytest.raises(SystemExit) as caught:
        door.main()
    said = "a folder" if where == "folder" else "a file"
    better = {"folder": "a folder", "file": "a file" if where == "folder" else "another"}[wanted]
    assert str(caught.value) == f"error: --out {out}: {there} is {said}; name {better}"
    assert there.is_dir() if where == "folder" else there.read_text() == "mine"
