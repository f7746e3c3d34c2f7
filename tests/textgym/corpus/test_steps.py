# ruff: noqa: RUF001 - the characters that look like others are what is tested
"""Each step by itself: what it changes, what it leaves, and what a wrong word says."""

import unicodedata

import pytest

from textgym.corpus import filters, noise, privacy, repairs, words
from textgym.corpus.records import Record
from textgym.corpus.steps import COMPARING, DEFAULT_STEPS, STEPS, make_step, require_steps

PLAIN = "She said: “a < b”, then 3 > 2 & more… naïve café, ½ — ﬁne."


@pytest.mark.parametrize(
    "mend",
    [
        repairs.without_mojibake,
        repairs.composed,
        repairs.spaced,
        noise.without_markup,
        noise.without_controls,
        noise.without_boilerplate,
        noise.without_addresses,
        privacy.masked,
    ],
)
def test_what_is_right_stays_to_the_letter(mend):
    assert mend(PLAIN) == PLAIN


@pytest.mark.parametrize(
    ("text", "mended"),
    [
        ("cafÃ©", "café"),
        ("It canâ€™t be", "It can’t be"),
        ("FaÃ§ade and naÃ¯ve, twice: Ã©", "Façade and naïve, twice: é"),
        ("half a pair \ud83d.", "half a pair \ufffd."),
    ],
)
def test_mojibake_is_mended(text, mended):
    assert repairs.without_mojibake(text) == mended


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("one<br />two", "one\ntwo"),
        ("<b>bold</b> and <i class='x'>slanted</i>", "bold and slanted"),
        ("a<script>if (a < b) {}</script>b", "ab"),
        ("<style>p {}</style>seen<!-- not seen -->", "seen"),
        ("&lt;tag&gt; &amp; &#233;&#xe9;", "<tag> & éé"),
        ("x <- y, List<String> and a<b", "x <- y, List<String> and a<b"),
        ("<p>first</p><p>second</p>", "\nfirst\n\nsecond\n"),
        ("&nosuchentity; stays", "&nosuchentity; stays"),
    ],
)
def test_markup_is_read_as_a_page_shows_it(text, shown):
    assert noise.without_markup(text) == shown


def test_controls_go_and_lines_stay():
    assert noise.without_controls("a\x00b\x07\tc\n\x85\u202ed\ufeff") == "ab\tc\nd"


def test_controls_are_unicode_s_category():
    marks = set(map(chr, [0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFEFF]))
    for character in map(chr, range(0x110000)):
        is_control = unicodedata.category(character) == "Cc" and character not in "\n\t\r"
        if is_control or character in marks:
            assert noise.without_controls(f"a{character}b") == "ab"
        elif ord(character) < 0x3000:
            assert noise.without_controls(f"a{character}b") == f"a{character}b"


def test_lines_of_page_furniture_go_and_sentences_about_it_stay():
    page = (
        "The film\nShare on Facebook\n© 2019 A Studio. All rights reserved.\nSubscribe now\nends."
    )
    assert noise.without_boilerplate(page) == "The film\nends."
    about = "I had to subscribe now and then.\nThe privacy policy bored me."
    assert noise.without_boilerplate(about) == about


def test_addresses_go_with_what_is_around_them():
    text = "See https://example.org/a?b=1, or (www.example.com). E.g. www is a word."
    assert noise.without_addresses(text) == "See , or . E.g. www is a word."
    assert noise.without_addresses("http://a.de", by=r"\1") == r"\1"


@pytest.mark.parametrize(
    ("text", "mask"),
    [
        ("write to ann.lee+x@mail.example.org.", "write to [EMAIL]."),
        ("card 4539 1488 0343 6467 ok", "card [CARD] ok"),
        ("card 4539 1488 0343 6468 ok", "card 4539 1488 0343 6468 ok"),
        ("pay DE89 3704 0044 0532 0130 00 now", "pay [ACCOUNT] now"),
        ("pay DE88 3704 0044 0532 0130 00 now", "pay DE88 3704 0044 0532 0130 00 now"),
        ("from 192.168.0.17, not 999.1.1.1 or 1.2.3", "from [IP], not 999.1.1.1 or 1.2.3"),
        ("call +49 30 1234567 or (555) 123-4567", "call [PHONE] or [PHONE]"),
        ("in 1999 of 12345678 people", "in 1999 of 12345678 people"),
    ],
)
def test_personal_data_is_masked_where_it_is_some(text, mask):
    assert privacy.masked(text) == mask


