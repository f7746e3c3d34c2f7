"""How an episode looks in a terminal."""

import re

from hypothesis import given
from hypothesis import strategies as st

from textgym.rendering.spans import Span, Style, edit_spans, text_spans, to_ansi

RED, GREEN, BRIGHT, DIM, PLAIN = "\x1b[31;9m", "\x1b[32m", "\x1b[1m", "\x1b[2m", "\x1b[0m"


def test_the_prompt_is_dim_the_completion_bright_and_the_score_last():
    assert to_ansi(text_spans("A", " b", None)) == "\x1b[2mA\x1b[0m\x1b[1m b\x1b[0m"
    assert to_ansi(text_spans("A", " b", -0.5)) == "\x1b[2mA\x1b[0m\x1b[1m b\x1b[0m [-0.500]"


def test_a_text_cannot_command_the_terminal():
    """A sampled escape sequence could otherwise clear the screen or retitle the window."""
    frame = to_ansi(text_spans("\x1b[2J", "\x07\r", None))
    assert frame == "\x1b[2m\\x1b[2J\x1b[0m\x1b[1m\\x07\\r\x1b[0m"


def test_an_edit_cannot_command_the_terminal_either():
    """Each of its parts is a sampled text too, also where an edit cuts a sequence in two."""
    frame = to_ansi(edit_spans("\x9bm", "\x1b[1J", "\x1b[2J", None))
    shown = re.sub("|".join(map(re.escape, (RED, GREEN, BRIGHT, DIM, PLAIN))), "", frame)
    assert shown == "\\x9bm\\x1b[12J"


def test_letters_of_any_script_and_line_breaks_are_shown():
    assert to_ansi(text_spans("é映", "\n🎬", None)) == "\x1b[2mé映\x1b[0m\x1b[1m\n🎬\x1b[0m"


def test_an_edit_shows_what_went_and_what_came():
    """Both styles are off again before the text that stays."""
    assert to_ansi(edit_spans("I say:", " a dull film", " a good film", 0.25)) == (
        f"{DIM}I say:{PLAIN}{BRIGHT} a {PLAIN}{RED}dull{PLAIN}{GREEN}good{PLAIN}"
        f"{BRIGHT} film{PLAIN} [+0.250]"
    )


def test_what_is_only_removed_or_only_inserted_stands_alone():
    assert to_ansi(edit_spans("", "abc", "ac", None)) == (
        f"{DIM}{PLAIN}{BRIGHT}a{PLAIN}{RED}b{PLAIN}{BRIGHT}c{PLAIN}"
    )
    assert to_ansi(edit_spans("", "ac", "abc", None)) == (
        f"{DIM}{PLAIN}{BRIGHT}a{PLAIN}{GREEN}b{PLAIN}{BRIGHT}c{PLAIN}"
    )


def test_a_doubled_letter_is_one_insertion():
    """Beginning and end of "aa" and "aaa" overlap, so they must not both claim the same letter."""
    spans = edit_spans("", "aa", "aaa", None)
    assert [Span(text="aa", style=Style.COMPLETION), Span(text="a", style=Style.INSERTED)] == (
        spans[1:]
    )


def test_no_edit_looks_as_the_text_itself():
    assert text_spans("A", " b", 1.0) == edit_spans("A", " b", " b", 1.0)


@given(before=st.text("ab ", max_size=8), after=st.text("ab ", max_size=8))
def test_an_edit_can_be_read_back(before, after):
    """Without the insertions it is the text before, without the removals the text after."""
    spans = edit_spans("", before, after, None)[1:]
    assert before == "".join(s.text for s in spans if s.style is not Style.INSERTED)
    assert after == "".join(s.text for s in spans if s.style is not Style.REMOVED)


@given(
    before=st.text("ab ", min_size=1, max_size=8),
    place=st.integers(0, 7),
    letter=st.sampled_from("xy"),
)
def test_no_more_is_marked_than_was_edited(before, place, letter):
    """One letter is replaced by one that is nowhere else, so one of each is marked."""
    place %= len(before)
    spans = edit_spans("", before, before[:place] + letter + before[place + 1 :], None)
    assert [before[place]] == [s.text for s in spans if s.style is Style.REMOVED]
    assert [letter] == [s.text for s in spans if s.style is Style.INSERTED]
