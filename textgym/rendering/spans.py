"""How an episode looks: spans of text with styles, and those in a terminal.

A picture is drawn from the same spans by ``textgym.rendering.pictures``, so both show the same.
Control characters are shown as escapes, because a sampled text must not be able to command the
terminal.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Span",
    "Style",
    "conversation_spans",
    "edit_spans",
    "text_spans",
    "to_ansi",
]

_PLAIN = "\x1b[0m"


class Style(enum.Enum):
    """What a span of text is; the value is how a terminal shows it."""

    PROMPT = "\x1b[2m"
    """Dimmed."""
    COMPLETION = "\x1b[1m"
    """Bright."""
    REMOVED = "\x1b[31;9m"
    """Red, struck through."""
    INSERTED = "\x1b[32m"
    """Green."""
    SCORE = ""
    """As the terminal shows anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A piece of text in one style.

    Attributes:
        text: The text, fit to be shown: nothing in it commands a terminal.
        style: The style.
    """

    text: str
    style: Style


def text_spans(prompt: str, completion: str, score: float | None) -> list[Span]:
    """Makes the spans of a text: prompt, completion, and the score once there is one."""
    return [
        Span(text=_escape(prompt), style=Style.PROMPT),
        Span(text=_escape(completion), style=Style.COMPLETION),
        *_score_spans(score),
    ]


def conversation_spans(
    prompt: str, turns: Sequence[tuple[bool, str]], score: float | None
) -> list[Span]:
    """Makes the spans of a conversation: what the other side says is shown as a prompt.

    Args:
        prompt: The opening.
        turns: Whether the agent wrote it, and the text, of each turn.
        score: The completion's score once there is one.
    """
    return [
        Span(text=_escape(prompt), style=Style.PROMPT),
        *(
            Span(text=_escape(text), style=Style.COMPLETION if by_agent else Style.PROMPT)
            for by_agent, text in turns
        ),
        *_score_spans(score),
    ]


def edit_spans(prompt: str, before: str, after: str, score: float | None) -> list[Span]:
    """Makes the spans that show what the last edit changed in a completion.

    What both texts begin with and end with is the completion; what is between was removed from the
    one and inserted into the other. Characters are compared, so an edit in several places shows
    as one from the first to the last of them.

    Args:
        prompt: The prompt.
        before: The completion before the edit.
        after: The completion after it.
        score: The completion's score once there is one.
    """
    start = _common(before, after)
    end = _common(before[start:][::-1], after[start:][::-1])
    changed = [
        (after[:start], Style.COMPLETION),
        (before[start : len(before) - end], Style.REMOVED),
        (after[start : len(after) - end], Style.INSERTED),
        (after[len(after) - end :], Style.COMPLETION),
    ]
    return [
        Span(text=_escape(prompt), style=Style.PROMPT),
        *(Span(text=_escape(text), style=style) for text, style in changed if text),
        *_score_spans(score),
    ]


def to_ansi(spans: Sequence[Span]) -> str:
    """Returns what shows spans in a terminal."""
    return "".join(
        f"{span.style.value}{span.text}{_PLAIN}" if span.style.value else span.text
        for span in spans
    )


def _common(first: str, second: str) -> int:
    """Returns how many characters two texts have in common at their beginnings."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(first), len(second)))


def _score_spans(score: float | None) -> list[Span]:
    return [] if score is None else [Span(text=f" [{score:+.3f}]", style=Style.SCORE)]


def _escape(text: str) -> str:
    return "".join(
        character if character.isprintable() or character == "\n" else ascii(character)[1:-1]
        for character in text
    )