def test_lengths_are_of_words():
    assert filters.out_of_length(" \n ") == "empty"
    assert filters.out_of_length("a b", least=3) == "fewer than 3 words"
    assert filters.out_of_length("a b c", least=3, most=3) == ""
    assert filters.out_of_length("a b c d", least=3, most=3) == "more than 3 words"


def test_repetition_is_a_share_of_runs_and_of_lines():
    assert filters.repetitive("a b c d e f g") == ""
    # 12 words have 9 runs of four; of "a b c" again and again, 3 are different.
    again = "a b c " * 4
    assert filters.repetitive(again, most=0.67) == ""
    assert filters.repetitive(again, most=0.66).startswith("more than 0.66 of the runs")
    lines = "one\ntwo\nthree\none"
    assert filters.repetitive(lines, most=0.25) == ""
    assert filters.repetitive(lines, most=0.24) == "more than 0.24 of the lines are repeated"


def test_languages_are_told_apart():
    german = "Das ist ein sehr schöner Film über einen alten Mann."
    assert filters.foreign("This is a very fine film about an old man.") == ""
    assert filters.foreign(german) == "in de"
    assert filters.foreign(german, keep="en,de") == ""
    assert filters.foreign("Ja, sehr gut") == ""  # too few words to tell


def test_words_of_a_text():
    pytest.importorskip("spacy")
    assert words.sentences("He left. Who came! Why?") == ["He left.", "Who came!", "Why?"]
    assert words.words("I don't\n know.") == ["I", "do", "n't", "know", "."]
    assert words.without_stop_words("The film was not what I hoped for") == "film hoped"
    assert words.keywords("The cast, and the sound-track of it", among="sound track,plot,cast") == [
        "sound track",
        "cast",
    ]
    found = words.keywords("A thriller about a lighthouse. The lighthouse burns.", most=2)
    assert len(found) == 2
    assert any("lighthouse" in phrase for phrase in found)


@pytest.mark.parametrize("name", STEPS)
def test_every_step_says_what_it_did(name):
    record = Record(text=PLAIN, source="s", columns={"a": 1})
    result, reason = make_step(name)(record)
    if result is None:
        assert reason
    elif result is record:
        assert reason == ""
    else:
        assert reason
        assert result.columns["a"] == 1
        assert result.source == "s"


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("repairs", r"unknown step 'repairs'.*repair"),
        ("length?last=3", "the step length has no setting 'last'; it has: least, most"),
        ("length?least=few", "length.least must be a whole number of at least 0, got 'few'"),
        ("length?least=-1", "length.least must be a whole number of at least 0, got '-1'"),
        ("repetition?most=nan", r"repetition.most must be a share, in \[0, 1\], got 'nan'"),
        ("length?least", "the step 'length.least' is written length.setting=value"),
        ("length?least=5&least=6", "each setting once"),
        ("repair?x=1", "the step repair has no setting 'x'; it has: none"),
        ("near?threshold=2", r"near.threshold=2: threshold must be in \(0, 1\], got 2.0"),
        ("near?threshold=much", "near.threshold=much"),
        ("exact?threshold=1", "the step exact has no setting 'threshold'"),
    ],
)
def test_a_wrong_word_is_told(word, said):
    with pytest.raises(ValueError, match=said):
        require_steps((word,))


def test_the_defaults_keep_what_writing_needs():
    require_steps(DEFAULT_STEPS)
    assert "stopwords" not in DEFAULT_STEPS
    assert set(DEFAULT_STEPS) <= {*STEPS, *COMPARING}
