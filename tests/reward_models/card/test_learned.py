"""What the measured models learned from is found, however they are put together."""

import json
from types import SimpleNamespace

import pytest

from reward_models.card.assembly import learned_from
from reward_models.models.ensemble import EnsembleReward
from reward_models.models.lstm import LSTMScorer, LSTMScorerConfig
from reward_models.preferences import Preference
from reward_models.preferences.traces import traces_of
from reward_models.reading.loading import load_reward
from reward_models.reading.scoring import TRACES_FILE, PreferenceReward
from textgym.rewards import resolve


def pair(prompt):
    return Preference(pair_id="", prompt=prompt, chosen="a", rejected="b")


@pytest.fixture
def folders(tokenizer, tmp_path):
    """Three models, of which the first two say what they learned from: prompts 0 and 1."""
    shape = LSTMScorerConfig(
        vocab_size=tokenizer.vocab_size, embedding_size=8, hidden_size=8, output="score"
    )
    for number in range(3):
        folder = tmp_path / f"model-{number}"
        PreferenceReward(LSTMScorer.from_seed(shape, number), tokenizer).save(folder)
        if number < 2:
            traces = traces_of([pair(f"prompt {number}")])
            (folder / TRACES_FILE).write_text(json.dumps(traces.as_json()))
    return [tmp_path / f"model-{number}" for number in range(3)]


def known(rewards):
    traces, silent = learned_from(rewards)
    held = [traces is not None and traces.hold(pair(f"prompt {n}")) for n in range(3)]
    return held, [folder.rpartition("/")[2] for folder in silent]


def test_members_of_an_ensemble_are_asked_also_when_it_was_saved(folders, tmp_path):
    ensemble = EnsembleReward.fit([load_reward(f) for f in folders], [""] * 3, ["x", "y", "z z"])
    assert known([ensemble]) == ([True, True, False], ["model-2"])
    ensemble.save(tmp_path / "ensemble")
    assert known([resolve(str(tmp_path / "ensemble"))]) == ([True, True, False], ["member-2"])


def test_a_reward_that_is_made_of_others_is_asked_for_them(folders):
    weighted = resolve([[str(folders[0]), 0.5], ["length", 1.0]])
    clipped = resolve({"clip": {"reward": str(folders[1]), "low": 0}})
    assert known([weighted]) == ([True, False, False], [])
    assert known([weighted, clipped]) == ([True, True, False], [])
    assert known([load_reward(folders[1], cache_size=5)]) == ([False, True, False], [])


def test_what_is_not_learned_has_nothing_to_say():
    assert learned_from([resolve("length"), SimpleNamespace(members=[])]) == (None, [])


def test_a_model_that_learns_more_remembers_what_it_learned_before(folders, tmp_path):
    from reward_models.learning.settings import RewardTrainingConfig
    from textgym.cli.reward.starts import make_start

    start = make_start(str(folders[0]), RewardTrainingConfig(), None, [])
    assert start.learned == traces_of([pair("prompt 0")])
    assert make_start("lstm", RewardTrainingConfig(), "reviews-4096", []).learned is None
