"""Views, reward terms and recording around an environment; ``vector`` has the twins for batches."""

from __future__ import annotations

from textgym.recording.trajectories import Trajectory, read_trajectories
from textgym.wrappers import vector
from textgym.wrappers.flattening import FlattenAction
from textgym.wrappers.observations import (
    ActionMaskObservation,
    DictObservation,
    OneHotObservation,
    TextObservation,
)
from textgym.wrappers.recording import RecordTrajectories
from textgym.wrappers.shaping import PotentialShaping
from textgym.wrappers.terms import LengthTerm, RepetitionTerm

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
    "Trajectory",
    "read_trajectories",
    "vector",
]
