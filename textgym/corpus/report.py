"""What cleaning did, as JSON and as one page that loads nothing."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from textgym.files import write_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from jinja2 import Template

    from textgym.corpus.pipeline import StepCount

__all__ = ["as_json", "write_report"]


def as_json(counts: Sequence[StepCount], before: int, after: int) -> dict[str, Any]:
    """The counts as JSON holds them.

    Args:
        counts: What each step did.
        before: Texts that came.
        after: Texts that are left.
    """
    return {
        "texts_before": before,
        "texts_after": after,
        "steps": [
            {
                "step": count.step,
                "seen": count.seen,
                "changed": dict(count.changed.most_common()),
                "dropped": dict(count.dropped.most_common()),
                "examples": [
                    {"why": why, "where": where, "begins": _shown(text)}
                    for why, where, text in count.examples
                ],
            }
            for count in counts
        ],
    }


def write_report(
    folder: Path, title: str, counts: Sequence[StepCount], before: int, after: int
) -> Path:
    """Writes ``report.json`` and ``report.html``.

    Args:
        folder: Where; it is made.
        title: The page's heading.
        counts: What each step did.
        before: Texts that came.
        after: Texts that are left.

    Returns:
        The page.
    """
    write_json(folder / "report.json", as_json(counts, before, after))
    page = folder / "report.html"
    html = _template().render(title=title, counts=counts, before=before, after=after)
    page.write_text(_shown(html), encoding="utf-8")
    return page


def _shown(text: str) -> str:
    """A text without half surrogates, which UTF-8 does not hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


@functools.cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    pages = PackageLoader("textgym.corpus", "templates")
    return Environment(loader=pages, autoescape=True, undefined=StrictUndefined).get_template(
        "report.html"
    )
