"""The wrappers of ``textgym.wrappers``, by the same names, for vector environments."""

from __future__ import annotations

from textgym.wrappers.vector.flattening import FlattenAction
from textgym.wrappers.vector.observations import (
    ActionMaskObservation,
    DictObservation,
    OneHotObservation,
    TextObservation,
)
from textgym.wrappers.vector.recording import RecordTrajectories
from textgym.wrappers.vector.shaping import PotentialShaping
from textgym.wrappers.vector.terms import LengthTerm, RepetitionTerm

__all__ = [
    "ActionMaskObservation",
    "DictObservation",
    "FlattenAction",
    "LengthTerm",
    "OneHotObservation",
    "PotentialShaping",
    "RecordTrajectories",
    "RepetitionTerm",
    "TextObservation",
]
