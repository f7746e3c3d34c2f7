"""What a command asks of the process that it runs in, and how it prints."""

import io
import sys
from pathlib import Path

import pytest
import torch
from rich.console import Console

from textgym.cli import console
from textgym.cli.console import chosen_device, keep_large_blocks, say
from textgym.cli.parsing import CommandError


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc")
def test_the_allocator_takes_the_setting():
    assert keep_large_blocks() is True


WORDS = "odds 10:100:7, list[a:b:c], [/b] [bold]x[/bold] 'y' 3.5 http://a/b\\c"


@pytest.mark.parametrize("terminal", [False, True])
def test_what_is_said_is_what_is_printed(terminal):
    """Rich would make pictures of words in colons, markup of brackets, and break lines."""
    output = io.StringIO()
    long = " ".join([WORDS] * 10)
    say(Console(file=output, width=20, force_terminal=terminal), WORDS, long)
    assert output.getvalue() == f"{WORDS}\n{long}\n"


def test_no_character_is_changed_where_nobody_looks_at_a_terminal():
    output = io.StringIO()
    say(Console(file=output), "name\tvalue", "a\rb")
    assert output.getvalue() == "name\tvalue\na\rb\n"


def test_commands_print_by_say_alone():
    """The quickstart's list of stages has colours, and no words of anybody's."""
    folder = Path(console.__file__).parent
    prints = [path for path in folder.rglob("*.py") if ".print(" in path.read_text()]
    named = sorted(str(path.relative_to(folder)) for path in prints)
    assert named == ["console.py", "stages.py"]


def test_a_quiet_console_says_nothing():
    output = io.StringIO()
    say(Console(file=output, quiet=True), "a")
    assert output.getvalue() == ""


def test_a_device_is_chosen_or_refused(monkeypatch):
    for there, device in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert chosen_device("auto") == device
    assert chosen_device("cpu") == "cpu"
    for device in ("nowhere", "meta", ""):
        with pytest.raises(CommandError, match=f"--device {device}: there is none here"):
            chosen_device(device)
