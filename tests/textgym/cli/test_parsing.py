"""Words that are no config: one line that says what is wrong, whatever tyro draws."""

import shlex

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
    ("command", "words", "message"),
    [
        ("train sft", "--layers 0", "--layers must be at least 1, got 0"),
        ("train sft", "--heads -1", "--heads must be at least 1, got -1"),
        ("train sft", "--width 7", "--width 7 is not a multiple of heads 4"),
        ("train sft", "--row-tokens 1", "--row-tokens must be at least 2, got 1"),
        ("train sft", "--rate nan", "--rate must be above 0 and finite, got nan"),
        ("train sft", "--warmup 2", "--warmup must be in [0, 1], got 2.0"),
        ("train sft", "--held-out 1", "--held-out must be in [0, 1), got 1.0"),
        ("train sft", f"--lora {10**30}", "--lora must be at most 2147483647, got 1000000"),
        ("train ppo", "--save-every 0", "--save-every must be at least 1, got 0"),
        ("train ppo", "--num-envs=0", "--num-envs must be at least 1, got 0"),
        ("tokenizer train", "--vocabulary 0", "--vocabulary must be at least 1, got 0"),
        ("reward curve", "--sizes 4 0", "--sizes must be at least 1, got 0"),
        ("reward curve", "--noise 0 1.5", "--noise must be in [0, 1], got 1.5"),
        ("reward ensemble", "--penalty inf", "--penalty must be at least 0 and finite, got inf"),
        ("label", "--port 70000", "--port must be in"),
        ("play", "--delay nan", "--delay must be in [0, 3600], got nan"),
        ("data split", "--threshold 0", "--threshold must be in (0, 1], got 0.0"),
        ("quickstart", "--seed -1", "--seed must be at least 0, got -1"),
    ],
)
def test_a_number_that_cannot_be_is_refused_by_its_option(command, words, message):
    """Before anything is imported that would do the work: what is there is not looked at."""
    words = [*shlex.split(COMMANDS[command].examples[0]), *words.split()]
    with pytest.raises(UsageError) as caught:
        COMMANDS[command].parse(command, words)
    assert str(caught.value).startswith(message)
    assert str(caught.value).endswith(f"; see textgym {command} --help")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("train sft", ["--out", ""]),
        ("train sft", ["--data", ""]),
        ("train ppo", ["--policy", ""]),
        ("loop", ["--model="]),
        ("data collect", ["--sources", "a", ""]),
        ("tokenizer train", ["--corpus", ""]),
        ("train ppo", ["--out="]),
        ("benchmark", ["--out", ""]),
        ("data clean", ["--corpus", ""]),
        ("score", ["--out", ""]),
        ("evaluate", ["--out", ""]),
        ("label", ["--rubric", ""]),
    ],
)
def test_an_empty_word_is_not_the_current_folder(command, words):
    """As of a variable of a shell that was never set: what lies there was read, or written over."""
    with pytest.raises(UsageError, match=f"{words[0].rstrip('=')} is empty: give a value"):
        COMMANDS[command].parse(command, [*shlex.split(COMMANDS[command].examples[0]), *words])


def test_a_place_of_a_command_is_not_empty_and_a_prompt_may_be():
    with pytest.raises(UsageError, match=r"^a word is empty: give a value"):
        COMMANDS["report"].parse("report", [""])
    words = ["--policy", "runs/lm", "--prompt", "", "--prompt", "a"]
    assert COMMANDS["generate"].parse("generate", words).prompt == ("", "a")


@pytest.mark.parametrize(
    "words", [["--out", "runs/a\0b"], ["--policy", "\0"], ["--env-kwargs", '{"task": "\0"}']]
)
def test_what_no_path_holds_is_one_line(words):
    """The system's own message names no path, and was a stack trace."""
    with pytest.raises(UsageError, match="holds a character of code 0"):
        COMMANDS["train ppo"].parse("train ppo", [*GIVEN, *words])


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
