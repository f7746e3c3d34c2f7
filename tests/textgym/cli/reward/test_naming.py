"""Rewards in a command's words: names, folders, JSON, and files of the current folder."""

import json

import pytest
import torch

from reward_models.models.lstm import LSTMScorer, LSTMScorerConfig
from reward_models.reading.scoring import PreferenceReward
from textgym.cli.parsing import CommandError
from textgym.cli.reward import naming
from textgym.cli.reward.naming import folders_of, named_reward, read_spec
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


def test_a_folder_scores_as_without_a_device_and_is_found_in_json(model):
    words = json.dumps({"affine": {"reward": str(model), "scale": 2.0}})
    alone = resolve(str(model))([""], ["abca"])
    assert named_reward(str(model), "cpu")([""], ["abca"]) == alone
    assert named_reward(words, "cpu")([""], ["abca"]) == [pytest.approx(2 * alone[0])]
    assert folders_of(read_spec(words)) == folders_of(str(model)) == [model]
    assert folders_of("length") == folders_of("x" * 5000) == []
    with pytest.raises((RuntimeError, AssertionError, CommandError)):
        named_reward(words, "cuda:99" if torch.cuda.is_available() else "cuda")
