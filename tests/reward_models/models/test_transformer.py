"""The preference model and its reward: one text, one score, whatever stands around it."""

import json
import math
import pickle

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
)

from reward_models.models.transformer import (
    PreferenceModel,
    PreferenceModelConfig,
    PreferenceReward,
    encode_rows,
    load_reward,
    pad_rows,
    pool,
)

PROMPTS = ["the film", "", "a lovely story with music", "dull"] * 6


@pytest.fixture(params=["mean", "last"])
def model(request, language_model):
    return PreferenceModel.from_language_model(language_model, pooling=request.param, max_length=40)


@pytest.fixture
def reward(model, tokenizer):
    return PreferenceReward(model, tokenizer, batch_size=5)


@pytest.fixture
def completions(sentence):
    return [" " + sentence(seed, words=seed % 11) for seed in range(len(PROMPTS))]


def save(model, tokenizer, folder):
    model.save_pretrained(folder)
    tokenizer.save(folder / "tokenizer.model")
    return folder


def test_a_score_depends_on_neither_batch_nor_order(reward, completions):
    """Peers' scores move by .05 with the batch size."""
    together = reward(PROMPTS, completions)
    alone = [reward([prompt], [text])[0] for prompt, text in zip(PROMPTS, completions, strict=True)]
    backwards = reward(PROMPTS[::-1], completions[::-1])[::-1]
    assert together == pytest.approx(alone, abs=1e-5)
    assert together == pytest.approx(backwards, abs=1e-5)
    assert len(set(together)) == len(set(zip(PROMPTS, completions, strict=True)))


def test_a_score_does_not_depend_on_padding_or_on_what_it_is_made_of(model, tokenizer, sentence):
    """Neither its length nor its id: a pad that equals the end-of-text id is just another id."""
    (row,) = encode_rows(tokenizer, [sentence(3)], 40)
    row.append(tokenizer.eos_id)
    ids = torch.tensor([row])
    exact = model(ids, torch.ones_like(ids))
    for pad_id in (tokenizer.pad_id, tokenizer.eos_id):
        padded, mask = pad_rows([row, row + [7] * 15], pad_id)
        torch.testing.assert_close(exact, model(padded, mask)[:1], atol=1e-5, rtol=0)


def test_pooling_reads_real_tokens_only():
    """Worked by hand; the last real token is found by mask, since pads may lie inside the text."""
    states = torch.tensor([[[1.0], [3.0], [100.0]], [[1.0], [2.0], [6.0]]])
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    torch.testing.assert_close(torch.tensor([[2.0], [3.0]]), pool(states, mask, "mean"))
    torch.testing.assert_close(torch.tensor([[3.0], [6.0]]), pool(states, mask, "last"))


def test_transformers_takes_a_folder_of_ours_for_no_model_of_its_own(model, tokenizer, tmp_path):
    """It knows neither pooling nor scale, and would score otherwise with the same weights."""
    with pytest.raises(ValueError, match="textgym-preference"):
        AutoModelForSequenceClassification.from_pretrained(save(model, tokenizer, tmp_path))


@pytest.mark.parametrize("mask", [[[1, 0, 1]], [[0, 0, 0]]])
def test_padding_between_tokens_is_refused(model, mask):
    """What stands behind a hole would be read at a place that is not its own."""
    with pytest.raises(ValueError, match="pad on one side"):
        model(torch.tensor([[5, 6, 7]]), torch.tensor(mask))


def test_the_side_of_the_padding_does_not_matter(model):
    """Taken as it is, padding on the left would shift every position."""
    rows = [[1, 9, 8, 7, 6], [1, 5, 4], [1]]
    right, right_mask = pad_rows(rows, 0)
    left = torch.tensor([[0] * (5 - len(row)) + row for row in rows])
    left_mask = torch.tensor([[0] * (5 - len(row)) + [1] * len(row) for row in rows])
    alone = torch.cat([model(torch.tensor([row]), torch.ones(1, len(row)).long()) for row in rows])
    torch.testing.assert_close(alone, model(left, left_mask), atol=1e-5, rtol=0)
    torch.testing.assert_close(alone, model(right, right_mask), atol=1e-5, rtol=0)


