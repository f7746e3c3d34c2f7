"""How a contract check says what it found: every finding of all checks, in one error."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["require", "run_checks"]


def run_checks(subject: str, checks: Sequence[Callable[[], None]]) -> None:
    """Runs every check, and raises one ``AssertionError`` with all that they found."""
    problems: list[str] = []
    cause: Exception | None = None
    for check in checks:
        try:
            check()
        except AssertionError as error:
            problems.append(str(error))
        except Exception as error:
            problems.append(f"it raised {type(error).__name__}: {error}")
            cause = error
    if problems:
        raise AssertionError(f"{subject} breaks its contract: {'; '.join(problems)}") from cause


def require(condition: bool, message: str) -> None:
    """Raises an ``AssertionError`` unless the condition holds; works under ``python -O`` too."""
    if not condition:
        raise AssertionError(message)
