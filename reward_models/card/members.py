"""What several models of one kind are worth, each and together, and how far they differ."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from reward_models.card.measures import measured, rank_correlation
from reward_models.card.pairs import calibration_section

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reward_models.card.measures import Sampling
    from reward_models.card.pairs import ScoredPairs

__all__ = ["member_rows", "spread_section"]


def member_rows(
    members: Mapping[str, tuple[ScoredPairs, ScoredPairs]], sampling: Sampling
) -> list[dict[str, Any]]:
    """Measures each of several models, such as those of several seeds, and what is made of them.

    Args:
        members: The test and the validation pairs under each model's scores, by its name.
        sampling: How intervals are drawn.

    Returns:
        Accuracy, temperature, calibration error and log-likelihood of each.
    """
    rows = []
    for name, (test, validation) in members.items():
        section = calibration_section(test, validation, sampling)
        row = {
            "name": name,
            "accuracy": sampling.mean(test.right, test.clusters).as_json(),
            "temperature": section["temperature"],
        }
        for when in ("before", "after"):
            found = section[when]
            for figure in ("calibration_error", "negative_log_likelihood"):
                row[f"{figure}_{when}"] = None if found is None else _number(found[figure])
        rows.append(row)
    return rows


def spread_section(members: Sequence[ScoredPairs], sampling: Sampling) -> dict[str, Any]:
    """Measures how far several models of one kind differ.

    Returns:
        ``accuracy``, from the lowest to the highest; ``correlation``, Spearman's of their scores,
        mean over pairs of models; ``disputed``, the share of pairs that they do not all order
        alike; ``deviation``, the standard deviation between them of a text's score, mean over
        texts, in units of their standard deviation between texts.
    """
    whole = [np.concatenate([member.chosen, member.rejected]) for member in members]
    orders = np.stack([np.sign(member.lead) for member in members])
    accuracies = [float(member.right.mean()) for member in members]

    def correlation() -> float:
        if len(whole) == 1:
            raise ValueError("one model has nothing to differ from: name two or more")
        pairs = itertools.combinations(whole, 2)
        return float(np.mean([rank_correlation(one, other) for one, other in pairs]))

    def deviation() -> float:
        if len(whole) == 1:
            raise ValueError("one model has nothing to differ from: name two or more")
        if any(scores.std() == 0 for scores in whole):
            raise ValueError("one of the models gives all texts the same score")
        standard = np.stack([(scores - scores.mean()) / scores.std() for scores in whole])
        return float(standard.std(axis=0).mean())

    return {
        "models": len(members),
        "accuracy": {"lowest": min(accuracies), "highest": max(accuracies)},
        "correlation": measured(correlation).as_json(),
        "disputed": sampling.mean(
            np.any(orders != orders[0], axis=0), members[0].clusters
        ).as_json(),
        "deviation": measured(deviation).as_json(),
    }


def _number(figure: Any) -> float:
    return float(figure["value"] if isinstance(figure, dict) else figure)
