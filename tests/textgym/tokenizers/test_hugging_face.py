"""Transformers' tokenizers as states need them, and what each of their tokens writes in bytes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import ByteLevelBPETokenizer, Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from textgym.tokenizers import HuggingFaceTokenizer, load_tokenizer

END = "<|endoftext|>"
ADJECTIVES = ["good", "bad", "dull", "long", "fine"]
TEXTS = [f"the {word} film was {word} and {word}" for word in ADJECTIVES]


@pytest.fixture(scope="module")
def hugging_face(tmp_path_factory):
    """A byte-level tokenizer as GPT-2's, with an end-of-text token and no other special one."""
    backend = ByteLevelBPETokenizer()
    backend.train_from_iterator(TEXTS, vocab_size=290, special_tokens=[END])
    folder = tmp_path_factory.mktemp("hugging_face")
    PreTrainedTokenizerFast(tokenizer_object=backend._tokenizer, eos_token=END).save_pretrained(
        folder
    )
    return load_tokenizer(folder)


@pytest.fixture(scope="module")
def byte_level():
    backend = ByteLevelBPETokenizer()
    backend.train_from_iterator(["the été film", "the bad film"], 270, special_tokens=[END])
    fast = PreTrainedTokenizerFast(tokenizer_object=backend._tokenizer, eos_token=END)
    fast.add_tokens([" été né"])
    return HuggingFaceTokenizer(fast)


def byte_fallback(*steps):
    """A vocabulary as Llama's and Gemma's, whose decoders differ in their last step."""
    vocabulary = {END: 0, "a": 1, "▁": 2, "▁a": 3, "<0xC3>": 4, "<0xA9>": 5}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[("▁", "a")]))
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *steps]
    )
    return HuggingFaceTokenizer(PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=END))


def joined(tokenizer, ids):
    return b"".join(tokenizer.token_bytes(token) for token in ids).decode()


@given(st.text())
def test_a_byte_level_hugging_face_tokenizer_loses_no_text(hugging_face, text):
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
    endless = PreTrainedTokenizerFast(tokenizer_object=hugging_face._tokenizer.backend_tokenizer)
    with pytest.raises(ValueError, match="no end-of-text token"):
        HuggingFaceTokenizer(endless)


@given(st.text())
def test_a_byte_level_vocabularys_bytes_are_the_text(byte_level, text):
    assert text == joined(byte_level, byte_level.encode(text))


def test_every_byte_of_a_byte_level_vocabulary_is_a_token(byte_level):
    written = {byte_level.token_bytes(token) for token in range(byte_level.vocab_size)}
    assert {bytes([byte]) for byte in range(256)} <= written
    assert " été né".encode() in written
    assert byte_level.token_bytes(byte_level.eos_id) == b""


def test_a_byte_fallback_vocabulary_that_keeps_its_spaces():
    tokenizer = byte_fallback()
    assert [tokenizer.token_bytes(token) for token in range(tokenizer.vocab_size)] == [
        b"",
        b"a",
        b" ",
        b" a",
        b"\xc3",
        b"\xa9",
        b"",
    ]


def test_a_vocabulary_that_drops_the_first_space_is_refused():
    """Its tokens write one thing first and another later, so no automaton could follow them."""
    tokenizer = byte_fallback(decoders.Strip(" ", 1, 0))
    with pytest.raises(ValueError, match=r"writes token 3 \('▁a'\) as 'a' at the start"):
        tokenizer.token_bytes(3)


ROWS = st.lists(st.lists(st.integers(0, 265), min_size=12, max_size=12), min_size=9, max_size=9)


@given(ROWS, st.lists(st.integers(0, 12), min_size=9, max_size=9))
def test_rows_of_an_array_are_decoded_as_transformers_decodes_them(byte_level, rows, start):
    """Nine of them go by the bytes of each token; ids of broken characters are among them."""
    assert byte_level.vocab_size == 266
    assert byte_level._table is not None
    expected = byte_level.decode_batch([r[at:] for r, at in zip(rows, start, strict=True)])
    assert expected == byte_level.decode_rows(np.array(rows), np.array(start))


@pytest.mark.parametrize("count", [3, 20])
def test_rows_of_any_other_vocabulary_are_decoded_by_transformers(count):
    """Its first token may lose a space, which bytes of tokens cannot say."""
    tokenizer = byte_fallback(decoders.Strip(" ", 1, 0))
    assert tokenizer._table is None
    tokens = np.random.default_rng(count).integers(1, tokenizer.vocab_size, (count, 6))
    start = np.arange(count) % 6
    expected = [tokenizer.decode(row[at:].tolist()) for row, at in zip(tokens, start, strict=True)]
    assert expected == tokenizer.decode_rows(tokens, start)
    assert tokenizer.decode([3, 3]) == "a a"


def test_a_tokenizer_that_decodes_in_a_way_of_its_own_is_left_to_it(byte_level):
    class Shouting(PreTrainedTokenizerFast):
        def _decode(self, *ids, **settings):
            return super()._decode(*ids, **settings).upper()

    backend = byte_level._tokenizer.backend_tokenizer
    tokenizer = HuggingFaceTokenizer(Shouting(tokenizer_object=backend, eos_token=END))
    ids = tokenizer.encode("the film")
    rows = tokenizer.decode_rows(np.array([ids] * 9), np.zeros(9, dtype=np.int64))
    assert rows == ["THE FILM"] * 9
