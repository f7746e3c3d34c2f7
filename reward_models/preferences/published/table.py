"""The formats in which people publish what they prefer: a table, one entry each.

A format is known by its columns. Of entries that fit, the first counts; FORMATS.md shows a row of
each. What no entry fits is read by naming its columns anew, see ``textgym.data.read_rows``.

Simplification: what is no text in a message (pictures, calls of tools) is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reward_models.preferences.published.items import (
    BothBad,
    Columns,
    Compared,
    labelled_chat,
    ranked,
    ranked_each,
    rated,
    rated_each,
    rated_list,
    sampled,
)
from reward_models.preferences.published.verdicts import (
    asked,
    between,
    coded,
    higher,
    named,
    signed,
    stated,
    voted,
)

if TYPE_CHECKING:
    from reward_models.preferences.rankings import Item
    from textgym.data.tables import Row

__all__ = ["FORMATS", "KNOWN_COLUMNS", "Format", "RowParser", "format_of", "parser_of"]

KNOWN_COLUMNS = (
    "chosen and rejected (with prompt, margin, probability, if there are any); response_a, "
    "response_b and winner; prompt, completions and ranks or best; prompt, completion and rating"
)
"""What a file may be made of, for messages."""

RowParser = Callable[["Row"], Sequence["Item | BothBad"]]
"""From a row to what it says; raises ``ValueError``, with the row's place, if it cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """How one kind of file is read.

    Attributes:
        name: What it is called.
        texts: Groups of columns that hold texts; the first of which a file has all counts.
        says: Groups of columns that say what they are worth, likewise; empty for none.
        read: Makes items of a row.
    """

    name: str
    texts: tuple[tuple[str, ...], ...]
    read: Callable[[Row, Columns], Sequence[Item | BothBad]]
    says: tuple[tuple[str, ...], ...] = ()

    def columns_of(self, names: Collection[str]) -> Columns | None:
        """Returns which of a file's columns are read; None if it is another format."""
        texts = _whole(self.texts, names)
        says = _whole(self.says, names) if self.says else ()
        return None if texts is None or says is None else Columns(texts=texts, says=says)


_SIDES = tuple(
    (f"{stem}_{a}", f"{stem}_{b}")
    for a, b in ("ab", "AB")
    for stem in ("conversation", "response", "answer", "completion")
)
_CHOSEN = (("chosen", "rejected"), ("response_j", "response_k"))
_RATINGS = (("rating",), ("score",), ("label",), ("kto_tag",), ("helpfulness",))
_VOTES = (("winner_model_a", "winner_model_b", "winner_tie"),)
_ONE_AND_TWO = (("response1", "response2"), ("response_1", "response_2"))

FORMATS: tuple[Format, ...] = (
    Format(name="pairs", texts=_CHOSEN, read=Compared(verdict=stated, each=True)),
    Format(
        name="AlpacaEval",
        texts=(("output_1", "output_2"),),
        says=(("preference",),),
        read=Compared(verdict=between),
    ),
    Format(
        name="LLMBar",
        texts=(("output_1", "output_2"),),
        says=(("label",),),
        read=Compared(verdict=coded({1: 1.0, 2: 0.0})),
    ),
    Format(name="chat arena", texts=_SIDES, says=(("winner",),), read=Compared(verdict=named)),
    Format(name="arena votes", texts=_SIDES, says=_VOTES, read=Compared(verdict=voted)),
    Format(name="JudgeBench", texts=_SIDES, says=(("label",),), read=Compared(verdict=named)),
    Format(
        name="HelpSteer, preferences",
        texts=_ONE_AND_TWO,
        says=(("overall_preference",), ("preference_strength",)),
        read=Compared(verdict=signed),
    ),
    Format(
        name="PandaLM",
        texts=_ONE_AND_TWO,
        says=(("annotator1", "annotator2", "annotator3"),),
        read=Compared(verdict=asked({1: 1.0, 2: 0.0, 0: 0.5})),
    ),
    Format(
        name="Auto-J",
        texts=(("response 1", "response 2"),),
        says=(("label",),),
        read=Compared(verdict=coded({0: 1.0, 1: 0.0, 2: 0.5})),
    ),
    Format(
        name="SHP",
        texts=(("human_ref_A", "human_ref_B"),),
        says=(("labels",),),
        read=Compared(verdict=coded({1: 1.0, 0: 0.0})),
    ),
    Format(
        name="PKU-SafeRLHF",
        texts=(("response_0", "response_1"),),
        says=(("better_response_id",), ("safer_response_id",)),
        read=Compared(verdict=coded({0: 1.0, 1: 0.0})),
    ),
    Format(
        name="WebGPT comparisons",
        texts=(("answer_0", "answer_1"),),
        says=(("score_0", "score_1"),),
        read=Compared(verdict=higher),
    ),
    Format(
        name="rankings",
        texts=(("completions",), ("summaries",)),
        says=(("ranks",), ("best",), ("choice",)),
        read=ranked,
    ),
    Format(name="best of K", texts=(("sample0", "sample1"),), says=(("best",),), read=sampled),
    Format(
        name="lists with ratings",
        texts=(("completions",), ("responses",), ("generations",)),
        says=(("ratings",), ("scores",), ("rewards",)),
        read=rated_list,
    ),
    Format(name="UltraFeedback", texts=(("completions",),), read=rated_each),
    Format(name="Nectar", texts=(("answers",),), read=ranked_each),
    Format(
        name="ratings",
        texts=(("completion",), ("response",), ("output",)),
        says=_RATINGS,
        read=rated,
    ),
    Format(
        name="conversations with a label",
        texts=(("messages",), ("conversations",)),
        says=_RATINGS,
        read=labelled_chat,
    ),
)
"""Every known format; of those that fit a file, the first counts."""


def format_of(names: Collection[str]) -> tuple[Format, Columns] | None:
    """Finds the format of a file by the names of its columns; None if none is known."""
    for known in FORMATS:
        columns = known.columns_of(names)
        if columns is not None:
            return known, columns
    return None


def parser_of(names: Collection[str]) -> RowParser | None:
    """Returns what makes items of each row of a file with these columns; None if unknown."""
    found = format_of(names)
    if found is None:
        return None
    known, columns = found
    return lambda row: known.read(row, columns)


def _whole(groups: Sequence[tuple[str, ...]], names: Collection[str]) -> tuple[str, ...] | None:
    return next((group for group in groups if set(group) <= set(names)), None)