def test_the_trunk_is_the_language_model_s_and_its_dropout_is_off(language_model):
    """A forward in training mode twice gives the same scores, from the very same weights."""
    model = PreferenceModel.from_language_model(language_model, max_length=40)
    source = AutoModelForCausalLM.from_pretrained(language_model)
    for name, weight in source.base_model.state_dict().items():
        torch.testing.assert_close(weight, model.trunk.state_dict()[name], rtol=0, atol=0)
    model.train()
    ids = torch.arange(4, 24).reshape(2, 10)
    mask = torch.ones_like(ids)
    torch.testing.assert_close(model(ids, mask), model(ids, mask), rtol=0, atol=0)


def test_the_head_comes_from_its_seed_alone(language_model):
    """Not from torch's global generator, which is left where it was."""
    torch.manual_seed(1)
    one = PreferenceModel.from_language_model(language_model, max_length=40, seed=3)
    drawn = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), drawn)
    two = PreferenceModel.from_language_model(language_model, max_length=40, seed=3)
    other = PreferenceModel.from_language_model(language_model, max_length=40, seed=4)
    torch.testing.assert_close(one.head.weight, two.head.weight, rtol=0, atol=0)
    assert not torch.equal(one.head.weight, other.head.weight)
    assert 0.5 < one.head.weight.std().item() * math.sqrt(33) < 1.5
    assert one.head.bias.item() == 0.0


def test_a_rotary_decoder_survives_saving_and_loading(tokenizer, tmp_path, sentence):
    """Its frequencies are buffers that no file holds; they must be computed again on loading."""
    config = LlamaConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        attention_dropout=0.3,
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path / "language_model")
    model = PreferenceModel.from_language_model(tmp_path / "language_model", max_length=40)
    before = PreferenceReward(model, tokenizer)(["the film"], [sentence(2)])
    loaded = load_reward(save(model, tokenizer, tmp_path / "reward"))
    assert before == loaded(["the film"], [sentence(2)])


def test_loading_gives_the_same_scores(reward, completions, tokenizer, tmp_path):
    """Weights, normalisation, pooling and the length limit are all in the folder."""
    reward.model.config.score_mean = 0.25
    reward.model.config.score_std = 0.125
    before = reward(PROMPTS, completions)
    loaded = load_reward(save(reward.model, tokenizer, tmp_path), batch_size=3)
    assert before == pytest.approx(loaded(PROMPTS, completions), abs=1e-5)
    assert (reward.model.config.pooling, 40) == (
        loaded.model.config.pooling,
        loaded.model.config.max_tokens,
    )


