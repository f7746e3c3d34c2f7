"""Text in, the same text out; and ids that cannot be confused."""

import pickle

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

import textgym
from textgym.tokenizers import (
    CharacterTokenizer,
    HuggingFaceTokenizer,
    SentencePieceTokenizer,
    load_tokenizer,
    train_tokenizer,
)

END = "<|endoftext|>"
ADJECTIVES = ["good", "bad", "dull", "long", "fine"]
TEXTS = [f"the {word} film was {word} and {word}" for word in ADJECTIVES]


@pytest.fixture(scope="module")
def tiny():
    return train_tokenizer(TEXTS, vocab_size=280)


@pytest.fixture(scope="module")
def hugging_face(tmp_path_factory):
    """A byte-level tokenizer as GPT-2's, with an end-of-text token and no other special one."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    backend = ByteLevelBPETokenizer()
    backend.train_from_iterator(TEXTS, vocab_size=290, special_tokens=[END])
    folder = tmp_path_factory.mktemp("hugging_face")
    PreTrainedTokenizerFast(tokenizer_object=backend._tokenizer, eos_token=END).save_pretrained(
        folder
    )
    return load_tokenizer(folder)


@given(st.text())
@example("")
@example(" ")
@example("  two  spaces\n\tand tabs ")
@example("a\0b")
@example("🎬 it's ﬁne, naïve café, 映画")
@example("▁ the mark that stands for a space ▁▁")
@example("<s></s><pad><unk> ⁇ <0x41>")
def test_sentencepiece_loses_no_text(text):
    """Byte fallback, no normalisation, no dummy prefix; the mark for a space travels as bytes."""
    tokenizer = load_tokenizer("reviews-4096")
    assert text == tokenizer.decode(tokenizer.encode(text))


@given(st.text(), st.text())
def test_decoding_is_concatenative(prompt, completion):
    """A completion is decoded apart from its prompt, so it must keep its leading space."""
    tokenizer = load_tokenizer("reviews-4096")
    ids = tokenizer.encode(prompt) + tokenizer.encode(completion)
    assert prompt + completion == tokenizer.decode(ids)


@given(st.lists(st.text(max_size=8), max_size=5))
def test_a_batch_is_encoded_and_decoded_as_its_rows(texts):
    tokenizer = load_tokenizer("reviews-4096")
    rows = tokenizer.encode_batch(texts)
    assert [tokenizer.encode(text) for text in texts] == rows
    assert texts == tokenizer.decode_batch(rows)


@given(st.lists(st.integers(0, 4095) | st.integers(4, 259), max_size=12))
@example([4 + byte for byte in b"\xed\xa0\x80"])
@example([4 + byte for byte in b"\xf0\x9f\x8e"])
@example([4 + byte for byte in b"\xc0\xaf\xe2\x82a\xff"])
def test_any_ids_are_decoded_as_sentencepiece_decodes_them(ids):
    """Bytes that are no character's included; from 4 on the first 256 ids are bytes."""
    tokenizer = load_tokenizer("reviews-4096")
    expected = tokenizer._processor.decode([token for token in ids if token > 3])
    assert expected == tokenizer.decode(ids)


@pytest.mark.parametrize("count", [1, 7, 40])
def test_rows_of_an_array_are_decoded_as_lists_are(count):
    """Bytes that are no text, special ids and empty rows are among them."""
    tokenizer = load_tokenizer()
    generator = np.random.default_rng(count)
    tokens = generator.integers(1, 4096, (count, 30))
    tokens[:, ::3] = generator.integers(1, 300, (count, 10))
    start, stop = generator.integers(0, 31, (2, count))
    stop[0] = start[0] = 30
    tokens[np.arange(30) >= stop[:, None]] = tokenizer.pad_id
    rows = zip(tokens.tolist(), start, stop, strict=True)
    expected = [tokenizer.decode(ids[begin:end]) for ids, begin, end in rows]
    assert expected == tokenizer.decode_rows(tokens, start)
    assert expected == tokenizer.decode_rows(tokens.astype(np.int32), start)


def test_a_batch_large_enough_for_threads_is_encoded_as_its_rows(tiny):
    texts = [f"the good film {number}▁" for number in range(2100)]
    rows = tiny.encode_batch(texts)
    assert [tiny.encode(text) for text in texts] == rows
    assert texts == tiny.decode_batch(rows)


@given(st.text())
def test_no_text_is_encoded_to_a_special_id(text):
    tokenizer = load_tokenizer("reviews-4096")
    special = {*tokenizer.forbidden_ids, tokenizer.eos_id, tokenizer.pad_id}
    assert not special & set(tokenizer.encode(text))


def test_special_ids_give_no_text(tiny):
    assert tiny.decode([1, 0, *tiny.encode("a"), 3, 2]) == "a"


def test_the_shipped_tokenizer_is_what_it_is_said_to_be():
    tokenizer = textgym.load_tokenizer()
    assert tokenizer.vocab_size == 4096
    assert (tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id) == (0, 1, 2)
    assert tokenizer.forbidden_ids == (0, 1, 3)


