"""``textgym simulate``: stand-ins for people at a running page, whose truth is known."""

from __future__ import annotations

import functools
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console

from reward_models.feedback.stand_ins import PageError, answer_at_page
from textgym.cli.console import bar, say
from textgym.cli.feedback.asking import make_annotators, truth_of
from textgym.cli.parsing import CommandError
from textgym.data.packages import Package

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reward_models.preferences import SimulatedAnnotator
    from textgym.cli.console import Bar
    from textgym.types import RewardFunction

__all__ = ["SimulateConfig", "simulate"]

_PACKAGE = Package(module="httpx2", pip="textgym[judge]")
_LINK = re.compile(r"(https?://[^/#\s]+)/?#token=([\w-]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulateConfig:
    """Let simulated annotators answer at a running page, as people would.

    They come in by the link that textgym label prints, all at once, and compare, rank, rate or mark
    texts, whatever it asks, until nothing is left for them. What they go by is known, so that a
    study can be tried before people spend their time.
    """

    link: Annotated[str, tyro.conf.Positional]
    """The link that textgym label prints, with its token."""
    truth: str
    """The reward that they secretly go by, such as vader, or a module's function as MODULE:NAME."""
    annotators: tuple[str, ...] = ("average", "average", "average")
    """Who comes: average, careful, careless, one-sided, wordy, tired or undecided, with numbers as
    in average?flip=0.2&left=1."""
    most: int | None = None
    """After how many answers each of them leaves; None lets them answer all there is."""
    seed: int = 0
    """Of the first; the next ones have the next."""


def simulate(config: SimulateConfig, console: Console | None = None) -> None:
    """Answers, and says how many answers there are.

    Args:
        config: Who, where, and by which truth.
        console: Where to print; ``None`` for the terminal.

    Raises:
        CommandError: If the link is none, the page refuses, or a setting is wrong.
        ModuleNotFoundError: If there is no HTTP client.
    """
    found = _LINK.search(config.link)
    if found is None:
        raise CommandError(
            f"{config.link} is no link of a page: give the one that textgym label prints, "
            "http://127.0.0.1:8765/#token=..."
        )
    if not _PACKAGE.is_installed():
        raise _PACKAGE.missing("textgym simulate")
    console = console or Console()
    truth = truth_of(config.truth)
    annotators = make_annotators(config.annotators, truth and _one_at_a_time(truth), config.seed)
    if not annotators:
        raise CommandError("--annotators names nobody: who shall answer?")
    url, token = found.groups()
    counts = dict.fromkeys((annotator.name for annotator in annotators), 0)
    with bar("Answers", console) as shown, ThreadPoolExecutor(len(annotators)) as pool:
        ask = functools.partial(
            _answer, url=url, token=token, most=config.most, counts=counts, shown=shown
        )
        try:
            given = list(pool.map(ask, annotators))
        except PageError as error:
            raise CommandError(str(error)) from error
    _say(console, annotators, given)


def _answer(
    annotator: SimulatedAnnotator,
    *,
    url: str,
    token: str,
    most: int | None,
    counts: dict[str, int],
    shown: Bar,
) -> int:
    """One of them, in a thread and with a client of its own."""
    import httpx2

    def tell(number: int) -> None:
        counts[annotator.name] = number
        done = sum(counts.values())
        shown.update(done, done if most is None else most * len(counts))

    try:
        with httpx2.Client(base_url=url) as client:
            return answer_at_page(client, url, token, annotator, most=most, on_answer=tell)
    except httpx2.HTTPError as error:
        raise PageError(f"{url} cannot be reached ({error}): does textgym label run?") from error


def _one_at_a_time(truth: RewardFunction) -> RewardFunction:
    """A reward for several threads, of which one asks at a time: models are not made for more."""
    lock = threading.Lock()

    def score(prompts: Sequence[str], completions: Sequence[str], **columns: object) -> list[float]:
        with lock:
            return list(truth(prompts, completions, **columns))  # type: ignore[arg-type] # none come

    return score


def _say(console: Console, annotators: Sequence[SimulatedAnnotator], given: Sequence[int]) -> None:
    for annotator, number in zip(annotators, given, strict=True):
        say(console, f"{annotator.name}: {number} answers")
