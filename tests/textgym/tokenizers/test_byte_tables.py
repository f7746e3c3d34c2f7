"""Bytes are joined and read as the tokenizers themselves do it."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from textgym.tokenizers.byte_tables import (
    EACH_BYTE,
    ByteTable,
    byte_level_bytes,
    spell_byte,
    spelled_byte,
)

BYTES = [bytes([byte]) for byte in range(256)]


def marked(rest):
    """The same by a loop: a mark for each byte that is no character's."""
    text = ""
    while True:
        try:
            return text + rest.decode()
        except UnicodeDecodeError as error:
            text += rest[: error.start].decode() + "\N{REPLACEMENT CHARACTER}" * (
                error.end - error.start
            )
            rest = rest[error.end :]


@given(st.binary(max_size=12) | st.text(max_size=6).map(lambda text: text.encode()[:-1]))
@example(b"\xed\xa0\x80")
@example(b"\xf0\x9f\x8ea\xf0\x9f")
@example(b"\xc0\xaf\xe2\x82a\xff")
def test_every_byte_that_is_no_character_s_gets_a_mark(content):
    assert marked(content) == content.decode(errors=EACH_BYTE)


def test_the_handler_is_for_decoding():
    with pytest.raises(UnicodeEncodeError):
        "\ud800".encode(errors=EACH_BYTE)


@pytest.mark.parametrize("count", [1, 8, 9, 130])
@pytest.mark.parametrize("errors", [EACH_BYTE, "replace"])
def test_rows_are_decoded_as_texts_are(count, errors):
    table = ByteTable([b"", *BYTES], silent=0, errors=errors)
    generator = np.random.default_rng(count)
    tokens = generator.integers(0, 257, (count, 10))
    start = generator.integers(0, 11, count)
    expected = [
        b"".join(BYTES[token - 1] for token in row[at:] if token).decode(errors=errors)
        for row, at in zip(tokens.tolist(), start, strict=True)
    ]
    assert expected == table.rows(tokens, start)
    assert expected == [
        table.text(row[at:].tolist()) for row, at in zip(tokens, start, strict=True)
    ]


def test_a_byte_is_spelled_and_read_again():
    assert spell_byte(10) == "<0x0A>"
    assert [spelled_byte(spell_byte(byte)) for byte in range(256)] == BYTES
    assert [spelled_byte(piece) for piece in ("<0x0a>", "0x0A", "<0x0A> ", "a")] == [None] * 4


def test_the_alphabet_of_byte_level_spellings_is_the_library_s():
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    assert sorted(map(byte_level_bytes, alphabet)) == BYTES
    written = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    for text in ("a", " ", "\n", "é", "\x7f", "\xad", "映"):
        ((piece, _),) = written.pre_tokenize_str(text)
        assert byte_level_bytes(piece) == text.encode()
    assert byte_level_bytes("é 映") == "é 映".encode()  # an added token's own text
