"""Pictures of texts: claims about size, place and brightness, for glyphs differ between Pillows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textgym.rendering.pictures import render_rgb
from textgym.rendering.spans import Span, Style, edit_spans, text_spans


def lit(picture):
    """Where something is drawn: whatever is not the colour of the lower right corner."""
    return (picture != picture[-1, -1]).any(axis=2)


def brightness(spans):
    """The brightest pixel of a text that is drawn alone."""
    picture = render_rgb([spans])
    return int(picture.sum(axis=2).max())


def rows_of_text(picture):
    """How many lines of text there are: runs of rows of pixels with something in them."""
    used = lit(picture).any(axis=1).astype(int)
    return int((np.diff(used, prepend=0) == 1).sum())


def test_a_picture_has_the_size_that_a_video_wants():
    picture = render_rgb([text_spans("The film", " was good.", None)])
    assert picture.shape == (360, 640, 3)
    assert picture.dtype == np.uint8
    assert render_rgb([], width=100, height=80).shape == (80, 100, 3)


def test_the_same_spans_give_the_same_picture_which_is_the_caller_s_own():
    spans = text_spans("The film", " was good.", 0.5)
    first, second = render_rgb([spans]), render_rgb([spans])
    np.testing.assert_array_equal(first, second)
    first[:] = 0
    np.testing.assert_array_equal(second, render_rgb([spans]))


def test_the_prompt_is_dimmer_than_the_completion():
    prompt, completion = text_spans("HHH", "HHH", None)
    assert brightness([prompt]) < 0.7 * brightness([completion])


def test_removed_is_red_and_struck_through_and_inserted_is_green():
    removed, inserted = (
        render_rgb([[Span(text="mmmm", style=style)]]) for style in (Style.REMOVED, Style.INSERTED)
    )
    for picture, strong, weak in ((removed, 0, 1), (inserted, 1, 0)):
        ink = picture[lit(picture)].astype(int)
        assert ink[:, strong].max() > ink[:, weak].max() + 50
    # A full line of pixels runs through the letters, from the first to the last of them.
    across = lit(removed).any(axis=0).sum()
    assert lit(removed).sum(axis=1).max() == across
    assert lit(inserted).sum(axis=1).max() < across


def test_a_removed_space_is_seen_too():
    assert lit(render_rgb([[Span(text="   ", style=Style.REMOVED)]])).any()
    assert not lit(render_rgb([[Span(text="   ", style=Style.INSERTED)]])).any()


def test_every_part_is_in_the_picture():
    """Taking the score, a letter or the edit away gives another picture."""
    pictures = [
        render_rgb([spans])
        for spans in (
            text_spans("A", "b", None),
            text_spans("A", "b", 0.5),
            text_spans("A", "b", -0.5),
            text_spans("A", "bc", 0.5),
            edit_spans("A", "bx", "bc", 0.5),
        )
    ]
    assert len({picture.tobytes() for picture in pictures}) == 5


def test_long_texts_are_wrapped_between_words():
    """No word is cut: fewer letters fit in a row when the words are long."""
    spans = text_spans("", "mmmmmmm " * 12, None)
    picture = render_rgb([spans], width=300)
    assert rows_of_text(picture) > 1
    for top in range(12, 12 + 22 * rows_of_text(picture), 22):
        columns = lit(picture)[top : top + 22].any(axis=0)
        # Seven letters of 12 pixels or so each, so many words and nothing of another.
        words = np.flatnonzero(np.diff(columns.astype(int), prepend=0, append=0) == 1)
        assert len(words) % 7 == 0


def test_a_word_that_two_spans_share_is_not_torn_apart():
    """A prompt often ends within a word; the wrap must not show where."""
    filler = Span(text="m" * 14 + " ", style=Style.COMPLETION)
    whole = [filler, Span(text="mmmmmm", style=Style.COMPLETION)]
    shared = [filler, *(Span(text="mmm", style=Style.COMPLETION) for _ in range(2))]
    expected, actual = render_rgb([whole], width=280), render_rgb([shared], width=280)
    assert rows_of_text(expected) == 2
    assert rows_of_text(actual) == 2
    assert abs(int(lit(expected).sum()) - int(lit(actual).sum())) < 20


def test_line_breaks_and_lines_start_below():
    assert rows_of_text(render_rgb([text_spans("a", "\nb\nc", None)])) == 3
    assert rows_of_text(render_rgb([text_spans("a", "", None), text_spans("b", "", None)])) == 2


def test_what_does_not_fit_leaves_at_the_top():
    """The end of a text and its score are what a viewer waits for."""
    lines = [f"{number} mm" for number in range(40)]
    long, end = (
        render_rgb([[Span(text=text, style=Style.COMPLETION)] for text in texts])
        for texts in (lines, lines[-15:])
    )
    np.testing.assert_array_equal(end, long)


@settings(max_examples=40, deadline=None)
@given(
    prompt=st.text(max_size=40),
    completion=st.text(max_size=40) | st.text("mW \n", max_size=200),
    size=st.tuples(st.integers(46, 200), st.integers(46, 120)),
)
def test_any_text_fits_in_any_picture(prompt, completion, size):
    """Nothing is drawn on the margin below, and nothing but a hair's breadth at the right."""
    width, height = size
    picture = render_rgb([text_spans(prompt, completion, 0.0)], width=width, height=height)
    assert picture.shape == (height, width, 3)
    assert not lit(picture)[-4:].any()
    assert not lit(picture)[:, -4:].any()


def test_a_control_character_is_drawn_as_its_escape():
    np.testing.assert_array_equal(
        render_rgb([text_spans("", "\\x1b[2J", None)]),
        render_rgb([text_spans("", "\x1b[2J", None)]),
    )


def test_what_the_font_lacks_is_drawn_as_near_as_can_be():
    """Otherwise every accented letter of a French review would be an empty box."""
    for expected, text in (("cafe", "café"), ("a - b", "a — b")):
        np.testing.assert_array_equal(
            render_rgb([text_spans("", expected, None)]), render_rgb([text_spans("", text, None)])
        )
    box = render_rgb([text_spans("", "映", None)])
    assert lit(box).any()
    # A sign without its stroke would say the opposite.
    np.testing.assert_array_equal(box, render_rgb([text_spans("", "≠", None)]))


def test_a_picture_too_small_for_text_is_refused():
    with pytest.raises(ValueError, match=r"30 x 360 pixels has no room for text; .* at least 46"):
        render_rgb([], width=30)
