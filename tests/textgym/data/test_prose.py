"""Running text: read from a file, cut into passages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgym.data.prose import LONGEST_WORD, file_state, key_of, load_topics, passages, read_text


def test_a_file_is_read_with_or_without_a_byte_order_mark(tmp_path):
    for mark in (b"", b"\xef\xbb\xbf"):
        (tmp_path / "goats.txt").write_bytes(mark + "chèvres\r\n".encode())
        assert read_text(tmp_path / "goats.txt") == "chèvres\r\n"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_an_encoding_that_a_byte_order_mark_names_is_read(encoding, tmp_path):
    path = tmp_path / "goats.txt"
    path.write_bytes("chèvres\n".encode(encoding))
    assert read_text(path) == "chèvres\n"
    path.write_bytes("chèvres\n".encode(encoding)[:-1])
    with pytest.raises(ValueError, match=f"is not {encoding.upper()}"):
        read_text(path)


@pytest.mark.parametrize(
    ("data", "byte", "offset"),
    [
        (b"goats \xff and sheep", "ff", 6),
        ("chèvres".encode("latin-1"), "e8", 2),
        (b"half a pair: \xed\xa0\x80", "ed", 13),
        (b"\xef\xbb\xbfgoats\xc3", "c3", 8),
    ],
)
def test_what_is_no_utf_8_is_named_with_its_byte(data, byte, offset, tmp_path):
    path = tmp_path / "goats.txt"
    path.write_bytes(data)
    with pytest.raises(
        ValueError, match=f"goats.txt is not UTF-8: byte 0x{byte} at offset {offset};"
    ) as caught:
        read_text(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_was_written_anew_has_another_state(tmp_path):
    path = tmp_path / "goats.txt"
    assert file_state(path) == ()
    path.write_text("goats")
    before = file_state(path)
    assert file_state(str(path)) == before
    path.write_text("sheep!")
    assert file_state(path) != before


def test_what_is_no_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.txt does not exist"):
        read_text(tmp_path / "nowhere.txt")
    with pytest.raises(ValueError, match="is a folder; give the path of a file"):
        read_text(tmp_path)


@pytest.mark.parametrize(
    ("text", "unit", "wanted"),
    [
        ("a b\nc\n\nd", "paragraph", [["a", "b", "c"], ["d"]]),
        ("a b\nc\n\nd", "line", [["a", "b"], ["c"], ["d"]]),
        ("a\r\n \r\nb\rc", "paragraph", [["a"], ["b", "c"]]),
        ("a\0b \0\0 c\x07", "paragraph", [["a", "b", "c"]]),
        ("", "paragraph", []),
        ("\0\n\n \n", "line", []),
        ("a " + "x" * LONGEST_WORD, "line", [["a", "x" * LONGEST_WORD]]),
        ("a " + "x" * (LONGEST_WORD + 1) + " b", "line", [["a"], ["b"]]),
    ],
)
def test_a_text_is_cut_into_passages(text, unit, wanted):
    assert list(passages(text, unit)) == wanted


@given(st.text(), st.sampled_from(["paragraph", "line"]))
def test_no_passage_is_empty_and_no_word_is_made_up(text, unit):
    for passage in passages(text, unit):
        assert passage
        assert all(word in text for word in passage)


def test_a_megabyte_in_one_line_is_one_passage():
    (passage,) = passages("goats " * 200_000, "line")
    assert len(passage) == 200_000


def test_an_unknown_unit_lists_the_known_ones():
    with pytest.raises(ValueError, match="'page' of passages; known: paragraph, line"):
        list(passages("a", "page"))


def test_the_manual_has_its_prose():
    paragraphs = load_topics()
    assert len(paragraphs) > 500
    assert len(set(paragraphs)) == len(paragraphs)
    for paragraph in paragraphs:
        assert paragraph == " ".join(paragraph.split())
        assert not paragraph.startswith((">>>", "*", "|", "::="))


@pytest.mark.parametrize(
    ("paragraph", "wanted"),
    [
        ("What is *stressed* or **very\nmuch** so.", ["What is stressed or very much so."]),
        ('What "**goats" and "**" mean is code.', ['What "**goats" and "**" mean is code.']),
        ("Two goats * three sheep * four.", ["Two goats * three sheep * four."]),
        ("   indented = code(1)", []),
        ("Note:", []),
        ("* A list of goats and sheep.", []),
        ("stmt ::= 'goat' [1] { '(' ')' }", []),
    ],
)
def test_of_the_manual_the_prose_is_kept_without_its_stars(paragraph, wanted, monkeypatch):
    monkeypatch.setattr("pydoc_data.topics.topics", {"goats": f"Goats\n*****\n\n{paragraph}\n"})
    load_topics.cache_clear()
    try:
        assert list(load_topics()) == wanted
    finally:
        load_topics.cache_clear()


def test_what_two_texts_share_is_letters_and_digits_of_any_language():
    text = "".join(f"a{chr(n)}" for n in range(0x110000) if not 0xD800 <= n < 0xE000)
    words = "".join(each if each.isalnum() else " " for each in text.casefold()).split()
    assert key_of(text) == " ".join(words)
    assert key_of("?!") == "?!"
