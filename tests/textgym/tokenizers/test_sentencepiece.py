"""Text in, the same text out; and ids that cannot be confused."""

import pickle
import time

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from textgym.tokenizers import SentencePieceTokenizer, load_tokenizer, train_tokenizer

ADJECTIVES = ["good", "bad", "dull", "long", "fine"]
TEXTS = [f"the {word} film was {word} and {word}" for word in ADJECTIVES]


@pytest.fixture(scope="module")
def tiny():
    return train_tokenizer(TEXTS, vocab_size=280)


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


@given(st.text())
def test_sentencepieces_bytes_are_the_text(text):
    tokenizer = load_tokenizer("reviews-4096")
    assert text == b"".join(map(tokenizer.token_bytes, tokenizer.encode(text))).decode()


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


def test_marks_for_a_space_are_encoded_in_a_time_that_grows_with_the_text(tiny):
    """Not with its square: a line of 200,000 of them took minutes."""
    began = time.perf_counter()
    ids = tiny.encode("▁" * 200_000)
    assert len(ids) == 600_000
    assert time.perf_counter() - began < 20
    assert tiny.encode("a▁▁b▁") == [
        *tiny.encode("a"), *ids[:6], *tiny.encode("b"), *ids[:3]
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_a_vocabulary_that_the_texts_do_not_give_is_refused_with_one_that_they_give(kind):
    """What is named as possible is possible, and one more or less is not."""
    with pytest.raises(
        ValueError, match=r"5 texts do not give .* 5000: they give \d+ at most"
    ) as e:
        train_tokenizer(TEXTS, 5000, kind=kind)
    most = int(str(e.value).split("they give ")[1].split()[0])
    assert train_tokenizer(TEXTS, most, kind=kind).vocab_size == most
    with pytest.raises(ValueError, match="at most"):
        train_tokenizer(TEXTS, most + 1, kind=kind)
    with pytest.raises(ValueError, match=r"of 261: .* special ids alone are \d+;") as e:
        train_tokenizer(TEXTS, 261, kind=kind)
    least = int(str(e.value).split("alone are ")[1].split(";")[0])
    assert least == 4 + 256 + len(set("".join(TEXTS)))