def test_the_weights_are_saved_as_safetensors(reward, tokenizer, tmp_path):
    """Loading a reward must not be able to run somebody's code."""
    save(reward.model, tokenizer, tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.model"} == names


def test_scores_are_normalised_by_the_stored_constants(reward, completions):
    """(raw - mean) / std, so that one KL coefficient means the same for every reward."""
    raw = reward.raw(PROMPTS, completions)
    reward.model.config.score_mean, reward.model.config.score_std = 2.0, 4.0
    expected = [(value - 2.0) / 4.0 for value in raw.tolist()]
    assert expected == pytest.approx(reward(PROMPTS, completions), abs=1e-12)


def test_a_reward_can_be_pickled(reward, completions):
    """Vector environments in processes send it there."""
    copy = pickle.loads(pickle.dumps(reward))  # noqa: S301  our own bytes
    assert reward(PROMPTS, completions) == copy(PROMPTS, completions)


def test_long_texts_keep_their_last_tokens_behind_the_beginning(tokenizer, sentence):
    """The completion is at the end, and it is what is judged."""
    text = sentence(1, words=40)
    whole = tokenizer.encode(text)
    (row,) = encode_rows(tokenizer, [text], 10)
    assert [tokenizer.bos_id, *whole[-9:]] == row
    assert [[tokenizer.bos_id]] == encode_rows(tokenizer, [""], 10)
    assert [[tokenizer.bos_id]] == encode_rows(tokenizer, [text], 1)


def test_only_the_text_counts_not_where_the_prompt_ends(reward):
    """The text is encoded as one, so the same text has the same score."""
    assert reward(["the film"], [" was great"]) == reward(["the film was"], [" great"])


def test_an_empty_batch_has_no_score_and_unequal_lengths_are_refused(reward):
    """zip would silently drop the rest."""
    assert reward([], [], label=[]) == []
    with pytest.raises(ValueError, match="2 prompts came with 1 completions"):
        reward(["a", "b"], ["c"])


def test_scores_are_finite_floats_without_a_graph(reward):
    """A reward runs in inference mode: a graph would keep every batch in memory."""
    (score,) = reward(["the film"], [" was great"])
    assert isinstance(score, float)
    assert math.isfinite(score)
    assert not reward.raw(["the film"], [" was great"]).requires_grad
    assert not reward.model.training


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.model"])
def test_a_missing_file_is_named(model, tokenizer, tmp_path, name):
    """And so is a missing folder, instead of an attempt to reach a hub."""
    save(model, tokenizer, tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{name} is missing"):
        load_reward(tmp_path)
    with pytest.raises(FileNotFoundError, match="no reward model in"):
        load_reward(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.model"])
def test_a_file_cut_short_is_an_error_that_names_the_folder(model, tokenizer, tmp_path, name):
    """As after a full disk."""
    save(model, tokenizer, tmp_path)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="holds no whole reward model") as caught:
        load_reward(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_weights_that_are_missing_are_not_made_up(model, tokenizer, tmp_path):
    """transformers fills them with random numbers, and logs a line."""
    save(model, tokenizer, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["trunk"]["n_layer"] = 3
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="lacks 12 weights"):
        load_reward(tmp_path)


def test_another_model_s_folder_is_refused(language_model, tokenizer, tmp_path):
    """A language model is not a judge, though it has weights and a tokenizer."""
    source = AutoModelForCausalLM.from_pretrained(language_model)
    save(source, tokenizer, tmp_path)
    with pytest.raises(ValueError, match="of a model of type 'gpt2'"):
        load_reward(tmp_path)


def test_impossible_settings_are_refused(language_model, reward, tokenizer, tmp_path):
    """Each where it is given, not at the first score."""
    with pytest.raises(ValueError, match="choose 'mean' or 'last'"):
        PreferenceModelConfig(pooling="middle")
    with pytest.raises(ValueError, match="its first token has read nothing"):
        PreferenceModel.from_language_model(language_model, pooling="first", max_length=40)
    with pytest.raises(ValueError, match="score_std is 0"):
        PreferenceModelConfig(score_std=0.0)
    with pytest.raises(ValueError, match="has 64 positions"):
        PreferenceModel.from_language_model(language_model, max_length=65)
    with pytest.raises(FileNotFoundError, match="no language model"):
        PreferenceModel.from_language_model(tmp_path)
    with pytest.raises(ValueError, match="batch_size is 0"):
        PreferenceReward(reward.model, tokenizer, batch_size=0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_scores_on_a_gpu_equal_those_on_the_cpu(reward, completions, tokenizer, tmp_path):
    """To float32's accuracy with another order of summation."""
    folder = save(reward.model, tokenizer, tmp_path)
    on_gpu = load_reward(folder, device="cuda")
    assert reward(PROMPTS, completions) == pytest.approx(on_gpu(PROMPTS, completions), abs=1e-4)
