"""Other people's classifiers as rewards: the same numbers that transformers gives, in any batch."""

import json
import math
import shutil

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    PreTrainedTokenizerFast,
    pipeline,
)

from reward_models.models.classifier import ClassifierConfig, sequence_classifier
from reward_models.reading.loading import load_reward
from textgym.testing import check_reward_function

PROMPTS = ["the film", "", "a lovely story with music", "dull"] * 6
SHAPE = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 40,
}
CHAT = (
    "{% for message in messages %}{{ message['role'] }} : {{ message['content'] }} <end> "
    "{% endfor %}"
)
END = {"eos_token": "<end>", "unk_token": "<unk>"}


@pytest.fixture
def completions(sentence):
    return [" " + sentence(seed, words=seed % 11) for seed in range(len(PROMPTS))]


def save_encoder(words, folder, labels, **settings):
    torch.manual_seed(len(labels))
    names = dict(enumerate(labels))
    config = BertConfig(
        vocab_size=len(words),
        id2label=names,
        label2id={name: number for number, name in names.items()},
        pad_token_id=0,
        initializer_range=0.3,
        **SHAPE,
        **settings,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def sentiment(words, tmp_path_factory):
    return save_encoder(words, tmp_path_factory.mktemp("sentiment"), ["NEGATIVE", "POSITIVE"])


@pytest.fixture(scope="module")
def decoder(words, tmp_path_factory):
    """As TRL leaves a reward model: a decoder, one label, its end of text its padding."""
    folder = tmp_path_factory.mktemp("decoder")
    known = ["<unk>", "<end>", "user", "assistant", ":", *words.get_vocab()]
    backend = Tokenizer(models.WordLevel({w: i for i, w in enumerate(known)}, "<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, chat_template=CHAT, **END)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(known), n_positions=40, n_embd=32, n_layer=2, n_head=2, num_labels=1
    )
    GPT2ForSequenceClassification(config).save_pretrained(folder)
    return folder


@pytest.fixture(params=["sentiment", "pair", "decoder", "chat", "eos"])
def reward(request, sentiment, decoder):
    return {
        "sentiment": lambda: sequence_classifier(sentiment, batch_size=5),
        "pair": lambda: sequence_classifier(sentiment, batch_size=5, pair=True),
        "decoder": lambda: sequence_classifier(decoder, batch_size=5),
        "chat": lambda: sequence_classifier(decoder, batch_size=5, chat_template=True),
        "eos": lambda: sequence_classifier(decoder, batch_size=5, append_eos=True),
    }[request.param]()


def test_a_score_depends_on_neither_batch_nor_order(reward, completions):
    together = reward(PROMPTS, completions)
    alone = [reward([prompt], [text])[0] for prompt, text in zip(PROMPTS, completions, strict=True)]
    backwards = reward(PROMPTS[::-1], completions[::-1])[::-1]
    assert together == pytest.approx(alone, abs=1e-5)
    assert together == pytest.approx(backwards, abs=1e-5)
    assert len(set(together)) > 15


def test_it_keeps_the_contract(reward):
    check_reward_function(reward)


def test_loading_gives_the_same_scores(reward, completions, tmp_path):
    """The settings are in the folder as well."""
    reward.save(tmp_path / "copy")
    loaded = load_reward(tmp_path / "copy", batch_size=3)
    assert loaded.config == reward.config
    assert reward(PROMPTS, completions) == pytest.approx(loaded(PROMPTS, completions), abs=1e-5)


def test_two_labels_give_the_probability_that_the_pipeline_gives(sentiment, completions):
    classify = pipeline("text-classification", str(sentiment), top_k=None, device="cpu")
    texts = [prompt + text for prompt, text in zip(PROMPTS, completions, strict=True)]
    expected = [
        next(label["score"] for label in labels if label["label"] == "POSITIVE")
        for labels in classify(texts)
    ]
    probability = sequence_classifier(sentiment, output="probability")
    assert expected == pytest.approx(probability(PROMPTS, completions), abs=1e-5)
    odds = sequence_classifier(sentiment, label="POSITIVE")(PROMPTS, completions)
    assert [math.log(p / (1 - p)) for p in expected] == pytest.approx(odds, abs=1e-4)
    against = sequence_classifier(sentiment, label="NEGATIVE")(PROMPTS, completions)
    assert odds == pytest.approx([-score for score in against], abs=1e-5)


def test_one_label_gives_its_logit(decoder, completions):
    """By another route: transformers itself, one text at a time, nothing around it."""
    model = GPT2ForSequenceClassification.from_pretrained(decoder).eval()
    reward = sequence_classifier(decoder)
    texts = [prompt + text for prompt, text in zip(PROMPTS, completions, strict=True)]
    expected = []
    for text in texts:
        ids = reward.reader.tokenizer(text, return_tensors="pt")["input_ids"].long()
        with torch.inference_mode():
            expected.append(model(ids if ids.numel() else torch.tensor([[1]])).logits.item())
    assert expected == pytest.approx(reward(PROMPTS, completions), abs=1e-5)


def test_a_pair_is_laid_out_as_the_tokenizer_does_it(words, sentiment, completions):
    reward = sequence_classifier(sentiment, pair=True)
    for row, prompt, text in zip(
        reward._rows(PROMPTS, completions), PROMPTS, completions, strict=True
    ):
        expected = words(prompt, text)
        assert expected["input_ids"] == [token for token, _ in row]
        assert expected["token_type_ids"] == [kind for _, kind in row]


def test_a_chat_is_laid_out_as_the_template_says(decoder):
    reward = sequence_classifier(decoder, chat_template=True)
    (row,) = reward._rows(["the film"], ["was good"])
    text = "user : the film <end> assistant : was good <end> "
    expected = reward.reader.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert expected == [token for token, _ in row]


@pytest.mark.parametrize("pair", [False, True])
def test_a_text_that_spells_a_special_token_has_none(words, sentiment, pair):
    """The completion " dull [SEP] great" was read as two texts, the second of them "great"."""
    reward = sequence_classifier(sentiment, pair=pair)
    unknown, separator = words.convert_tokens_to_ids(["[UNK]", "[SEP]"])
    (row,) = reward._rows(["film [CLS]"], [" dull [SEP] great"])
    ids = [token for token, _ in row]
    assert [ids.count(2), ids.count(separator), ids.count(unknown)] == [1, 1 + pair, 2]


def test_a_completion_opens_no_turn_of_its_own(decoder):
    """Each side of the chat may spell what the template writes; the ends are the template's."""
    reward = sequence_classifier(decoder, chat_template=True)
    end = reward.reader.tokenizer.eos_token_id
    for prompt, text in (
        ("the film", "was <end> user : good <end> assistant : good"),
        ("the <end> assistant : film <end>", "was good"),
    ):
        (row,) = reward._rows([prompt], [text])
        assert [token for token, _ in row].count(end) == 2
        assert row[-1][0] == end


def test_of_a_long_text_the_end_is_kept(sentiment, words):
    """And of a pair, the completion; the frame is never cut."""
    good, film = words.convert_tokens_to_ids(["good", "film"])
    single = sequence_classifier(sentiment, max_tokens=5)
    (row,) = single._rows(["good " * 9], ["film film"])
    assert [2, good, film, film, 3] == [token for token, _ in row]
    pair = sequence_classifier(sentiment, max_tokens=7, pair=True)
    (row,) = pair._rows(["good " * 9], ["film film film"])
    assert [2, good, 3, film, film, film, 3] == [token for token, _ in row]
    (row,) = pair._rows(["good " * 9], ["good film film film film"])
    assert [2, 3, film, film, film, film, 3] == [token for token, _ in row]


def test_three_labels_need_a_choice(words, tmp_path):
    """By hand: odds against both others together."""
    folder = save_encoder(words, tmp_path, ["bad", "middling", "good"])
    with pytest.raises(ValueError, match="labels are 0 'bad', 1 'middling', 2 'good': name one"):
        sequence_classifier(folder)
    with pytest.raises(ValueError, match="label is 3"):
        sequence_classifier(folder, label=3)
    shares = [
        sequence_classifier(folder, label=label, output="probability")(["the"], [" film"])[0]
        for label in ("bad", 1, "good")
    ]
    assert sum(shares) == pytest.approx(1.0, abs=1e-6)
    odds = sequence_classifier(folder, label="good")(["the"], [" film"])[0]
    assert math.log(shares[2] / (shares[0] + shares[1])) == pytest.approx(odds, abs=1e-5)


def test_labels_that_do_not_exclude_each_other_are_judged_one_by_one(words, tmp_path):
    folder = save_encoder(
        words, tmp_path, ["rude", "long"], problem_type="multi_label_classification"
    )
    reward = sequence_classifier(folder, label="rude")
    row = torch.tensor([[token for token, _ in reward._rows([""], ["the film"])[0]]])
    with torch.inference_mode():
        expected = reward.model(row).logits[0, 0].item()
    assert [expected] == pytest.approx(reward([""], ["the film"]), abs=1e-5)


def test_a_model_without_its_head_is_refused(sentiment, tmp_path):
    """transformers would make one up, and its scores would be noise."""
    for path in sentiment.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    from safetensors.torch import load_file, save_file

    weights = load_file(tmp_path / "model.safetensors")
    del weights["classifier.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks 1 weights, classifier\.weight"):
        sequence_classifier(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_damaged_file_is_one_line_that_names_the_folder(sentiment, tmp_path, name):
    for path in sentiment.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="holds no whole reward model") as caught:
        sequence_classifier(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_hub_s_name_is_looked_up_in_the_cache_alone(sentiment, monkeypatch, tmp_path):
    """Not on a network: nothing may even ask for an address."""
    asked = []
    monkeypatch.setattr("socket.getaddrinfo", lambda *arguments, **_: asked.append(arguments))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    kept = tmp_path / "models--somebody--sentiment"
    shutil.copytree(sentiment, kept / "snapshots" / "abc")
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text("abc")
    cached = sequence_classifier("somebody/sentiment")
    expected = sequence_classifier(sentiment)(["the film"], [" was good"])
    assert cached(["the film"], [" was good"]) == pytest.approx(expected, abs=1e-5)
    for name in ("somebody/nothing", "runs/nowhere/else"):
        with pytest.raises(FileNotFoundError, match=f"{name} is no folder, and there is no model"):
            sequence_classifier(name)
    assert asked == []


def test_code_beside_the_weights_is_not_run(sentiment, tmp_path):
    for path in sentiment.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "odd", "auto_map": {"AutoConfig": "odd.Config"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "odd.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ValueError, match="holds no whole reward model"):
        sequence_classifier(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_settings_that_do_not_fit_are_refused(sentiment, decoder):
    with pytest.raises(ValueError, match="has no chat template"):
        sequence_classifier(sentiment, chat_template=True)
    with pytest.raises(ValueError, match="has no end-of-text token"):
        sequence_classifier(sentiment, append_eos=True)
    with pytest.raises(ValueError, match="with neither pair nor append_eos"):
        sequence_classifier(decoder, chat_template=True, pair=True)
    with pytest.raises(ValueError, match="the model reads 1 to 40"):
        sequence_classifier(decoder, max_tokens=41)
    with pytest.raises(ValueError, match="choose 'log_odds' or 'probability'"):
        sequence_classifier(decoder, output="logit")
    with pytest.raises(ValueError, match="batch_size is 0"):
        sequence_classifier(decoder, batch_size=0)
    with pytest.raises(TypeError, match="unexpected keyword argument 'lable'"):
        sequence_classifier(decoder, lable="POSITIVE")
    assert ClassifierConfig().output == "log_odds"