def test_training_twice_gives_the_same_bytes(tiny):
    again = train_tokenizer(iter(TEXTS), vocab_size=280)
    assert tiny.model == again.model
    assert again.vocab_size == 280


def test_a_choice_of_texts_depends_on_the_seed_alone():
    corpus = [f"{text} {number}" for text in TEXTS for number in range(20)]
    models = [
        train_tokenizer(corpus, vocab_size=288, max_texts=20, seed=seed).model for seed in (0, 0, 1)
    ]
    assert models[0] == models[1]
    assert models[0] != models[2]


def test_texts_longer_than_sentencepieces_limit_are_not_left_out():
    """sentencepiece silently skips texts of more than 4,192 bytes unless told otherwise."""
    tokenizer = train_tokenizer([" zebra" * 1000, *TEXTS], vocab_size=283)
    assert len(tokenizer.encode(" zebra")) < 3


def test_too_little_text_for_a_vocabulary_says_so():
    with pytest.raises(ValueError, match="5 texts do not give a vocabulary of 5000"):
        train_tokenizer(TEXTS, vocab_size=5000)
    with pytest.raises(ValueError, match="no text to train"):
        train_tokenizer(["", " "])


def test_a_tokenizer_is_saved_loaded_and_pickled(tiny, tmp_path):
    tiny.save(tmp_path / "tiny.model")
    for copy in (load_tokenizer(tmp_path / "tiny.model"), pickle.loads(pickle.dumps(tiny))):  # noqa: S301
        assert tiny.model == copy.model
        assert tiny.encode(TEXTS[0]) == copy.encode(TEXTS[0])


def test_bytes_that_are_no_model_are_refused():
    with pytest.raises(ValueError, match="no sentencepiece model"):
        SentencePieceTokenizer(b"not a model")


def test_a_model_that_would_lose_text_is_refused(tmp_path):
    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS),
        model_prefix=str(tmp_path / "plain"),
        vocab_size=25,
        pad_id=0,
        bos_id=1,
        eos_id=2,
        unk_id=3,
        minloglevel=2,
    )
    with pytest.raises(ValueError, match="no byte fallback"):
        load_tokenizer(tmp_path / "plain.model")


@pytest.mark.parametrize("name", ["reviews-4069", "bert-base-uncased", "/no/such/file"])
def test_an_unknown_name_lists_the_known_ones(name):
    with pytest.raises(
        ValueError, match=r"unknown tokenizer .*characters:<alphabet>, reviews-4096"
    ):
        load_tokenizer(name)


def test_characters_are_their_places_in_the_alphabet():
    tokenizer = load_tokenizer("characters:xyz")
    assert isinstance(tokenizer, CharacterTokenizer)
    assert tokenizer.encode("zxy") == [5, 3, 4]
    assert tokenizer.decode([1, 5, 3, 4, 2, 0]) == "zxy"
    assert tokenizer.vocab_size == 6


def test_a_foreign_character_is_an_error():
    with pytest.raises(ValueError, match=r"'q' in 'xq' is not in the alphabet 'xyz'"):
        CharacterTokenizer("xyz").encode("xq")


@pytest.mark.parametrize("alphabet", ["", "aba", {"a": 1}])
def test_an_alphabet_is_a_set(alphabet):
    with pytest.raises(ValueError, match="different characters"):
        CharacterTokenizer(alphabet)


@given(st.text())
def test_a_byte_level_hugging_face_tokenizer_loses_no_text(hugging_face, text):
    """But for the spelling of the end of text, which is read as that: chats are written by it."""
    assume("<|endoftext|>" not in text)
    assert text == hugging_face.decode(hugging_face.encode(text))


def test_a_hugging_face_tokenizer_without_padding_gets_one_more_id(hugging_face):
    """A pad that is the end of text, as everybody sets it for GPT-2, could not be told from it."""
    assert isinstance(hugging_face, HuggingFaceTokenizer)
    assert hugging_face.vocab_size - 1 == hugging_face.pad_id
    assert hugging_face.eos_id == hugging_face.bos_id
    assert (hugging_face.pad_id,) == hugging_face.forbidden_ids
    assert hugging_face.decode([hugging_face.eos_id, *hugging_face.encode("a")]) == "a"


def test_a_hugging_face_tokenizer_is_saved_and_loaded(hugging_face, tmp_path):
    hugging_face.save(tmp_path)
    assert hugging_face.encode(TEXTS[0]) == load_tokenizer(tmp_path).encode(TEXTS[0])


def test_a_hugging_face_tokenizer_without_an_end_is_refused(hugging_face):
    from transformers import PreTrainedTokenizerFast

    endless = PreTrainedTokenizerFast(tokenizer_object=hugging_face._tokenizer.backend_tokenizer)
    with pytest.raises(ValueError, match="no end-of-text token"):
        HuggingFaceTokenizer(endless)
