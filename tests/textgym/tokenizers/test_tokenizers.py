"""What a tokenizer is called, and what is said of one that cannot be had."""

import json
from types import SimpleNamespace

import pytest
from tokenizers import ByteLevelBPETokenizer
from transformers import PreTrainedTokenizerFast

import textgym
from tests import damages
from textgym.tokenizers import (
    CharacterTokenizer,
    SentencePieceTokenizer,
    legal_ids,
    load_tokenizer,
    save_tokenizer,
    train_tokenizer,
)

END = "<|endoftext|>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One of transformers' tokenizers as it is saved."""
    backend = ByteLevelBPETokenizer()
    backend.train_from_iterator(["the good film", "the bad film"], 270, special_tokens=[END])
    folder = tmp_path_factory.mktemp("tokenizer")
    PreTrainedTokenizerFast(tokenizer_object=backend._tokenizer, eos_token=END).save_pretrained(
        folder
    )
    return folder


def test_the_shipped_tokenizer_is_what_it_is_said_to_be():
    tokenizer = textgym.load_tokenizer()
    assert tokenizer.vocab_size == 4096
    assert (tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id) == (0, 1, 2)
    assert tokenizer.forbidden_ids == (0, 1, 3)


@pytest.mark.parametrize("name", ["reviews-4069", "bert-base-uncased", "/no/such/file"])
def test_an_unknown_name_lists_the_known_ones(name):
    with pytest.raises(
        ValueError, match=r"unknown tokenizer .*characters:<alphabet>, reviews-4096"
    ):
        load_tokenizer(name)


@pytest.mark.parametrize("damage", damages.TOKENIZER)
def test_what_is_wrong_is_one_line_that_names_the_folder(folder, tmp_path, monkeypatch, damage):
    """And nobody is asked whether to run the code that lies in it."""
    asked = []
    monkeypatch.setattr("builtins.input", lambda *question: asked.append(question) or "y")
    path, says = damages.damaged(folder, tmp_path, damages.TOKENIZER[damage])
    with pytest.raises(ValueError, match="cannot read a tokenizer in") as caught:
        load_tokenizer(path)
    damages.require_one_line(caught, path, says)
    assert asked == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokenizer.model", b"half"),
        ("tokenizer.model", b""),
        ("alphabet.json", b'"half'),
        ("alphabet.json", b'"aba"'),
        ("alphabet.json", b"[1]"),
        ("alphabet.json", b"\xff"),
    ],
)
def test_a_damaged_file_of_ours_is_one_line_that_names_the_folder(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match="cannot read a tokenizer in") as caught:
        load_tokenizer(tmp_path)
    damages.require_one_line(caught, tmp_path, "")


def test_a_damaged_model_by_its_path_is_named(tmp_path):
    (tmp_path / "half.model").write_bytes(b"half")
    with pytest.raises(ValueError, match=r"half\.model: these 4 bytes are no sentencepiece model"):
        load_tokenizer(tmp_path / "half.model")


@pytest.mark.parametrize("kind", ["characters", "sentencepiece", "hugging face"])
def test_what_is_saved_in_a_folder_is_loaded_from_it(folder, tmp_path, kind):
    texts = ["the good film", "the bad film", "the dull film"]
    tokenizer = {
        "characters": lambda: CharacterTokenizer("abcdefghilmot "),
        "sentencepiece": lambda: train_tokenizer(texts, 275),
        "hugging face": lambda: load_tokenizer(folder),
    }[kind]()
    assert save_tokenizer(tokenizer, tmp_path)
    loaded = load_tokenizer(tmp_path)
    assert type(loaded) is type(tokenizer)
    assert loaded.encode(texts[0]) == tokenizer.encode(texts[0])


def test_what_cannot_be_saved_is_left_out(tmp_path):
    assert not save_tokenizer(SimpleNamespace(vocab_size=3), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_completion_may_hold_the_end_of_text_and_no_padding():
    legal = legal_ids(CharacterTokenizer("ab"))
    assert legal.tolist() == [False, False, True, True, True]
    assert isinstance(load_tokenizer(), SentencePieceTokenizer)


def test_an_alphabet_in_a_folder_is_json(tmp_path):
    (tmp_path / "alphabet.json").write_text(json.dumps("xyz"))
    assert load_tokenizer(tmp_path).alphabet == "xyz"
