"""Mending of characters: text that was decoded twice, forms of Unicode, white space."""

from __future__ import annotations

import functools
import re
import unicodedata
from typing import TYPE_CHECKING, Any, Literal, cast

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["composed", "spaced", "without_mojibake"]

_FORMS = ("NFC", "NFD", "NFKC", "NFKD")
_SPACES = re.compile(r"[^\S\n]{2,}|[^\S\n ]")  # a space that stands alone is right
_AROUND_LINES = re.compile(r" ?\n ?")
_BLANK_LINES = re.compile(r"\n{3,}")


def without_mojibake(text: str) -> str:
    """Mends what was written in UTF-8 and read as something else, by ftfy; all else stays.

    Half a surrogate pair, which no file can hold, becomes the replacement character.

    Raises:
        ModuleNotFoundError: If ftfy is missing.
    """
    fixed: str = _ftfy()(text)
    return fixed


@functools.cache
def _ftfy() -> Callable[[str], str]:
    try:
        import ftfy
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            'the step repair needs ftfy: pip install "textgym[corpus]"'
        ) from None
    # What ftfy mends besides has steps of its own, or is nobody's fault: curled quotes are right.
    settings = ftfy.TextFixerConfig(
        unescape_html=False,
        remove_terminal_escapes=False,
        fix_latin_ligatures=False,
        fix_character_width=False,
        uncurl_quotes=False,
        fix_line_breaks=False,
        remove_control_chars=False,
        normalization=None,
        explain=False,
    )
    return functools.partial(cast("Any", ftfy).fix_text, config=settings)


def composed(text: str, form: str = "NFC") -> str:
    """Brings a text into one form of Unicode.

    Args:
        text: The text.
        form: NFC composes letters with their accents; NFKC also unites what looks alike.

    Raises:
        ValueError: If there is no such form.
    """
    if form not in _FORMS:
        raise ValueError(f"form must be one of {', '.join(_FORMS)}, got {form!r}")
    return unicodedata.normalize(cast("Literal['NFC']", form), text)


def spaced(text: str) -> str:
    """Single spaces within lines, none around line ends, at most one blank line, none outside."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    lines = _AROUND_LINES.sub("\n", _SPACES.sub(" ", lines))
    return _BLANK_LINES.sub("\n\n", lines).strip()
