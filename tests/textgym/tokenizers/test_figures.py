"""Figures of a tokenizer, counted by hand."""

import pytest

from textgym.tokenizers import CharacterTokenizer, load_tokenizer
from textgym.tokenizers.figures import measure_tokenizer


class Words:
    """A token a word; what is not known is 3, and comes back as a question mark."""

    unknown_id = 3
    names = ("", "", "", "?", "a", "b", "c")

    def encode_batch(self, texts):
        return [self.encode(text) for text in texts]

    def encode(self, text):
        known = {name: n for n, name in enumerate(self.names) if n > 3}
        return [known.get(word, 3) for word in text.split()]

    def decode(self, ids):
        return " ".join(self.names[token] for token in ids)


def test_counts_and_groups_are_what_a_hand_counts():
    texts = [("a b c", "en"), ("a  b", "en"), ("a x y b", "de")]
    found = measure_tokenizer(Words(), texts)
    assert list(found) == ["", "de", "en"]
    everything = found[""]
    assert (everything.texts, everything.words, everything.tokens) == (3, 9, 9)
    assert (everything.unknown, everything.returned) == (2, 1)
    assert everything.characters == 5 + 4 + 7
    assert everything.unknown_share == pytest.approx(2 / 9)
    assert everything.round_trip_share == pytest.approx(1 / 3)
    assert found["de"].unknown_share == pytest.approx(1 / 2)
    assert found["en"].round_trip_share == pytest.approx(1 / 2)
    assert everything.as_json()["tokens_a_word"] == pytest.approx(1)


def test_a_text_that_is_refused_is_counted_and_the_others_are_measured():
    found = measure_tokenizer(CharacterTokenizer("ab"), [("ab", ""), ("xyz", ""), ("b a", "")])[""]
    assert (found.texts, found.refused, found.returned) == (3, 2, 1)
    assert (found.tokens, found.words) == (2, 1)


def test_byte_fallback_knows_everything_and_pays_for_it():
    """Four bytes each, which the shipped vocabulary of English does not have as pieces."""
    found = measure_tokenizer(load_tokenizer(), [("🎬🎬", "")])[""]
    assert found.tokens == 8
    assert (found.unknown_share, found.round_trip_share) == (0, 1)
