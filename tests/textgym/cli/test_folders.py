"""Two runs never write into one folder: every command that has one keeps it."""

import dataclasses

import pytest

from textgym.cli.main import COMMANDS
from textgym.files import FolderInUseError, exclusive_folder

# The fewest words with which a command comes to its folder.
WORDS = {
    "evaluate": ("--policies", "scratch:gpt2", "--env", "TextGym/Alphabet-v0"),
    "benchmark": ("--env", "TextGym/Alphabet-v0", "--rewards", "length", "--gold", "length"),
    "data split": ("--corpus", "none.jsonl"),
    "loop": ("--env", "TextGym/Alphabet-v0", "--policy", "scratch:gpt2?layers=1&width=16&heads=2"),
    "quickstart": ("--smoke", "--bf16", "False"),
    "reward best-of-n": ("--proxy", "length", "--gold", "vader", "--data", "none.jsonl"),
    "reward card": ("--reward", "length", "--data", "none.jsonl"),
    "reward curve": ("--data", "none.jsonl"),
    "reward train": ("--data", "none.jsonl"),
    "train sft": ("--data", "none.jsonl"),
    "tokenizer train": ("--corpus", "none.jsonl"),
    **{
        f"train {name}": ("--env", "TextGym/Alphabet-v0")
        for name in ("dpo", "grpo", "ppo", "reinforce", "rloo")
    },
}
# What writes a single thing: it is there as a whole, or refused where there is one already.
FILES = {
    "data clean",
    "data collect",
    "export",
    "generate",
    "rescore",
    "reward ensemble",
    "reward export",
    "score",
}


def test_every_command_with_a_folder_is_asked():
    names = {
        name
        for name, command in COMMANDS.items()
        if "out" in {field.name for field in dataclasses.fields(command.load()[0])}
    }
    assert names == set(WORDS) | FILES


@pytest.mark.parametrize("name", WORDS)
def test_a_folder_that_another_run_writes_into_is_refused_in_one_line(name, tmp_path):
    command = COMMANDS[name]
    config = command.parse(name, (*WORDS[name], "--out", str(tmp_path / "run")))
    with (
        exclusive_folder(tmp_path / "run"),
        pytest.raises(FolderInUseError, match=r"run is being written by another run: wait until"),
    ):
        command.load()[1](config)
