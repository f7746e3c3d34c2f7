"""What we train is an ordinary tokenizer of transformers, and says the same ids there."""

import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from textgym.tokenizers import HuggingFaceTokenizer, load_tokenizer, train_tokenizer
from textgym.tokenizers.conversion import as_fast_tokenizer, save_as_fast

TEXTS = [
    f"the {word} film was {word}er than the {word}est of the older films, and so on and on"
    for word in ("long", "dull", "fine", "kind", "warm", "cold")
]
KINDS = ("unigram", "bpe")


@pytest.fixture(scope="module", params=KINDS)
def pair(request):
    """One of sentencepiece's, which is the independent implementation, and what it became."""
    trained = train_tokenizer(TEXTS, 295, kind=request.param)
    return trained, HuggingFaceTokenizer(as_fast_tokenizer(trained, request.param))


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=20) | st.text("the filmsw<0x41>▁ é🎬\n", max_size=40))
@example("")
@example("a <unk> b")
@example("  two  spaces\n\tand tabs ")
@example("the older films, and so on <0x41> <0xFF>")
@example("▁ the mark that stands for a space ▁▁")
@example("<s></s><pad> <0x4z>")
def test_ids_are_sentencepiece_s_and_no_text_is_lost(pair, text):
    trained, fast = pair
    assert fast.encode(text) == trained.encode(text)
    assert fast.decode(fast.encode(text)) == text


def test_special_ids_are_distinct_and_no_token_writes_them(pair):
    trained, fast = pair
    ids = [fast.pad_id, fast.bos_id, fast.eos_id, fast.unknown_id]
    assert ids == [trained.pad_id, trained.bos_id, trained.eos_id, 3]
    assert fast.vocab_size == trained.vocab_size
    assert {fast.token_bytes(token) for token in ids} == {b""}
    written = [fast.token_bytes(token) for token in range(fast.vocab_size)]
    assert written == [trained.token_bytes(token) for token in range(fast.vocab_size)]


@pytest.mark.parametrize("kind", KINDS)
def test_transformers_opens_the_folder_and_so_do_we(kind, tmp_path):
    trained = train_tokenizer(TEXTS, 295, kind=kind)
    save_as_fast(trained, kind, tmp_path)
    ordinary = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    text = "the warmest film <0x41> ▁"
    assert ordinary(text)["input_ids"] == [1, *trained.encode(text)]
    assert ordinary.decode(ordinary(text)["input_ids"], skip_special_tokens=True) == text
    assert (ordinary.pad_token_id, ordinary.bos_token_id, ordinary.eos_token_id) == (0, 1, 2)
    assert load_tokenizer(tmp_path).encode(text) == trained.encode(text)


def test_many_merges_come_in_the_order_in_which_they_were_found():
    """Of words from few syllables, where one piece can be made in several ways."""
    syllables = ("ba", "ab", "na", "an", "ban", "nab", "aba", "ana")
    rng = random.Random(0)  # noqa: S311 - words, no secret
    words = ["".join(rng.choices(syllables, k=4)) for _ in range(2000)]
    trained = train_tokenizer(
        [" ".join(words[n : n + 20]) for n in range(0, 2000, 20)], 500, kind="bpe"
    )
    fast = HuggingFaceTokenizer(as_fast_tokenizer(trained, "bpe"))
    assert [fast.encode(word) for word in words] == [trained.encode(word) for word in words]
