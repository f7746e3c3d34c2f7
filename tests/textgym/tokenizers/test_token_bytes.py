"""What a token writes, in bytes: joined, they are the text that the tokens decode to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import ByteLevelBPETokenizer, Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from textgym.tokenizers import CharacterTokenizer, HuggingFaceTokenizer, load_tokenizer

END = "<|end|>"


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
def test_sentencepieces_bytes_are_the_text(text):
    tokenizer = load_tokenizer("reviews-4096")
    assert text == joined(tokenizer, tokenizer.encode(text))


def test_sentencepieces_byte_tokens_are_single_bytes():
    """A byte that is no character by itself is still the byte."""
    tokenizer = load_tokenizer("reviews-4096")
    assert [bytes([byte]) for byte in range(256)] == [
        tokenizer.token_bytes(token) for token in range(4, 260)
    ]


def test_every_other_piece_is_what_it_decodes_to():
    tokenizer = load_tokenizer("reviews-4096")
    for token in (*range(4), *range(260, tokenizer.vocab_size)):
        assert tokenizer.decode([token]).encode() == tokenizer.token_bytes(token)


def test_a_character_is_its_utf8():
    tokenizer = CharacterTokenizer("aé")
    assert [b"", b"", b"", b"a", "é".encode()] == [
        tokenizer.token_bytes(token) for token in range(5)
    ]
    with pytest.raises(IndexError, match="no id 5; the ids are 0 to 4"):
        tokenizer.token_bytes(5)


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
