"""What FEEDBACK.md says of comparing, looping and simulating is what the commands take."""

import re
import shlex
from pathlib import Path

import pytest

from textgym.cli.main import COMMANDS

PAGE = (Path(__file__).parents[4] / "FEEDBACK.md").read_text(encoding="utf-8")
LINES = [
    line
    for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.M | re.S)
    for line in block.split("\n")
]


@pytest.mark.parametrize("line", [line for line in LINES if line])
def test_each_command_of_the_page_is_understood(line):
    program, name, *words = shlex.split(line)
    assert program == "textgym"
    assert COMMANDS[name].parse(name, words)


def test_there_are_such_commands():
    assert len(LINES) >= 5
