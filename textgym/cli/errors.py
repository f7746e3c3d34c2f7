"""What a command raises when what it was given cannot work."""

from __future__ import annotations

__all__ = ["CommandError", "UsageError"]


class CommandError(RuntimeError):
    """Bad input of a command; ``main`` prints the message as one line, without a stack trace.

    The message says what is wrong, where, and what to do.
    """


class UsageError(CommandError):
    """Words that are no command; ``main`` leaves with 2, as a shell's own commands do."""
