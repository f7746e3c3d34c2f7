"""Puts a reward card together: one dictionary of plain JSON values.

Simplifications: a reward with a method ``raw`` is taken at its raw scores, any other at its own,
for log-odds.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from reward_models.card.data import coded_answers, coded_scores
from reward_models.card.measures import Sampling, undefined
from reward_models.card.members import member_rows, spread_section
from reward_models.card.pairs import (
    ScoredPairs,
    accuracy_rows,
    bias_rows,
    calibration_section,
    margin_section,
    score_pairs,
)
from reward_models.card.people import agreement_section
from reward_models.card.texts import (
    Texts,
    change_rows,
    limit_section,
    steadiness_section,
    throughput_rows,
    truncation_rows,
)
from reward_models.measuring.pairs import chance_warnings, drawn_with
from reward_models.models.ensemble import EnsembleReward
from reward_models.preferences.formats import data_hash
from reward_models.preferences.traces import Traces, read_traces
from reward_models.reading.scoring import TRACES_FILE
from textgym.provenance import code_version, content_hash
from textgym.ranges import COUNT, SEED, require_ranges
from textgym.statistics.bootstrap import REPETITIONS
from textgym.statistics.linked import grouped

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from reward_models.card.data import CardData
    from textgym.types import RewardFunction

__all__ = ["CardConfig", "learned_from", "make_card", "scores_of"]


_INSIDE = ("function", "reward", "members", "operands")  # where a reward keeps what it is made of


@dataclass(frozen=True, slots=True, kw_only=True)
class CardConfig:
    """How a reward card is measured."""

    seed: int = 0
    """Decides which texts are changed, how they are shuffled, and every interval."""
    repetitions: int = REPETITIONS
    """Resamples behind each interval: more make its ends steadier and the card slower."""
    texts: int = 400
    """Most texts that are changed, cut, and scored in other batches: more are slower and surer."""

    def __post_init__(self) -> None:
        """Checks the numbers.

        Raises:
            ValueError: If one is out of range; the message names it.
        """
        require_ranges(self, {"seed": SEED, "repetitions": COUNT, "texts": COUNT})


def make_card(
    reward: RewardFunction,
    data: CardData,
    config: CardConfig,
    *,
    name: str,
    members: Mapping[str, RewardFunction] | None = None,
    folders: Sequence[Path] = (),
) -> dict[str, Any]:
    """Measures a reward.

    Args:
        reward: What is measured.
        data: What it is measured on.
        config: How.
        name: What the card calls it.
        members: Models of the same kind, such as those of other seeds, by name; None takes what an
            ensemble is made of.
        folders: Where the weights are, for their hash.

    Returns:
        The card, of JSON values. A figure is ``{"value", "low", "high"}``; one that is undefined
        has the value None, a ``why``, and a line under ``undefined``.

    Raises:
        RewardError: If a checked reward fails on a text.
    """
    scores = scores_of(reward)
    sampling = Sampling(seed=config.seed, repetitions=config.repetitions)
    test, validation = score_pairs(scores, data.test), score_pairs(scores, data.validation)
    texts = Texts.sample(test, config.texts, sampling.generator())
    card = {
        "reward": {
            "name": name,
            "scale": "raw scores, as log-odds"
            if _raw(reward) is not None
            else "the reward's own scores, taken as log-odds",
        },
        "data": {
            "source": data.source,
            "pairs": len(data.test),
            "prompts": len(set(grouped(drawn_with(data.test)))),
            "validation_pairs": len(data.validation),
            "left_out": dict(data.left_out),
        },
        "warnings": chance_warnings(test.right, test.pairs, test.clusters, sampling.generator()),
        "accuracy": accuracy_rows(test, data.groups, sampling),
        "people": agreement_section(
            coded_answers(data.answers), coded_scores(data.test, test.right.tolist()), sampling
        ),
        "calibration": calibration_section(test, validation, sampling),
        "margins": margin_section(test),
        "biases": bias_rows(test, sampling),
        "changes": change_rows(scores, texts, sampling),
        "truncation": {
            "rows": truncation_rows(scores, texts, sampling),
            "limit": limit_section(_function(reward), texts),
        },
        "steadiness": steadiness_section(scores, texts),
        "throughput": throughput_rows(scores, texts),
        "members": _members(
            _made_of(reward) if members is None else members,
            (name, test, validation),
            data,
            sampling,
        ),
        "provenance": {
            "code": code_version(),
            "data_hash": data_hash([*data.test, *data.validation]),
            "weights": {str(folder): content_hash(folder) for folder in folders},
            "settings": asdict(config),
        },
    }
    return card | {"undefined": undefined(card)}


def learned_from(rewards: Sequence[Any]) -> tuple[Traces | None, list[str]]:
    """Finds out what learned rewards, and those that they are made of, learned from.

    Args:
        rewards: Any rewards, such as an ensemble or the sum of two.

    Returns:
        All that is known, None if nothing is; and the folders of models that do not say it.

    Raises:
        ValueError: If a model's file about it is damaged.
    """
    traces: Traces | None = None
    silent = []
    for reward in rewards:
        origin = getattr(reward, "origin", None)
        if origin is not None and not (origin / TRACES_FILE).is_file():
            silent.append(str(origin))
        elif origin is not None:
            traces = read_traces(origin / TRACES_FILE) | (traces or Traces())
        inside = [getattr(reward, name, None) for name in _INSIDE]
        parts = [
            part for one in inside for part in (one if isinstance(one, list | tuple) else [one])
        ]
        if any(part is not None for part in parts):
            found, unsaid = learned_from([part for part in parts if part is not None])
            silent += unsaid
            traces = traces if found is None else found | (traces or Traces())
    return traces, silent


def scores_of(
    reward: RewardFunction,
) -> Callable[[Sequence[str], Sequence[str]], NDArray[np.float64]]:
    """Makes a function of prompts and completions that gives an array, ``(N,)`` float64.

    A reward around a Bradley-Terry model is taken at its raw scores, whose differences are
    log-odds; its own have been scaled to variance 1.
    """
    given = _raw(reward) or reward

    def scores(prompts: Sequence[str], completions: Sequence[str]) -> NDArray[np.float64]:
        return np.asarray(given(list(prompts), list(completions)), dtype=np.float64)

    return scores


def _members(
    members: Mapping[str, RewardFunction],
    whole: tuple[str, ScoredPairs, ScoredPairs],
    data: CardData,
    sampling: Sampling,
) -> dict[str, Any] | None:
    if not members:
        return None
    name, test, validation = whole
    scored = {
        member: (
            score_pairs(scores_of(reward), data.test),
            score_pairs(scores_of(reward), data.validation),
        )
        for member, reward in members.items()
    }
    everyone = scored | {name: (test, validation)}
    return {
        "rows": member_rows(everyone, sampling),
        "spread": spread_section([pairs for pairs, _ in scored.values()], sampling),
    }


def _made_of(reward: Any) -> dict[str, RewardFunction]:
    """Names the members of an ensemble by their numbers; of any other reward there are none."""
    function = _function(reward)
    members = function.members if isinstance(function, EnsembleReward) else []
    return {f"member {number}": member for number, member in enumerate(members)}


def _function(reward: Any) -> Any:
    """Returns what is inside a checked reward."""
    return getattr(reward, "function", reward)


def _raw(reward: Any) -> Any:
    return getattr(_function(reward), "raw", None)
