"""Say in a sentence what a paragraph says."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textgym.data.aclsum import load_aclsum
from textgym.data.docstrings import DEFAULT_SOURCES, load_docstrings
from textgym.data.prose import key_of
from textgym.tasks.splits import SPLITS, check_split, spread
from textgym.types import Example

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Summarization"]

_SOURCES = ("docstrings", "aclsum")


@dataclass(frozen=True, slots=True)
class Summarization:
    r"""A description and ``"\nSummary:"``; what is scored is the summary that follows.

    The columns are ``reference`` (the summary that the author wrote, with its leading space) and
    ``source`` (where the example is from).

    ``source="docstrings"`` reads the docstrings of installed code: the description is what follows
    a docstring's first paragraph, the summary is that paragraph. It is always there. 96 in 100
    prompts fit into ``prompt_tokens``; of the others the end is kept.

    ``source="aclsum"`` reads abstracts of papers and, as summaries, one sentence each on the
    challenge, the approach and the outcome; the prompt ends in ``"\nChallenge:"`` and so on.
    The splits are those of the package. Its prompts want ``prompt_tokens=448``, its summaries
    ``completion_tokens=80``.

    Attributes:
        name: The task's name.
        source: ``"docstrings"`` or ``"aclsum"``.
        packages: Whose docstrings are read; ``"stdlib"`` or the names of installed packages.
        prompt_tokens: Room for the prompt.
        completion_tokens: The allowance.
        tokenizer: The tokenizer.
        reward: The reward.
        splits: The names of the splits.
    """

    name: str = "Summarization"
    source: str = "docstrings"
    packages: tuple[str, ...] = DEFAULT_SOURCES
    prompt_tokens: int = 288
    completion_tokens: int = 48
    tokenizer: str = "reviews-4096"
    reward: str = "textgym.tasks.scoring:unigram_f1"
    splits: tuple[str, ...] = SPLITS

    def __post_init__(self) -> None:
        """Checks the source.

        Raises:
            ValueError: If it is unknown; the message lists the known ones.
        """
        if self.source not in _SOURCES:
            raise ValueError(
                f"unknown source {self.source!r} of {self.name}; known: {', '.join(_SOURCES)}"
            )

    def examples(self, split: str) -> Sequence[Example]:
        """Returns the examples of one split.

        Raises:
            ValueError: If ``split`` is unknown; the message lists the known ones.
            ModuleNotFoundError: If a package is missing; the message says how to get it.
        """
        check_split(self, split)
        if self.source == "aclsum":
            return _from_aclsum()[split]
        return _from_docstrings(tuple(self.packages))[split]


@functools.lru_cache(maxsize=4)
def _from_docstrings(packages: tuple[str, ...]) -> Mapping[str, tuple[Example, ...]]:
    return spread(
        Example(
            prompt=f"{pair.body}\nSummary:",
            columns={"reference": f" {pair.head}", "source": "docstrings"},
        )
        for pair in load_docstrings(packages)
    )


@functools.cache
def _from_aclsum() -> Mapping[str, tuple[Example, ...]]:
    splits: dict[str, tuple[Example, ...]] = {}
    seen: set[str] = set()
    for split in SPLITS:
        papers = [paper for paper in load_aclsum(split) if key_of(paper.abstract) not in seen]
        seen.update(key_of(paper.abstract) for paper in papers)
        splits[split] = tuple(
            Example(
                prompt=f"{paper.abstract}\n{aspect.capitalize()}:",
                columns={"reference": f" {summary}", "source": "aclsum"},
            )
            for paper in papers
            for aspect, summary in paper.summaries
        )
    return splits
