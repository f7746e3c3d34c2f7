"""Why a text is dropped: its language, its length, how often it says the same."""

from __future__ import annotations

import functools
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["foreign", "out_of_length", "repetitive"]

_WORDS_TO_TELL = 5
_RUN = 4  # words


def foreign(text: str, keep: str = "en") -> str:
    """Why a text is not in one of the languages that are kept; empty if it is.

    Of fewer than five words nothing can be told, and they are kept. By py3langid (Lui and Baldwin
    2012), which knows 97 languages by their ISO 639-1 codes.

    Args:
        text: The text.
        keep: Codes, separated by commas.

    Raises:
        ModuleNotFoundError: If py3langid is missing.
    """
    if len(text.split()) < _WORDS_TO_TELL:
        return ""
    language = _classifier()(text)
    return "" if language in keep.split(",") else f"in {language}"


@functools.cache
def _classifier() -> Callable[[str], str]:
    try:
        import py3langid
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            'the step language needs py3langid: pip install "textgym[corpus]"'
        ) from None
    return lambda text: str(py3langid.classify(text)[0])


def out_of_length(text: str, least: int = 20, most: int = 100_000) -> str:
    """Why a text's number of words is out of bounds; empty if it is not."""
    count = len(text.split())
    if count == 0:
        return "empty"
    if count < least:
        return f"fewer than {least} words"
    return f"more than {most} words" if count > most else ""


def repetitive(text: str, most: float = 0.3) -> str:
    """Why a text says too much again; empty if it does not.

    Args:
        text: The text.
        most: The largest share of runs of four words, and of lines, that were there before. Rae et
            al. 2021 ("Gopher") drop pages with more than 0.3 of their lines repeated.
    """
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    if len(lines) >= _RUN and _repeated(lines) > most:
        return f"more than {most} of the lines are repeated"
    said = text.casefold().split()
    runs = list(zip(*(said[start:] for start in range(_RUN)), strict=False))
    if len(runs) >= _RUN and _repeated(runs) > most:
        return f"more than {most} of the runs of {_RUN} words are repeated"
    return ""


def _repeated(items: list[str] | list[tuple[str, ...]]) -> float:
    return 1 - len(Counter(items)) / len(items)
