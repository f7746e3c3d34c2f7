"""Likelihood under a language model: by transformers' own loss, and a model that knows nothing."""

import math
import shutil

import gymnasium as gym
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from reward_models.metrics.likelihood import (
    LikelihoodReward,
    load_log_likelihood,
    load_perplexity,
)
from tests import damages
from textgym.rewards import RewardError, resolve

PROMPTS = ["the film", "", "a slow", "the story with fine", "its end"]
COMPLETIONS = [" was a good bad film", " great", " and lovely dull music that I liked", "", " a"]


@pytest.fixture(scope="module")
def folder(language_model, tokenizer, tmp_path_factory):
    """The language model beside its tokenizer, as the reward wants them."""
    folder = tmp_path_factory.mktemp("scorer")
    GPT2LMHeadModel.from_pretrained(language_model).save_pretrained(folder)
    tokenizer.save(folder / "tokenizer.model")
    return folder


def _by_transformers(folder, tokenizer, prompt, completion):
    """The mean loss of the completion's tokens, of one text at a time."""
    model = GPT2LMHeadModel.from_pretrained(folder).eval()
    before = [tokenizer.bos_id, *tokenizer.encode(prompt)]
    ids = torch.tensor([[*before, *tokenizer.encode(completion)]])
    labels = ids.clone()
    labels[:, : len(before)] = -100
    with torch.inference_mode():
        return -float(model(input_ids=ids, labels=labels).loss)


@pytest.mark.parametrize("row", [0, 1, 2, 4])
def test_log_likelihood_is_minus_the_model_s_loss(folder, tokenizer, row):
    expected = _by_transformers(folder, tokenizer, PROMPTS[row], COMPLETIONS[row])
    scores = load_log_likelihood(folder)(PROMPTS, COMPLETIONS)
    assert scores[row] == pytest.approx(expected, abs=1e-5)
    total = load_log_likelihood(folder, total=True)(PROMPTS, COMPLETIONS)[row]
    count = len(tokenizer.encode(COMPLETIONS[row]))
    assert total == pytest.approx(expected * count, abs=1e-4)
    perplexity = load_perplexity(folder)(PROMPTS, COMPLETIONS)[row]
    assert perplexity == pytest.approx(math.exp(-expected), rel=1e-5)


def test_a_model_that_knows_nothing_gives_every_token_the_same(tokenizer, tmp_path):
    """Weights of 0 make all logits equal: a perplexity of V, also for an empty text."""
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=tokenizer.vocab_size, n_positions=32, n_embd=8, n_layer=1, n_head=1)
    )
    torch.nn.init.zeros_(model.transformer.wte.weight)
    model.save_pretrained(tmp_path)
    tokenizer.save(tmp_path / "tokenizer.model")
    size = tokenizer.vocab_size
    scores = load_log_likelihood(tmp_path)(PROMPTS, COMPLETIONS)
    assert scores == pytest.approx([-math.log(size)] * 5, rel=1e-6)
    assert load_perplexity(tmp_path)(PROMPTS, COMPLETIONS) == pytest.approx([size] * 5, rel=1e-5)


def test_a_score_does_not_depend_on_the_batch_or_its_order(folder):
    together = load_log_likelihood(folder)(PROMPTS, COMPLETIONS)
    for size in (1, 2, 3):
        reward = load_log_likelihood(folder, batch_size=size)
        backwards = reward(PROMPTS[::-1], COMPLETIONS[::-1])[::-1]
        assert backwards == pytest.approx(together, abs=2e-6)


def test_what_does_not_fit_is_cut_from_the_prompt_s_beginning(folder, tokenizer, sentence):
    """The same as a prompt that was cut by hand, and other than the whole one."""
    prompt, completion = sentence(1, 10), " a good film"
    written = len(tokenizer.encode(completion))
    kept = tokenizer.decode(tokenizer.encode(prompt)[-5:])
    assert len(tokenizer.encode(kept)) == 5
    cut = load_log_likelihood(folder, max_tokens=1 + 5 + written)([prompt], [completion])
    whole = load_log_likelihood(folder)
    assert cut == pytest.approx(whole([kept], [completion]), abs=1e-6)
    assert cut != pytest.approx(whole([prompt], [completion]), abs=1e-3)


