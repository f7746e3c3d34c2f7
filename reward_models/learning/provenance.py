"""Where a trained model comes from: what decides its weights, and what is written beside them."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from reward_models.preferences.formats import data_hash
from reward_models.preferences.traces import Traces, traces_of
from reward_models.reading.scoring import TRACES_FILE
from textgym.provenance import checkpoint_home, code_version, json_hash, shape_of, weights_hash

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from reward_models.learning.comparisons import Comparison
    from reward_models.learning.settings import RewardTrainingConfig, RewardTrainingData
    from reward_models.preferences.rankings import Item

__all__ = ["decided_by", "home_of", "records_of"]

_LOG = logging.getLogger(__name__)
_REPORTED = ("logging_steps", "save_steps")  # what is reported and kept on the way decides nothing
_PROVENANCE_FILE = "training.json"


def decided_by(
    config: RewardTrainingConfig,
    learned: Sequence[Comparison],
    watched: Sequence[Comparison],
    model: Any,
    *,
    bf16: bool,
) -> dict[str, str]:
    """Hashes all that decides the weights: only the same run may go on from a checkpoint.

    The settings are in it by exclusion, so that a new one is never forgotten.
    """
    settings = {name: value for name, value in asdict(config).items() if name not in _REPORTED}
    return {
        "settings": json_hash(settings | {"bf16": bf16}),
        "data": json_hash([learned, watched]),  # what is watched decides where it stops
        "first weights": json_hash([weights_hash(model), shape_of(model.config.to_dict())]),
        "code": json_hash(code_version()),
    }


def home_of(checkpoints: Path, decides: Mapping[str, str]) -> Path:
    """Names the folder of a run's checkpoints, and warns where only those of other runs are there.

    Args:
        checkpoints: Where such folders lie.
        decides: What ``decided_by`` gave.
    """
    home, said = checkpoint_home(checkpoints, decides)
    if said:
        _LOG.warning(said)
    return home


def records_of(
    config: RewardTrainingConfig, data: RewardTrainingData, decides: Mapping[str, str]
) -> dict[str, Any]:
    """What is written beside a model about where it comes from, by the file."""
    traces = traces_of(data.train) | (data.before or Traces())
    return {
        _PROVENANCE_FILE: _provenance(asdict(config), data.train, data.evaluation, decides),
        TRACES_FILE: traces.as_json(),
    }


def _provenance(
    config: Mapping[str, Any],
    train: Sequence[Item],
    evaluation: Sequence[Item],
    start: Mapping[str, str],
) -> dict[str, Any]:
    """Collects what is needed to make a model again, or to see that it was made otherwise.

    Args:
        config: The settings, as JSON values.
        train: What it learned from.
        evaluation: What it was measured on.
        start: Hashes of all that decides the weights, by what it is.

    Returns:
        JSON values. No time and no machine's name, so that equal runs give equal files.
    """
    return {
        "config": dict(config),
        "start": dict(start),
        "data": {"items": len(train), "hash": data_hash(train)},
        "held_out": {"items": len(evaluation), "hash": data_hash(evaluation)},
        "code": code_version(),
    }
