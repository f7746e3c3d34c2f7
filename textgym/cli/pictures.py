"""Pictures that a command writes where it is asked to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textgym.cli.errors import CommandError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["require_picture"]

_KINDS = (".png", ".svg")


def require_picture(path: Path | None) -> None:
    """Refuses, before any work, a file that no picture can be written to; None is no picture.

    Raises:
        CommandError: If it is no PNG or SVG, or its folder is missing.
    """
    if path is None:
        return
    if path.suffix not in _KINDS:
        raise CommandError(f"{path} is no picture: name a file that ends in {' or '.join(_KINDS)}")
    if not path.parent.is_dir():
        raise CommandError(f"there is no folder {path.parent} for the picture {path.name}: make it")
