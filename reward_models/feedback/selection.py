"""Which pair next: by chance, by what a reward model is unsure of, or evenly over writers.

A share of the pairs is drawn by chance whatever the rule, spread over the whole order, and marked
``control``: what is measured on these holds for all pairs, and a rule can be compared with chance.
A rule that beats chance by much is rare, so the control is no formality.

Simplifications: the order is made before people answer, and made anew by the next start of the
page; a model that learns in between is heard then.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from scipy.special import expit

from reward_models.preferences.leases import Question, Side, WorkItem
from textgym.ranges import SEED, Range, require_ranges

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from reward_models.preferences.pairs import Pair
    from reward_models.preferences.sheets import Sheet
    from textgym.types import RewardFunction

__all__ = ["CONTROL", "Rule", "SelectionConfig", "arrange", "arrange_sheets", "lead_of"]

Rule = Literal["random", "disagreement", "even", "balanced"]
CONTROL = "control"
"""What ``WorkItem.chosen_by`` says of a pair of the random share."""

_NEEDS_REWARD = ("disagreement", "even")


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectionConfig:
    """The order of pairs.

    Raises:
        ValueError: If a value is out of range; the message begins with its field.
    """

    rule: Rule = "random"
    """By chance; where the members of an ensemble differ most; where the reward's probability is
    nearest to even; or so that all pairs of writers are answered equally often."""
    control: float = 0.2
    """The share of pairs that is drawn by chance under every rule, more than 0 and at most 1."""
    seed: int = 0
    """Draws the random pairs, and breaks ties."""

    def __post_init__(self) -> None:
        if self.rule not in get_args(Rule):
            raise ValueError(f"rule is {self.rule!r}; known: {', '.join(get_args(Rule))}")
        # Some are always by chance.
        require_ranges(self, {"control": Range(0, 1, above=True), "seed": SEED})


def lead_of(reward: RewardFunction, pairs: Sequence[Pair]) -> NDArray[np.float64]:
    """Scores pairs by a reward, or by each member of an ensemble.

    Args:
        reward: Any reward function; one with a method ``scaled`` is an ensemble.
        pairs: N pairs.

    Returns:
        ``(K, N)`` float64: by how much member k scores text a above text b.
    """
    prompts = [pair.prompt for pair in pairs]
    texts = [pair.a for pair in pairs] + [pair.b for pair in pairs]
    score = getattr(reward, "scaled", reward)
    scores = np.atleast_2d(np.asarray(score(prompts + prompts, texts), dtype=np.float64))
    return scores[:, : len(pairs)] - scores[:, len(pairs) :]


def arrange(
    pairs: Sequence[Pair],
    config: SelectionConfig,
    lead: NDArray[np.float64] | None = None,
    expected: Mapping[str, Side] | None = None,
    question: Mapping[str, Question] | None = None,
) -> list[WorkItem]:
    """Puts pairs into the order in which they are handed out.

    Args:
        pairs: N pairs.
        config: By which rule.
        lead: ``(K, N)``, see ``lead_of``; for the rules that need a reward.
        expected: The answer, for pairs whose answer is known; they are in no order.
        question: What is asked of a pair, where it is not which completion is better.

    Returns:
        One item a pair, the first first. The score of an item is the standard deviation of its
        leads, or the probability that a is better, by which its rule chose it.

    Raises:
        ValueError: If the rule needs a reward, or an ensemble, and there is none.
    """
    rng, known, asked = np.random.default_rng(config.seed), expected or {}, question or {}
    scores = _scores(config.rule, lead, len(pairs))
    # Chance must not hang on the order in which pairs were added.
    by_id = sorted(range(len(pairs)), key=lambda n: pairs[n].pair_id)
    by_chance = [by_id[n] for n in rng.permutation(len(by_id))]
    shuffled = [number for number in by_chance if pairs[number].pair_id not in known]
    drawn = deque(shuffled[: round(config.control * len(shuffled) + 0.5)])
    others = deque(_ordered(config.rule, shuffled[len(drawn) :], scores, pairs))
    ordered: list[tuple[int, str]] = []
    while drawn or others:
        takes_control = drawn and (not others or rng.random() < config.control)
        number = (drawn if takes_control else others).popleft()
        ordered.append((number, CONTROL if takes_control else config.rule))
    items = [
        WorkItem(
            subject=pairs[number].pair_id,
            rank=float(rank),
            chosen_by=rule,
            question=asked.get(pairs[number].pair_id, "compare"),
            score=None if scores is None or rule == CONTROL else float(scores[number]),
        )
        for rank, (number, rule) in enumerate(ordered)
    ]
    ids = {pair.pair_id for pair in pairs}
    return items + [
        WorkItem(
            subject=name,
            rank=_chance(config.seed, name),
            chosen_by="known",
            question=asked.get(name, "compare"),
            expected=side,
        )
        for name, side in known.items()
        if name in ids
    ]


def arrange_sheets(sheets: Sequence[Sheet], seed: int) -> list[WorkItem]:
    """Puts sheets into an order that is drawn by chance, and hangs on their names alone.

    Args:
        sheets: What is to be ranked, rated or marked.
        seed: Draws the order.
    """
    by_id = sorted(sheets, key=lambda sheet: sheet.sheet_id)
    return [
        WorkItem(
            subject=by_id[number].sheet_id,
            rank=float(rank),
            chosen_by="random",
            question=by_id[number].question,
        )
        for rank, number in enumerate(np.random.default_rng(seed).permutation(len(by_id)))
    ]


def _scores(
    rule: Rule, lead: NDArray[np.float64] | None, number: int
) -> NDArray[np.float64] | None:
    """What a rule goes by, ``(N,)``; None for chance and for writers."""
    if rule not in _NEEDS_REWARD:
        return None
    if lead is None:
        raise ValueError(f"rule is {rule}, which needs a reward that scores the texts")
    if lead.shape[1:] != (number,):
        raise ValueError(f"there are {number} pairs, but leads of shape {lead.shape}")
    if rule == "even":
        return np.asarray(expit(lead.mean(axis=0)), dtype=np.float64)
    if len(lead) < 2:  # noqa: PLR2004 - one member cannot differ
        raise ValueError("rule is disagreement, which needs an ensemble of two members or more")
    return np.asarray(lead.std(axis=0), dtype=np.float64)


def _ordered(
    rule: Rule, numbers: list[int], scores: NDArray[np.float64] | None, pairs: Sequence[Pair]
) -> list[int]:
    """Orders shuffled numbers of pairs by a rule; ties stay as they were shuffled."""
    if scores is not None:
        distance = -scores if rule == "disagreement" else np.abs(scores - 0.5)
        return sorted(numbers, key=lambda number: distance[number])
    if rule != "balanced":
        return numbers
    groups: dict[tuple[str, ...], deque[int]] = defaultdict(deque)
    for number in numbers:
        groups[tuple(sorted((pairs[number].policy_a, pairs[number].policy_b)))].append(number)
    ordered: list[int] = []
    while groups:
        for writers in sorted(groups):
            ordered.append(groups[writers].popleft())
            if not groups[writers]:
                del groups[writers]
    return ordered


def _chance(seed: int, name: str) -> float:
    """A number in [0, 1) that belongs to a name."""
    digest = hashlib.blake2b(json.dumps([seed, name]).encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64
