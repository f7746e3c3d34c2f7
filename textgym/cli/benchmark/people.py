"""What people say of policies that were just sampled: the page, and a table of their answers.

Simplification: texts that a policy wrote for an earlier call stay in the store with their answers,
and only those of this call are counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from agents.reports.report import Table
from reward_models.measuring.tournament import hold_tournament
from reward_models.preferences import PreferenceStore
from textgym.cli.console import say
from textgym.cli.feedback.asking import answer_all, make_annotators, missing_answers, truth_of
from textgym.cli.feedback.compare import matched, origins_of, verdict_lines
from textgym.cli.feedback.label import LabelConfig, label

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from rich.console import Console

    from reward_models.measuring.tournament import Tournament
    from reward_models.preferences import Pair

__all__ = ["PeopleConfig", "ask_people", "people_columns", "people_table"]

_SEED = 0
_SPLIT = "comparison"


@dataclass(frozen=True, slots=True, kw_only=True)
class PeopleConfig:
    """Who is asked, and about how much.

    Attributes:
        store: The store of pairs and answers.
        pairs: How many pairs at most.
        annotators: Simulated ones in place of people.
        truth: The reward that these go by.
    """

    store: Path
    pairs: int
    annotators: tuple[str, ...]
    truth: str | None


def ask_people(
    config: PeopleConfig,
    folders: Mapping[str, str],
    prompts: Sequence[str],
    texts: Mapping[str, Sequence[Sequence[str]]],
    console: Console,
) -> Tournament:
    """Lets people compare what policies wrote, on the page, until it is stopped.

    Args:
        config: Who, and how much.
        folders: What each policy is, by its name.
        prompts: ``N`` prompts.
        texts: The completions of each policy, ``(seeds, N)``.
        console: Where the page's address is printed.

    Returns:
        What the answers to these texts tell, of this call and of those before it.

    Raises:
        CommandError: If the page cannot be opened, or a simulated annotator is none.
        StoreError: If the store cannot be used.
        ValueError: If the texts are the same everywhere, or nobody answered.
    """
    annotators = make_annotators(config.annotators, truth_of(config.truth), _SEED)
    pairs = _pairs(config.pairs, prompts, texts)
    if not pairs:
        raise ValueError("the policies wrote the same text everywhere: there is nothing to compare")
    config.store.parent.mkdir(parents=True, exist_ok=True)
    with PreferenceStore(config.store) as store:
        store.add_pairs(pairs, origins_of(pairs, folders))
        answer_all(store, annotators, _SPLIT)
        missing = missing_answers(store, _SPLIT, 1)
    if missing and not annotators:
        say(
            console, f"{missing} pairs wait for people; Ctrl-C ends the page, and the tables follow"
        )
        label(LabelConfig(source=str(config.store), rule="balanced", split=_SPLIT), console)
    ours = {pair.pair_id for pair in pairs}
    with PreferenceStore(config.store) as store:
        answers = [answer for answer in store.answers() if answer.pair_id in ours]
    if not answers:
        raise ValueError(f"nobody has answered yet: the pairs are in {config.store}; call again")
    return hold_tournament(pairs, answers, np.random.default_rng(_SEED))


def people_columns(found: Tournament, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Says of each policy which ranks people leave it, and how often it beats the first.

    Args:
        found: What people said.
        names: The policies; the first is what the others are held against.

    Returns:
        The ranks, and the win rates with their 95 % intervals, a cell each; empty where nothing can
        be said.
    """
    ranks = dict.fromkeys(names, "")
    if found.ratings is not None:
        for name, (best, worst) in zip(found.ratings.players, found.ratings.ranks, strict=True):
            ranks[name] = f"{best}" if best == worst else f"{best} to {worst}"
    wins = dict.fromkeys(names, "")
    for each in found.matchups:
        if each.rates is None or names[0] not in (each.first, each.second):
            continue
        rate, low, high = each.rates.raw.value, each.rates.raw.low, each.rates.raw.high
        if each.first == names[0]:
            rate, low, high = 1 - rate, 1 - high, 1 - low
        other = each.second if each.first == names[0] else each.first
        wins[other] = f"{rate:.2f} ({low:.2f} to {high:.2f})"
    return [ranks[name] for name in names], [wins[name] for name in names]


def people_table(found: Tournament) -> Table:
    """A table of all that the answers tell, a line each, as ``textgym compare`` prints it."""
    answers = sum(each.answers for each in found.matchups)
    return Table(
        title="People",
        header=("what the answers tell",),
        rows=[(line,) for line in verdict_lines(found)],
        caption=(
            f"{answers} blind answers. A rating is a log-odds of winning; what is settled is so "
            "with 95 % for all policies together, however often one looks."
        ),
    )


def _pairs(
    most: int, prompts: Sequence[str], texts: Mapping[str, Sequence[Sequence[str]]]
) -> list[Pair]:
    """Pairs of every two policies, equally many and of the same prompts, as many as there are."""
    matchups = list(combinations(texts, 2))
    seeds = len(next(iter(texts.values())))
    pairs: dict[str, Pair] = {}
    for place in range(min(most, len(matchups) * len(prompts) * seeds)):
        seed, number = divmod(place // len(matchups), len(prompts))
        two = matchups[place % len(matchups)]
        written = {name: (prompts[number], texts[name][seed][number]) for name in two}
        pair = matched(written, _SEED, place)
        if pair is not None:
            pairs[pair.pair_id] = pair
    return list(pairs.values())
