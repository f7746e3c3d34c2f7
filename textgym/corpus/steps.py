"""What can be done to a text on its way into a corpus: named steps, and how a word asks for one.

A step is a pure function of one record: it gives the record as it is, a changed one, or none, and
says why. It is therefore the same whatever comes before or after, and however many workers there
are. Steps that compare records with each other are in ``duplicates``.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote_plus

from textgym.corpus import filters, noise, privacy, repairs, words
from textgym.corpus.duplicates import make_comparison
from textgym.corpus.records import Record
from textgym.messages import did_you_mean
from textgym.ranges import COUNT, SHARE, Range

__all__ = ["COMPARING", "DEFAULT_STEPS", "STEPS", "Step", "make_step", "read_step", "require_steps"]

Step = Callable[[Record], tuple[Record | None, str]]
"""From a record to what becomes of it and why; an empty reason where nothing has changed."""


def _of_text(mend: Callable[..., str], reason: str, **settings: Any) -> Step:
    """Makes a step of a function from text to text."""

    def step(record: Record) -> tuple[Record | None, str]:
        text = mend(record.text, **settings)
        return (record, "") if text == record.text else (replace(record, text=text), reason)

    return step


def _of_reason(fault: Callable[..., str], **settings: Any) -> Step:
    """Makes a step of a function from text to why it is dropped; empty keeps it."""

    def step(record: Record) -> tuple[Record | None, str]:
        reason = fault(record.text, **settings)
        return (None, reason) if reason else (record, "")

    return step


def _of_column(name: str, find: Callable[..., Any], **settings: Any) -> Step:
    """Makes a step of a function from text to the value of a column."""

    def step(record: Record) -> tuple[Record | None, str]:
        value = find(record.text, **settings)
        return replace(record, columns={**record.columns, name: value}), f"{name} noted"

    return step


@dataclass(frozen=True, slots=True)
class _Kind:
    """A step's function, how it becomes a step, and what the list of steps says of it."""

    function: Callable[..., Any]
    make: Callable[..., Step]
    summary: str


STEPS: Mapping[str, _Kind] = MappingProxyType(
    {
        "repair": _Kind(
            repairs.without_mojibake,
            functools.partial(_of_text, reason="decoded twice"),
            "mend text that was decoded by the wrong encoding",
        ),
        "markup": _Kind(
            noise.without_markup,
            functools.partial(_of_text, reason="markup"),
            "take out HTML tags, scripts and styles, and read entities",
        ),
        "control": _Kind(
            noise.without_controls,
            functools.partial(_of_text, reason="control characters"),
            "take out control and bidirectional characters",
        ),
        "boilerplate": _Kind(
            noise.without_boilerplate,
            functools.partial(_of_text, reason="lines of page furniture"),
            "take out lines that belong to a web page, not to its text",
        ),
        "addresses": _Kind(
            noise.without_addresses,
            functools.partial(_of_text, reason="web addresses"),
            "take out web addresses",
        ),
        "unicode": _Kind(
            repairs.composed,
            functools.partial(_of_text, reason="another form of Unicode"),
            "bring characters into one form (NFC, or ?form=NFKC)",
        ),
        "spaces": _Kind(
            repairs.spaced,
            functools.partial(_of_text, reason="white space"),
            "single spaces, at most one blank line, none at the ends",
        ),
        "personal": _Kind(
            privacy.masked,
            functools.partial(_of_text, reason="personal data"),
            "mask e-mail addresses, telephone, card and account numbers",
        ),
        "language": _Kind(
            filters.foreign,
            _of_reason,
            "drop what is not in the language (?keep=en)",
        ),
        "length": _Kind(
            filters.out_of_length,
            _of_reason,
            "drop what has too few or too many words (?least=20&most=100000)",
        ),
        "repetition": _Kind(
            filters.repetitive,
            _of_reason,
            "drop what says the same again and again (?most=0.3)",
        ),
        "sentences": _Kind(
            words.sentences,
            functools.partial(_of_column, "sentences"),
            "note the sentences in a column (?language=en)",
        ),
        "words": _Kind(
            words.words,
            functools.partial(_of_column, "words"),
            "note the words in a column (?language=en)",
        ),
        "keywords": _Kind(
            words.keywords,
            functools.partial(_of_column, "keywords"),
            "note the keywords in a column (?most=5&language=en, or ?among=plot,cast)",
        ),
        "stopwords": _Kind(
            words.without_stop_words,
            functools.partial(_of_text, reason="stop words"),
            "take out stop words: for analyses and sparse rewards, never for text to be written",
        ),
    }
)
"""The steps by name; each parameter of its function may stand behind a question mark."""

COMPARING: Mapping[str, str] = MappingProxyType(
    {
        "exact": "drop what is equal to an earlier text but for case, punctuation and spaces",
        "near": "drop what shares most runs of words with an earlier text (?threshold=0.8)",
    }
)
"""The steps that compare records; see ``duplicates``."""

DEFAULT_STEPS = (
    "repair",
    "markup",
    "control",
    "unicode",
    "spaces",
    "length",
    "repetition",
    "exact",
    "near",
)
"""What suits text that a language model shall learn to write. Stop words stay: what is written
needs them."""


def read_step(word: str) -> tuple[str, dict[str, str]]:
    """A step's name and its settings, from words such as ``length?least=5``.

    Raises:
        ValueError: If there is no such step or setting; the message lists the known ones.
    """
    name, _, query = word.partition("?")
    known = [*STEPS, *COMPARING]
    if name not in known:
        raise ValueError(
            f"unknown step {name!r}{did_you_mean(name, known)}; known: {', '.join(known)}"
        )
    settings: dict[str, str] = {}
    for pair in query.split("&") if query else ():
        setting, equals, value = (unquote_plus(part) for part in pair.partition("="))
        if not equals or setting in settings:
            raise ValueError(
                f"the step {word!r} is written {name}?setting=value, with & between two and each "
                "setting once"
            )
        settings[setting] = value
    return name, settings


def make_step(word: str) -> Step:
    """Makes a step from its word.

    Raises:
        ValueError: If there is no such step or setting, or a value is of another kind.
    """
    name, given = read_step(word)
    kind = STEPS[name]
    parameters = list(inspect.signature(kind.function).parameters.values())[1:]
    defaults = {parameter.name: parameter.default for parameter in parameters}
    settings = {}
    for setting, value in given.items():
        if setting not in defaults:
            known = ", ".join(defaults) or "none"
            raise ValueError(f"the step {name} has no setting {setting!r}; it has: {known}")
        settings[setting] = _value(f"{name}?{setting}", value, type(defaults[setting]))
    return kind.make(kind.function, **settings)


def require_steps(given: tuple[str, ...]) -> None:
    """Makes every step once, so that a wrong word is told before anything is read.

    Raises:
        ValueError: See ``make_step``.
    """
    for word in given:
        name, settings = read_step(word)
        if name in COMPARING:
            make_comparison(name, settings)
        else:
            make_step(word)


def _value(name: str, value: str, kind: type) -> Any:
    if kind is str:
        return value
    wanted = "a whole number of at least 0" if kind is int else "a share, in [0, 1]"
    try:
        number = kind(value)
    except ValueError:
        number = math.nan
    if number not in (Range(0, COUNT.high) if kind is int else SHARE):
        raise ValueError(f"{name} must be {wanted}, got {value!r}")
    return number
