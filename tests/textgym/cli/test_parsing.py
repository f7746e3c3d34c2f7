"""Words that are no config: one line that says what is wrong, whatever tyro draws."""

import pytest

from textgym.cli.main import COMMANDS
from textgym.cli.parsing import UsageError, _reworded, options_of
from textgym.cli.policy.train import PPOTraining

GIVEN = ["--env", "TextGym/Alphabet-v0", "--out", "runs/a"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--ppo.iteratons 3", "unknown option --ppo.iteratons (did you mean --ppo.iterations?)"),
        ("--kl-coefficient 1", "unknown option --kl-coefficient (did you mean --ppo.kl-"),
        ("--no-critik", "unknown option --no-critik (did you mean --no-critic?)"),
        ("--ppo.iterations three", "--ppo.iterations takes a whole number, got three"),
        ("--ppo.clip wide", "--ppo.clip takes a number, got wide"),
        ("--lora many", "--lora takes a whole number or None, got many"),
        ("--ppo.iterations 0", "--ppo.iterations must be at least 1, got 0"),
        ("--ppo.top-p 3", "--ppo.top-p must be in (0, 1] or None, got 3.0"),
        ("--ppo.kl-in los", "--ppo.kl-in los: there is no such one; known: reward, loss"),
        ("--ppo.clip", "--ppo.clip needs a value"),
        ("--ppo.whiten-rewards yes", "yes belongs to no option"),
    ],
)
def test_a_wrong_word_is_one_line(words, message):
    with pytest.raises(UsageError) as caught:
        COMMANDS["train ppo"].parse("train ppo", [*GIVEN, *words.split()])
    assert str(caught.value).startswith(message)
    assert str(caught.value).endswith("; see textgym train ppo --help")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [([], "--env and --out are required"), (GIVEN[:2], "--out is required")],
)
def test_what_is_missing_is_named(words, message):
    with pytest.raises(UsageError, match=message):
        COMMANDS["train ppo"].parse("train ppo", words)


def test_frames_are_read_in_every_drawing():
    """A terminal's has colours and lines, that of a file neither."""
    plain = ["  Value error", "  -----", "  Error parsing --ppo.clip: could not convert string"]
    plain += ["  to float: 'x'", "  -----", "  Argument helptext:"]
    drawn = [
        "\x1b[31m╭─ Value error ─╮",
        "\x1b[31m│\x1b[0m Error parsing --ppo.clip: could not\x1b[m │",
    ]
    drawn += ["│ convert string to float: 'x' │", "│ ───── │", "│ Argument helptext: │", "╰─────╯"]
    for frame in (plain, drawn):
        assert _reworded(PPOTraining, frame) == "--ppo.clip takes a number, got x"


def test_options_are_all_that_the_command_takes():
    known = set(options_of(PPOTraining))
    assert {
        "--env",
        "--no-critic",
        "--ppo.kl-coefficient",
        "--ppo.bf16",
        "--ppo.no-whiten-rewards",
    } <= known
    assert "--ppo" not in known
