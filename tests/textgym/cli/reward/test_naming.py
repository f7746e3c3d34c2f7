"""Rewards in a command's words: names, folders, JSON, and files of the current folder."""

import json

import pytest
import torch

from reward_models.models.lstm import LSTMScorer, LSTMScorerConfig
from reward_models.reading.scoring import PreferenceReward
from textgym.cli.parsing import CommandError
from textgym.cli.policy import policies
from textgym.cli.reward import naming
from textgym.cli.reward.naming import folders_of, named_reward, read_spec, rewards_on_device
from textgym.rewards import resolve
from textgym.tokenizers import load_tokenizer


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lstm")
    tokenizer = load_tokenizer()
    shape = LSTMScorerConfig(vocab_size=tokenizer.vocab_size, max_tokens=8, output="score")
    PreferenceReward(LSTMScorer.from_seed(shape, 0), tokenizer).save(folder)
    return folder


def test_json_is_a_reward_and_all_else_a_name():
    clipped = named_reward('{"clip": {"reward": "length", "high": 0.02}}', "cpu")
    assert clipped(["", ""], ["a b c", "a"]) == [0.02, 0.01]
    weighted = named_reward('[["length", 2.0], ["length", -1.0]]', "cpu")
    assert weighted([""], ["a b c"]) == [pytest.approx(0.03)]
    assert named_reward("length", "cpu")([""], ["a b c"]) == [0.03]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ('{"clip": {"reward": "length"', "begins as JSON does, and is none"),
        ('{"clipp": {"reward": "length"}}', "unknown reward 'clipp'"),
        ("lenght", r"did you mean length\?"),
        ('{"clip": {"reward": "lenght", "low": 0}}', r"in reward of 'clip': .*mean length\?"),
        ("textgym.tasks.toys:bandit_scor", r"has no 'bandit_scor' \(did you mean bandit_score\?\)"),
        ("[]", "at least one"),
        ("[1]", "pairs"),
        ('{"clip": 3}', "dictionary of arguments"),
        ("x" * 5000, r"unknown reward 'xxx[x.]{60,80}"),
    ],
)
def test_what_is_no_reward_is_one_line(words, said):
    with pytest.raises(CommandError, match=said) as told:
        named_reward(words, "cpu")
    assert "\n" not in str(told.value)


def test_a_device_reaches_every_model_that_takes_one(monkeypatch):
    """However deep it stands, and unless the JSON says another."""
    given = []
    monkeypatch.setattr(naming, "resolve", given.append)
    monkeypatch.setattr(naming, "_is_folder", lambda name: name.startswith("runs/"))
    loaded = {naming.FOLDER_REWARD: {"path": "runs/a", "device": "meta"}}
    named_reward("runs/a", "meta")
    named_reward('[["runs/a", 1.0], ["length", 2]]', "meta")
    named_reward('{"max": {"rewards": ["runs/a", {"clip": {"reward": "runs/a"}}]}}', "meta")
    named_reward('{"log_likelihood": {"path": "lm"}}', "meta")
    named_reward('{"log_likelihood": {"path": "lm", "device": "cpu"}}', "meta")
    named_reward('{"rouge": {"variant": "rouge1"}}', "meta")
    assert given == [
        loaded,
        [[loaded, 1.0], ["length", 2]],
        {"max": {"rewards": [loaded, {"clip": {"reward": loaded}}]}},
        {"log_likelihood": {"device": "meta", "path": "lm"}},
        {"log_likelihood": {"device": "cpu", "path": "lm"}},
        {"rouge": {"variant": "rouge1"}},
    ]


def test_the_device_reaches_the_reward_of_an_environment(monkeypatch):
    """Its models ran on the CPU, whatever ``--device`` said, unless the arguments named one."""
    monkeypatch.setattr(naming, "_is_folder", lambda name: name.startswith("runs/"))
    loaded = {naming.FOLDER_REWARD: {"path": "runs/a", "device": "meta"}}

    def placed(**arguments):
        return rewards_on_device({"split": "train", **arguments}, "meta")

    assert placed() == {"split": "train"}
    assert placed(reward="runs/a")["reward"] == loaded
    assert placed(reward=[["runs/a", 1.0]])["reward"] == [[loaded, 1.0]]
    assert placed(reward="model", reward_kwargs={"path": "runs/a"}) == {
        "split": "train",
        "reward": "model",
        "reward_kwargs": {"path": "runs/a", "device": "meta"},
    }
    kept = {"reward": "model", "reward_kwargs": {"path": "runs/a", "device": "cpu"}}
    assert placed(**kept) == {"split": "train", **kept}
    assert placed(reward="rouge", reward_kwargs={"variant": "rouge1"})["reward_kwargs"] == {
        "variant": "rouge1"
    }


def test_a_command_s_environment_has_its_reward_on_the_device(model, monkeypatch):
    asked = []
    loaded = policies.rewards_on_device
    monkeypatch.setattr(
        policies, "rewards_on_device", lambda *given: asked.append(given) or loaded(*given)
    )
    arguments = {"reward": str(model)}
    policies.make_envs("TextGym/Alphabet-v0", arguments, num_envs=1, device="cpu")
    assert asked == [(arguments, "cpu")]


def test_a_folder_scores_as_without_a_device_and_is_found_in_json(model):
    words = json.dumps({"affine": {"reward": str(model), "scale": 2.0}})
    alone = resolve(str(model))([""], ["abca"])
    assert named_reward(str(model), "cpu")([""], ["abca"]) == alone
    assert named_reward(words, "cpu")([""], ["abca"]) == [pytest.approx(2 * alone[0])]
    assert folders_of(read_spec(words)) == folders_of(str(model)) == [model]
    assert folders_of("length") == folders_of("x" * 5000) == []
    with pytest.raises((RuntimeError, AssertionError, CommandError)):
        named_reward(words, "cuda:99" if torch.cuda.is_available() else "cuda")
