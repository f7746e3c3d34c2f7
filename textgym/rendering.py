"""How an episode looks in a terminal."""

from __future__ import annotations

__all__ = ["render_ansi"]

_DIM, _BRIGHT, _PLAIN = "\x1b[2m", "\x1b[1m", "\x1b[0m"


def render_ansi(prompt: str, completion: str, score: float | None) -> str:
    """Returns the prompt dimmed, the completion bright, and the score once there is one.

    Control characters in the texts are shown as escapes, because a sampled text must not be able
    to command the terminal.
    """
    text = f"{_DIM}{_escape(prompt)}{_PLAIN}{_BRIGHT}{_escape(completion)}{_PLAIN}"
    return text if score is None else f"{text} [{score:+.3f}]"


def _escape(text: str) -> str:
    return "".join(
        character if character.isprintable() or character == "\n" else ascii(character)[1:-1]
        for character in text
    )
