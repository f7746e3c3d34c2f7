"""What a command raises when what it was given cannot work."""

from __future__ import annotations

__all__ = ["CommandError"]


class CommandError(RuntimeError):
    """Bad input of a command; ``main`` prints the message as one line, without a stack trace.

    The message says what is wrong, where, and what to do.
    """
