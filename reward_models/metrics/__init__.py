"""Rewards that need no training, listed by name among the entry points ``textgym.rewards``.

Each has the signature of a reward function, ``(prompts, completions, **columns)``; a class makes
one from its settings. A score says how much there is of what the reward is named after: give it a
negative weight where less is better. ``likelihood`` needs torch and is imported by itself.
"""

from reward_models.metrics.lexical import Constant, Keywords, length, vader
from reward_models.metrics.overlap import Bleu, Chrf, Rouge
from reward_models.metrics.shape import Distinct, LengthWindow, Readability, Repetition
from reward_models.metrics.squad import SquadExactMatch, SquadF1

__all__ = [
    "Bleu",
    "Chrf",
    "Constant",
    "Distinct",
    "Keywords",
    "LengthWindow",
    "Readability",
    "Repetition",
    "Rouge",
    "SquadExactMatch",
    "SquadF1",
    "length",
    "vader",
]
