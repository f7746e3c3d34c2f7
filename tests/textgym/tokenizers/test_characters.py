"""An alphabet's characters are its ids, and nothing else is."""

import pytest

from textgym.tokenizers import CharacterTokenizer, load_tokenizer


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


def test_a_character_is_its_utf8():
    tokenizer = CharacterTokenizer("aé")
    assert [b"", b"", b"", b"a", "é".encode()] == [
        tokenizer.token_bytes(token) for token in range(5)
    ]
    with pytest.raises(IndexError, match="no id 5; the ids are 0 to 4"):
        tokenizer.token_bytes(5)
