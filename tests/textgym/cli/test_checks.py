"""Anybody's environment, reward or task is checked; what it breaks is one line."""

import io

import pytest
from rich.console import Console

from textgym.cli import checks
from textgym.cli.checks import CheckConfig, check_subject
from textgym.cli.parsing import CommandError

THEIRS = '''
import gymnasium as gym
import numpy as np

import textgym

class Forgetful(gym.Env):
    """Its observation is not in its space."""
    observation_space = gym.spaces.Box(0, 1, (2,), np.int64)
    action_space = gym.spaces.Discrete(2)
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.array([0, 5]), {}
    def step(self, action):
        return np.array([0, 5]), 0.0, True, False, {}

def make_alphabet(**settings):
    return gym.make("TextGym/Alphabet-v0", **settings).unwrapped

def make_batch(**settings):
    return gym.make_vec("TextGym/Alphabet-v0", num_envs=2, **settings).unwrapped

def fickle(prompts, completions, calls=[], **columns):
    calls.append(1)
    return [float(len(calls))] * len(completions)

def steady(prompts, completions, **columns):
    return [float(len(text)) for text in completions]

class Echo:
    name, prompt_tokens, completion_tokens = "Echo", 4, 4
    tokenizer, reward = "characters:abc", "textgym.tasks.toys:bandit_score"
    splits = ("train",)
    def examples(self, split):
        if split not in self.splits:
            raise ValueError(f"unknown split {split!r} of Echo; known: train")
        return [textgym.Example(prompt=text) for text in ("ab", "bc")]

class Leaky(Echo):
    splits = ("train", "test")
'''


@pytest.fixture
def theirs(tmp_path, monkeypatch):
    (tmp_path / "of_others.py").write_text(THEIRS)
    monkeypatch.syspath_prepend(tmp_path)


def checked(name, **settings):
    output = io.StringIO()
    check_subject(CheckConfig(name=name, **settings), Console(file=output))
    return output.getvalue()


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("TextGym/Alphabet-v0", {}, "an environment, alone and in a batch of 3"),
        ("textgym:TextGym/Bandit-Edit-v0", {}, "an environment, alone and in a batch of 3"),
        ("of_others:make_alphabet", {"kind": "env"}, "an environment, by Gymnasium's checks"),
        ("of_others:make_batch", {"kind": "env"}, "a batch of 2 environments"),
        ("length", {}, "a reward"),
        ('{"clip": {"reward": "length", "high": 1}}', {}, "a reward"),
        ("squad_f1", {"columns": '{"reference": "a"}'}, "a reward"),
        ("of_others:steady", {}, "a reward"),
        ("alphabet", {}, "a task: train, of which no text is in two"),
        ("of_others:Echo", {}, "a task"),
    ],
)
def test_what_keeps_its_contract(theirs, name, settings, said):
    assert f"{name} keeps the contract of {said}" in checked(name, **settings)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("of_others:Forgetful", {}, "observation"),
        ("of_others:steady", {"kind": "env"}, "steady"),
        ("of_others:fickle", {}, "breaks its contract: .*scores"),
        ("of_others:Leaky", {}, "breaks its contract: "),
        (
            "squad_f1",
            {},
            r"squad_f1 reads reference: give a value, --columns '\{\"reference\": \"a",
        ),
        ("TextGym/Alphabt-v0", {}, "TextGym/Alphabt-v0"),
        ("lenght", {}, r"is no environment, reward or task \(did you mean length\?\)"),
        ("../x:y", {"kind": "task"}, "cannot be imported"),
        ("of_others:stedy", {}, r"has no 'stedy' \(did you mean steady\?\)"),
        ("length", {"columns": "3"}, "--columns must be a JSON object"),
        ("TextGym/Alphabet-v0", {"env_kwargs": "{"}, "--env-kwargs is no JSON"),
        ("TextGym/Alphabet-v0", {"env_kwargs": '{"split": "x"}'}, "unknown split 'x'"),
    ],
)
def test_what_does_not_is_one_line(theirs, name, settings, message):
    with pytest.raises(CommandError, match=message) as told:
        checked(name, **settings)
    assert "\n" not in str(told.value)


def test_an_environment_of_gymnasium_s_own_is_found():
    """It was said to be none, and whether CartPole-v1 was meant."""
    assert checks._find(CheckConfig(name="CartPole-v1")) == ("env", "CartPole-v1")