def test_a_text_longer_than_the_model_is_scored_by_its_beginning(folder, tokenizer, sentence):
    long = " " + sentence(2, 200)
    beginning = tokenizer.decode(tokenizer.encode(long)[:63])  # 64 positions, one for the beginning
    reward = load_log_likelihood(folder)
    assert reward(["the film"], [long]) == pytest.approx(reward([""], [beginning]), abs=1e-6)


def test_any_causal_model_will_do(tokenizer, tmp_path):
    torch.manual_seed(0)
    LlamaForCausalLM(
        LlamaConfig(
            vocab_size=tokenizer.vocab_size,
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=32,
        )
    ).save_pretrained(tmp_path / "model")
    tokenizer.save(tmp_path / "other.model")
    reward = load_log_likelihood(tmp_path / "model", tokenizer=tmp_path / "other.model")
    assert all(score < 0 for score in reward(PROMPTS, COMPLETIONS))


def test_what_is_missing_or_does_not_fit_is_named(folder, language_model, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no language model in .*config\.json is missing"):
        load_log_likelihood(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no tokenizer\.model and no tokenizer\.json in"):
        load_perplexity(language_model)
    with pytest.raises(ValueError, match="tokenizer has 4096 ids, but the language model knows"):
        load_log_likelihood(folder, tokenizer="reviews-4096")
    with pytest.raises(ValueError, match=r"max_tokens must be in 2\.\.64, got 65"):
        load_log_likelihood(folder, max_tokens=65)
    with pytest.raises(ValueError, match="batch_size is 0"):
        load_log_likelihood(folder, batch_size=0)
    with pytest.raises(ValueError, match="1 prompts came with 2 completions"):
        load_log_likelihood(folder)([""], ["", ""])
    assert load_log_likelihood(folder)([], []) == []
    assert isinstance(load_perplexity(folder), LikelihoodReward)


@pytest.fixture(params=["log_likelihood", "perplexity"])
def name(request):
    return request.param


@pytest.mark.parametrize("damage", damages.MODEL)
def test_a_damaged_folder_is_one_line_when_the_reward_is_made(
    folder, tmp_path, monkeypatch, name, damage
):
    """And nobody is asked whether to run the code that lies in it."""
    asked = []
    monkeypatch.setattr("builtins.input", lambda *question: asked.append(question) or "y")
    path, says = damages.damaged(folder, tmp_path, damages.MODEL[damage])
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        resolve({name: {"path": str(path)}})
    damages.require_one_line(caught, path, says)
    assert asked == []


def test_a_damaged_tokenizer_is_one_line_when_the_reward_is_made(folder, tmp_path, name):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    content = (tmp_path / "tokenizer.model").read_bytes()
    (tmp_path / "tokenizer.model").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="no sentencepiece model") as caught:
        resolve({name: {"path": str(tmp_path)}})
    damages.require_one_line(caught, tmp_path, "")


def test_an_environment_is_not_made_with_a_pickle(folder, tmp_path, name):
    path, _ = damages.damaged(folder, tmp_path, damages.MODEL["pickle"])
    with pytest.raises(ValueError, match="as a pickle"):
        gym.make("textgym:TextGym/Alphabet-v0", reward={name: {"path": str(path)}})


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        ((["the film"], [None]), "completion"),
        ((["the film"], [7]), "completion"),
        ((["the film", ""], [" was good"]), "2 values of 'prompts'"),
        ((["the film"], []), "1 values of 'prompts'"),
    ],
)
def test_texts_that_are_none_are_refused_and_named(folder, name, texts, says):
    reward = resolve({name: {"path": str(folder)}})
    with pytest.raises(RewardError, match=f"{name}.*{says}|{says}.*{name}"):
        reward(*texts)


def test_a_column_of_another_length_is_refused(folder, name):
    reward = resolve({name: {"path": str(folder)}})
    with pytest.raises(RewardError, match="reference"):
        reward(["the film"], [" was good"], reference=["a", "b"])


def test_nothing_written_and_nothing_to_score(folder, name):
    reward = resolve({name: {"path": str(folder)}})
    assert all(math.isfinite(score) for score in reward(["", "the film"], ["", ""]))
    assert reward([], []) == []


@pytest.mark.parametrize(
    ("settings", "says"),
    [({"batch": 4}, "it takes path, tokenizer"), ({"batch_size": 0}, "batch_size is 0")],
)
def test_a_setting_that_cannot_be_is_refused_when_the_reward_is_made(folder, name, settings, says):
    with pytest.raises(ValueError, match=says):
        resolve({name: {"path": str(folder), **settings}})
