"""Stand-ins for people, with a known truth: they make every figure of a pipeline checkable.

They err as people do: by chance where two texts are close, by slips, by a liking for one side or
for long texts, by not looking at all, and the more so the longer they have sat there. AlpacaFarm
(Dubois et al. 2023) found that injected noise is what makes over-optimisation show, hence the
flips.

Simplifications: no ``both_bad`` and no skips, no ties in an order; lengths are counted in
characters; who rates or marks a single text is swayed by neither its length nor its side; who is
tired looks less often, and is no slower.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal
from urllib.parse import parse_qsl

from reward_models.preferences.pairs import Answer, Pair, Preference
from textgym.messages import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from textgym.types import RewardFunction

__all__ = ["PERSONAS", "SimulatedAnnotator", "persona"]

Said = Literal["left", "right", "tie"]
Mark = Literal["good", "bad"]

PERSONAS: Mapping[str, Mapping[str, float]] = {
    "average": {},
    "careful": {"slope": 8.0, "flip": 0.02},
    "careless": {"lapse": 0.5},
    "one-sided": {"left": 1.5},
    "wordy": {"longer": 3.0},
    "tired": {"fatigue": 0.5},
    "undecided": {"ties": 1.0},
}
"""Kinds of people by name, and what sets them apart from the average one."""

_HUNDRED = 100.0
_GRADES = 5  # from 1, as a page asks for them
_MOST_STRETCHES = 100  # of a text that is marked, each of which is scored left out
_WORD = re.compile(r"\S+")


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedAnnotator:
    """Chooses by Bradley-Terry on a hidden score and some weaknesses, then flips some answers.

    With ``z = slope * (score(first) - score(second)) + longer * l + left * s``, ``l`` the
    difference of the two lengths over their sum, and ``s`` 1 where the first stands on the left and
    -1 where it does not, the first wins with ``sigmoid(z - ties)``, the second with
    ``sigmoid(-z - ties)``, and the rest are ties. Of these answers ``flip`` are turned round. And
    before all that, a share of ``1 - (1 - lapse) exp(-fatigue * n / 100)`` of the n-th answers is a
    coin's, either side.

    An answer depends on the seed, the pair and its scores, and on ``n`` where there is fatigue:
    neither on the order of the pairs nor on an interruption.

    Attributes:
        score: The hidden score, any reward function. It sees prompts and completions only.
        slope: How sharply a difference of scores decides, in one over score units: one over the
            temperature of the choice.
        flip: The share of the answers that is turned round, in [0, .5].
        left: Liking for the left side, in log-odds.
        longer: Liking for the longer text, in log-odds where the other one is empty.
        ties: How close two texts may be for a tie, in log-odds; 0 is never one.
        lapse: The share of answers that look at nothing, in [0, 1].
        fatigue: How fast that share grows, in one over a hundred answers.
        middle: The score of a text that is rated fair, neither good nor bad.
        seed: Decides the chances; another seed is another person.
        name: What the answers are signed with.
    """

    score: RewardFunction
    slope: float = 4.0
    flip: float = 0.10
    left: float = 0.0
    longer: float = 0.0
    ties: float = 0.0
    lapse: float = 0.0
    fatigue: float = 0.0
    middle: float = 0.0
    seed: int = 0
    name: str = "simulated"

    def __post_init__(self) -> None:
        if not 0.0 <= 2 * self.flip <= 1.0:
            raise ValueError(f"flip is {self.flip}, but a share of turned answers lies in [0, .5]")
        if not 0.0 <= self.lapse <= 1.0:
            raise ValueError(f"lapse is {self.lapse}, but a share of answers lies in [0, 1]")
        if self.ties < 0 or self.fatigue < 0:
            raise ValueError(f"ties is {self.ties} and fatigue {self.fatigue}: give 0 or more")

    def answer(self, pairs: Sequence[Pair], answered: int = 0) -> list[Answer]:
        """Answers each pair, in their order, its sides drawn.

        Args:
            pairs: What to compare.
            answered: How many answers came before, which matters to whoever gets tired.
        """
        given = []
        differences = self._differences(pairs)
        for place, (pair, difference) in enumerate(zip(pairs, differences, strict=True)):
            a_is_left = _uniform(f"{self.seed}/{pair.pair_id}/side")[0] < 1 / 2
            z = self._lead(difference, pair.a, pair.b, self.left if a_is_left else -self.left)
            said = self._said(f"{self.seed}/{pair.pair_id}", z, answered + place)
            given.append(
                Answer(
                    pair_id=pair.pair_id,
                    annotator=self.name,
                    answer=said,
                    shown_left="a" if a_is_left else "b",
                )
            )
        return given

    def choose(self, prompt: str, left: str, right: str, answered: int = 0) -> Said:
        """Answers what a page shows, which says no pair's name.

        Args:
            prompt: What both texts follow.
            left: The text on the left.
            right: The text on the right.
            answered: How many answers came before; the same pair shown again is a new answer.
        """
        one, other = self.score([prompt, prompt], [left, right])
        z = self._lead(float(one - other), left, right, self.left)
        said = self._said(f"{self.seed}/{answered}/{prompt}/{left}/{right}", z, answered)
        names: Mapping[str, Said] = {"a": "left", "b": "right", "tie": "tie"}
        return names[said]

    def rank(self, prompt: str, texts: Sequence[str], answered: int = 0) -> list[int]:
        """Puts texts that a page shows in an order, with the chances of Plackett and Luce.

        Of two texts these are the chances of ``choose`` without ties. ``left`` is a liking for what
        stands first over what stands last, and of the orders ``flip`` are turned round.

        Args:
            prompt: What the texts follow.
            texts: In the order in which they stand.
            answered: See ``choose``.

        Returns:
            The places of the texts, from 0, the best first.
        """
        key = json.dumps([self.seed, answered, prompt, *texts])
        worth = [0.0] * len(texts)
        if not self._is_blind(key, answered):
            scores = self.score([prompt] * len(texts), list(texts))
            all_long, last = max(1, sum(map(len, texts))), max(1, len(texts) - 1)
            worth = [
                self.slope * score + self.longer * len(text) / all_long - self.left * place / last
                for place, (score, text) in enumerate(zip(scores, texts, strict=True))
            ]
        drawn = [each + _gumbel(f"{key}/{place}") for place, each in enumerate(worth)]
        order = sorted(range(len(texts)), key=lambda place: -drawn[place])
        return order[::-1] if _uniform(key)[0] < self.flip else order

    def rate(self, prompt: str, text: str, answered: int = 0) -> int:
        """Rates a text that a page shows from 1 to 5.

        With ``z = slope * (score - middle)`` and u uniform, the rating is the fifth of [0, 1] in
        which ``sigmoid(z + logit(u))`` lies, so that a rating of at most k has the chance
        ``sigmoid(logit(k / 5) - z)``; of the ratings ``flip`` are turned round, 5 to 1.

        Args:
            prompt: What the text follows.
            text: What is rated.
            answered: See ``choose``.
        """
        key = json.dumps([self.seed, answered, prompt, text])
        chance, turn = _uniform(key)
        if not self._is_blind(key, answered):
            (score,) = self.score([prompt], [text])
            noise = math.log(_inside(chance) / (1 - _inside(chance)))
            chance = _sigmoid(self.slope * (score - self.middle) + noise)
        grade = 1 + min(_GRADES - 1, int(_GRADES * chance))
        return _GRADES + 1 - grade if turn < self.flip else grade

    def mark(self, prompt: str, text: str, answered: int = 0) -> list[tuple[int, int, Mark]]:
        """Marks words of a text that a page shows as good or bad.

        A word is worth what the score loses without it. With ``z = slope * worth`` it is marked
        with the chance ``abs(2 sigmoid(z) - 1)``, by its sign, and of the marks ``flip`` are turned
        round; a word without an influence has none. Who looks at nothing marks one word, any.

        Args:
            prompt: What the text follows.
            text: What is marked; of a long one not words but stretches of several.
            answered: See ``choose``.

        Returns:
            Starts and ends, in characters, and marks, in their order.
        """
        key = json.dumps([self.seed, answered, prompt, text])
        stretches = _stretches(text)
        if not stretches:
            return []
        if self._is_blind(key, answered):
            place, coin = _uniform(key)
            start, end = stretches[min(len(stretches) - 1, int(place * len(stretches)))]
            return [(start, end, "good" if coin < 1 / 2 else "bad")]
        without = [text[:start] + text[end:] for start, end in stretches]
        whole, *others = self.score([prompt] * (len(stretches) + 1), [text, *without])
        found: list[tuple[int, int, Mark]] = []
        for (start, end), score in zip(stretches, others, strict=True):
            lead = self.slope * (whole - score)
            chance, turn = _uniform(f"{key}/{start}")
            if chance < abs(2 * _sigmoid(lead) - 1):
                found.append((start, end, "good" if (lead > 0) != (turn < self.flip) else "bad"))
        return found

    def true_order(self, pairs: Sequence[Pair]) -> list[Preference]:
        """Orders the completions by the hidden score itself, without chance or flips.

        Returns:
            One preference a pair, in their order; pairs of equal score are left out.
        """
        return [
            Preference(
                pair_id=pair.pair_id,
                prompt=pair.prompt,
                chosen=pair.a if difference > 0 else pair.b,
                rejected=pair.b if difference > 0 else pair.a,
                annotator=f"{self.name}, true order",
            )
            for pair, difference in zip(pairs, self._differences(pairs), strict=True)
            if difference != 0
        ]

    def _differences(self, pairs: Sequence[Pair]) -> list[float]:
        """Returns ``score(a) - score(b)`` of each pair."""
        if not pairs:
            return []
        prompts = [pair.prompt for pair in pairs]
        texts = [pair.a for pair in pairs] + [pair.b for pair in pairs]
        scores = list(self.score(prompts + prompts, texts))
        a, b = scores[: len(pairs)], scores[len(pairs) :]
        return [float(x - y) for x, y in zip(a, b, strict=True)]

    def _lead(self, difference: float, first: str, second: str, for_side: float) -> float:
        """The log-odds of the first text, but for ties."""
        both = len(first) + len(second)
        length = (len(first) - len(second)) / both if both else 0.0
        return self.slope * difference + self.longer * length + for_side

    def _blind(self, answered: int) -> float:
        """The share of answers that look at nothing."""
        return 1 - (1 - self.lapse) * math.exp(-self.fatigue * answered / _HUNDRED)

    def _is_blind(self, key: str, answered: int) -> bool:
        return _uniform(f"{key}/lapse")[0] < self._blind(answered)

    def _said(self, key: str, lead: float, answered: int) -> Literal["a", "b", "tie"]:
        """Draws an answer from uniform numbers hashed from the key."""
        if self._is_blind(key, answered):
            coin = _uniform(f"{key}/lapse")[1]
            return "a" if coin < 1 / 2 else "b"
        choice, turn = _uniform(key)
        first, second = _sigmoid(lead - self.ties), _sigmoid(-lead - self.ties)
        if first <= choice < 1 - second:
            return "tie"
        return "a" if (choice < first) != (turn < self.flip) else "b"


def persona(line: str, score: RewardFunction, seed: int, name: str = "") -> SimulatedAnnotator:
    """Makes a simulated annotator of a line such as ``careless`` or ``average?left=1&lapse=.2``.

    Args:
        line: A kind of ``PERSONAS``, and numbers that are set otherwise.
        score: The hidden score.
        seed: Another seed is another person.
        name: What the answers are signed with; left out, the kind and the seed.

    Raises:
        ValueError: If there is no such kind or number, or it is out of its range.
    """
    kind, _, query = line.partition("?")
    if kind not in PERSONAS:
        known = ", ".join(PERSONAS)
        raise ValueError(
            f"unknown kind of annotator {kind!r}{did_you_mean(kind, PERSONAS)}; known: {known}"
        )
    numbers = [
        f.name for f in fields(SimulatedAnnotator) if f.name not in ("score", "seed", "name")
    ]
    given = dict(PERSONAS[kind])
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key not in numbers:
            raise ValueError(f"unknown number {key!r} in {line!r}; known: {', '.join(numbers)}")
        try:
            given[key] = float(value)
        except ValueError:
            raise ValueError(f"{key} in {line!r} is no number: {value!r}") from None
    return SimulatedAnnotator(score=score, seed=seed, name=name or f"{kind} {seed}", **given)


def _uniform(key: str) -> tuple[float, float]:
    """Two numbers in [0, 1) that depend on the key alone."""
    digest = hashlib.blake2b(key.encode(), digest_size=16).digest()
    one, other = (int.from_bytes(part) / 2**64 for part in (digest[:8], digest[8:]))
    return one, other


def _sigmoid(value: float) -> float:
    return (1 + math.tanh(value / 2)) / 2


def _gumbel(key: str) -> float:
    """A standard Gumbel number that depends on the key alone."""
    return -math.log(-math.log(_inside(_uniform(key)[0])))


def _inside(chance: float) -> float:
    """The same number, or the nearest in (0, 1), so that it has a logarithm either way."""
    return min(max(chance, 2.0**-64), 1 - 2.0**-53)


def _stretches(text: str) -> list[tuple[int, int]]:
    """Where words of a text begin and end, or of a long one stretches of several words."""
    words = [match.span() for match in _WORD.finditer(text)]
    size = max(1, -(-len(words) // _MOST_STRETCHES))
    groups = [words[first : first + size] for first in range(0, len(words), size)]
    return [(group[0][0], group[-1][1]) for group in groups]
