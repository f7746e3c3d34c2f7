"""Stand-ins for people, with a known truth: they make every figure of a pipeline checkable.

Simplifications: no fatigue, no bias for a side or for length, no ties. AlpacaFarm (Dubois et al.
2023) found that injected noise is what makes over-optimisation show, hence the flips.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scipy.special import expit

from reward_models.preferences.pairs import Answer, Pair, Preference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textgym.types import RewardFunction

__all__ = ["SimulatedAnnotator"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedAnnotator:
    """Chooses by Bradley-Terry on a hidden score, then flips some of the answers.

    ``P(a) = (1 - flip) p + flip (1 - p)`` with ``p = sigmoid(slope * (score(a) - score(b)))``.
    An answer depends on the seed, the pair's id and the two scores: neither on the order of the
    pairs nor on an interruption.

    Attributes:
        score: The hidden score, any reward function. It sees prompts and completions only.
        slope: How sharply a difference of scores decides, in one over score units.
        flip: The share of the answers that is turned round, in [0, .5].
        seed: Decides the chances; another seed is another person.
        name: What the answers are signed with.
    """

    score: RewardFunction
    slope: float = 4.0
    flip: float = 0.10
    seed: int = 0
    name: str = "simulated"

    def __post_init__(self) -> None:
        if not 0.0 <= 2 * self.flip <= 1.0:
            raise ValueError(f"flip is {self.flip}, but a share of turned answers lies in [0, .5]")

    def answer(self, pairs: Sequence[Pair]) -> list[Answer]:
        """Answers each pair, in their order, always with ``a`` or ``b``."""
        return [
            Answer(
                pair_id=pair.pair_id,
                annotator=self.name,
                answer="a" if self._prefers_a(pair.pair_id, difference) else "b",
            )
            for pair, difference in zip(pairs, self._differences(pairs), strict=True)
        ]

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

    def _prefers_a(self, pair_id: str, difference: float) -> bool:
        """Draws the choice and the flip from two uniform numbers hashed from seed and pair."""
        digest = hashlib.blake2b(f"{self.seed}/{pair_id}".encode(), digest_size=16).digest()
        choice, turn = (int.from_bytes(part) / 2**64 for part in (digest[:8], digest[8:]))
        prefers_a = choice < float(expit(self.slope * difference))
        return prefers_a != (turn < self.flip)
