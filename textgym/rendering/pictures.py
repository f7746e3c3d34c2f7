"""Pictures of texts, for videos: the spans of a rendering, drawn and wrapped by words.

The same spans give the same picture with the same Pillow. No font file is needed: the font is the
one that Pillow brings. It has the English letters and few signs, so letters are drawn without their
accents, any dash as a hyphen, and what it lacks altogether as an empty box.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from typing import TYPE_CHECKING, Any

import numpy as np

from textgym.rendering.spans import Span, Style

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy.typing as npt

__all__ = ["render_rgb"]

_FONT_SIZE = 16
_LINE_HEIGHT = 22
_MARGIN = 12
_BACKGROUND = (16, 18, 24)
_COLOURS = {
    Style.PROMPT: (120, 126, 138),
    Style.COMPLETION: (245, 246, 248),
    Style.REMOVED: (235, 96, 96),
    Style.INSERTED: (104, 211, 120),
    Style.SCORE: (190, 194, 202),
}
# A line break, the space between words, or a word.
_PIECES = re.compile(r"\n| +|[^ \n]+")


def render_rgb(
    lines: Sequence[Sequence[Span]], *, width: int = 640, height: int = 360
) -> npt.NDArray[np.uint8]:
    """Draws texts below each other.

    A line that is too wide goes on below, and what does not fit in the height leaves at the top,
    as in a terminal: the end of a text and its score are always to be seen.

    Args:
        lines: Each a list of spans, from ``text_spans`` or ``edit_spans``.
        width: The picture's width in pixels.
        height: Its height in pixels.

    Returns:
        The picture, ``(height, width, 3)`` uint8.

    Raises:
        ValueError: If the picture has no room for a single line.
        ModuleNotFoundError: If Pillow is missing; the message says how to get it.
    """
    smallest = 2 * _MARGIN + _LINE_HEIGHT
    if width < smallest or height < smallest:
        raise ValueError(
            f"a picture of {width} x {height} pixels has no room for text; "
            f"width and height must be at least {smallest}"
        )
    try:
        from PIL import Image, ImageDraw
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "pictures of texts need the package 'pillow', which is not installed; "
            "pip install pillow",
            name=error.name,
        ) from error

    image = Image.new("RGB", (width, height), _BACKGROUND)
    canvas = ImageDraw.Draw(image)
    rows = [row for spans in lines for row in _wrap(spans, width - 2 * _MARGIN)]
    shown = rows[-((height - 2 * _MARGIN) // _LINE_HEIGHT) :]
    for number, row in enumerate(shown):
        _draw(canvas, row, _MARGIN + number * _LINE_HEIGHT)
    return np.array(image, dtype=np.uint8)


def _draw(canvas: Any, row: Sequence[Span], top: int) -> None:
    left = float(_MARGIN)
    for span in row:
        right = left + _length(span.text)
        colour = _COLOURS[span.style]
        canvas.text((left, top), span.text, fill=colour, font=_font())
        if span.style is Style.REMOVED:
            middle = top + _LINE_HEIGHT // 2
            canvas.line((left, middle, right, middle), fill=colour, width=2)
        left = right


def _wrap(spans: Iterable[Span], limit: int) -> Iterator[list[Span]]:
    """Cuts a line into rows that are at most so many pixels wide, spaces at their ends aside."""
    row: list[Span] = []
    left = 0.0
    for word in _words(spans):
        if word[0].text == "\n":
            yield row
            row, left = [], 0.0
            continue
        size = sum(_length(part.text) for part in word)
        if word[0].text.isspace():
            row, left = [*row, *word], left + size
            continue
        if row and left + size > limit:
            yield row
            row, left = [], 0.0
        *full, rest = _cut(word, limit)
        yield from full
        row = [*row, *rest]
        left += sum(_length(part.text) for part in rest)
    yield row


def _words(spans: Iterable[Span]) -> Iterator[list[Span]]:
    """Cuts spans into words, spaces and line breaks; a word that spans share stays in one piece."""
    word: list[Span] = []
    for span in spans:
        for text in _PIECES.findall(_drawable(span.text)):
            piece = Span(text=text, style=span.style)
            if not text.isspace():
                word.append(piece)
                continue
            if word:
                yield word
            word = []
            yield [piece]
    if word:
        yield word


def _cut(word: list[Span], limit: int) -> list[list[Span]]:
    """Cuts a word that is wider than a row between characters."""
    rows: list[list[Span]] = [[]]
    left = 0.0
    for part in word:
        start = 0
        for end in range(1, len(part.text) + 1):
            if left + _length(part.text[start:end]) > limit and (rows[-1] or end - start > 1):
                rows[-1].append(Span(text=part.text[start : end - 1], style=part.style))
                rows.append([])
                start, left = end - 1, 0.0
        rows[-1].append(Span(text=part.text[start:], style=part.style))
        left += _length(part.text[start:])
    return rows


def _drawable(text: str) -> str:
    return text if text.isascii() else "".join(map(_nearest, text))


def _nearest(character: str) -> str:
    """Returns what the font has for a character, if it has anything near."""
    if unicodedata.category(character) == "Pd":
        return "-"
    first = unicodedata.normalize("NFD", character)[0]
    return first if first.isascii() and first.isalpha() else character


def _length(text: str) -> float:
    return float(_font().getlength(text))


@functools.cache
def _font() -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(_FONT_SIZE)
