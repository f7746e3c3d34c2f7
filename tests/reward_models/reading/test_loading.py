"""A folder says itself what it holds, and an environment takes it by its path."""

import functools
import gc
import json
import os
import weakref

import gymnasium as gym
import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

import textgym
from reward_models.models.lstm import LSTMScorer, LSTMScorerConfig
from reward_models.models.transformer import PreferenceModel
from reward_models.reading.caching import CachedReward
from reward_models.reading.loading import load_reward
from reward_models.reading.scoring import PreferenceReward
from tests.reward_models.unsaved import Unsaved
from textgym.rewards import resolve
from textgym.tasks.toys import PAYOUTS
from textgym.tokenizers import CharacterTokenizer

TEXTS = [" was great", "", " was awful"]


def _lstm(tokenizer):
    config = LSTMScorerConfig(
        vocab_size=tokenizer.vocab_size, embedding_size=8, hidden_size=8, max_tokens=40
    )
    return PreferenceReward(LSTMScorer.from_seed(config, 0), tokenizer)


@pytest.fixture(params=["transformer", "lstm"])
def reward(request, language_model, tokenizer):
    if request.param == "lstm":
        return _lstm(tokenizer)
    model = PreferenceModel.from_language_model(language_model, max_length=40)
    return PreferenceReward(model, tokenizer)


def test_a_folder_is_loaded_by_its_kind(reward, tmp_path):
    reward.save(tmp_path)
    loaded = load_reward(tmp_path)
    assert type(loaded.model) is type(reward.model)
    assert reward([""] * 3, TEXTS) == pytest.approx(loaded([""] * 3, TEXTS), abs=1e-6)


def test_an_environment_takes_it_by_its_folder(reward, tmp_path):
    reward.save(tmp_path / "reward")
    textgym.register_ids()
    env = gym.make("TextGym/Alphabet-v0", reward=str(tmp_path / "reward"))
    env.reset(seed=0)
    finished, info, paid = False, {}, 0.0
    while not finished:
        action = env.action_space.sample(mask=env.unwrapped.action_masks().astype("int8"))
        _, paid, finished, _, info = env.step(action)
    prompt, completion = env.unwrapped.text()
    assert paid == pytest.approx(reward([prompt], [completion])[0], abs=1e-6)
    assert info["score"] == pytest.approx(paid)


def test_environments_that_name_one_folder_have_one_model(reward, tmp_path, capfd):
    """Libraries make a batch of single environments: each had a copy, and a bar on the terminal."""
    folder, weights = tmp_path / "reward", "model.safetensors"
    reward.save(folder)
    capfd.readouterr()
    first, again, alike = (resolve(name).function for name in (folder, str(folder), folder))
    assert first is again is alike
    assert capfd.readouterr().err == ""
    other = resolve("model", {"path": str(folder), "batch_size": 2}).function
    assert other.model is not first.model
    # What is trained anew in the same folder is read anew, and what a caller loads is the caller's.
    os.utime(folder / weights, ns=(1, 1))
    assert resolve(folder).function.model is not first.model
    assert load_reward(folder).model is not load_reward(folder).model


def test_a_model_that_no_environment_holds_is_let_go(reward, tmp_path):
    reward.save(tmp_path)
    kept = weakref.ref(resolve(tmp_path).function)
    gc.collect()
    assert kept() is None


@pytest.mark.parametrize(
    "kind", ["numpy", "torch", pytest.param("processes", marks=pytest.mark.slow)]
)
def test_every_kind_of_environment_pays_its_scores(kind, tokenizer, tmp_path):
    """One letter a row; Stable-Baselines3's processes load the folder themselves."""
    reward = _lstm(tokenizer)
    reward.save(tmp_path / "reward")
    letters = list("da")
    ids = CharacterTokenizer("".join(PAYOUTS)).encode_batch(letters)
    actions = np.array([row[0] for row in ids])
    asked = {"id": "textgym:TextGym/Bandit-v0", "reward": str(tmp_path / "reward")}
    if kind == "processes":
        from stable_baselines3.common.vec_env import SubprocVecEnv

        make = functools.partial(gym.make, **asked)
        envs = SubprocVecEnv([make] * 2, start_method="spawn")
        envs.reset()
        paid = envs.step(actions)[1]
    else:
        envs = gym.make_vec(**asked, num_envs=2, backend=kind)
        envs.reset(seed=0)
        paid = envs.step(actions if kind == "numpy" else torch.tensor(actions))[1]
    envs.close()
    assert reward([""] * 2, letters) == pytest.approx(list(map(float, paid)), abs=1e-5)


def test_a_cache_is_put_around_on_request(tokenizer, tmp_path):
    _lstm(tokenizer).save(tmp_path)
    cached = load_reward(tmp_path, cache_size=10)
    assert isinstance(cached, CachedReward)
    plain = load_reward(tmp_path)([""] * 3, TEXTS)
    assert plain == pytest.approx(cached([""] * 3, TEXTS), abs=1e-6)
    assert cached([""] * 3, TEXTS[::-1]) == cached([""] * 3, TEXTS)[::-1]
    assert cached.hits == 6


def test_what_is_no_reward_is_refused_with_what_it_is(tmp_path):
    BertModel(
        BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1)
    ).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"config\.json is of a model of type .bert."):
        load_reward(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({}))
    with pytest.raises(ValueError, match="of a model of type None"):
        load_reward(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ValueError, match="holds no whole reward model"):
        load_reward(tmp_path)


def test_damaged_weights_are_one_line(tokenizer, tmp_path):
    _lstm(tokenizer).save(tmp_path)
    weights = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 8 + weights[8:])
    with pytest.raises(ValueError, match="holds no whole reward model") as caught:
        load_reward(tmp_path)
    assert "\n" not in str(caught.value)


def test_saving_replaces_a_folder_as_a_whole(tokenizer, tmp_path):
    """Files of what was there before do not stay beside the new ones."""
    (tmp_path / "reward").mkdir()
    (tmp_path / "reward" / "old").write_text("old")
    _lstm(tokenizer).save(tmp_path / "reward")
    assert not (tmp_path / "reward" / "old").exists()


def test_a_tokenizer_that_cannot_be_saved_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="has no method save"):
        _lstm(Unsaved("abc")).save(tmp_path / "reward")
    assert not (tmp_path / "reward").exists()


def test_a_cache_tells_of_which_text_an_error_is():
    class Unreadable(Exception):
        row = 1

    def reward(prompts, completions):
        if "bad" in completions:
            raise Unreadable
        return [1.0] * len(completions)

    cached = CachedReward(reward, 10)
    cached([""], ["known"])
    with pytest.raises(Unreadable) as caught:
        cached([""] * 4, ["known", "new", "known", "bad"])
    assert caught.value.row == 3
