"""``python -m textgym`` is the ``textgym`` command; ``accelerate launch -m textgym`` is, too."""

from __future__ import annotations

from textgym.cli.main import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
