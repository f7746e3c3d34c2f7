"""What people (or stand-ins for people) prefer: pairs, answers, and the file that keeps them."""

from reward_models.preferences.annotators import SimulatedAnnotator
from reward_models.preferences.pairs import Answer, Pair, Preference, build_pairs, majority
from reward_models.preferences.store import PreferenceStore, StoreError

__all__ = [
    "Answer",
    "Pair",
    "Preference",
    "PreferenceStore",
    "SimulatedAnnotator",
    "StoreError",
    "build_pairs",
    "majority",
]
