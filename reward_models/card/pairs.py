"""What labelled pairs say of a reward: order, confidence, margins, and what it likes too much.

Simplifications: length is counted in characters, which every language has, repetition in pairs of
words. A label that people disagree on counts like any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from reward_models.card.measures import Measure, Sampling, rank_correlation
from reward_models.measuring.pairs import drawn_with
from reward_models.metrics.shape import Repetition
from textgym.statistics.calibration import (
    brier,
    calibration_error,
    chance_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    probabilities,
    reliability,
)
from textgym.statistics.linked import grouped
from textgym.statistics.proportions import clustered_wilson

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

    from numpy.typing import NDArray

    from reward_models.preferences.pairs import Preference

__all__ = [
    "ScoredPairs",
    "accuracy_rows",
    "bias_rows",
    "calibration_section",
    "margin_section",
    "score_pairs",
]

_MARGIN_BINS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredPairs:
    """Labelled pairs and a reward's scores of both texts.

    Attributes:
        pairs: The labels, ``(N,)``.
        chosen: Scores of the chosen completions, ``(N,)`` float64.
        rejected: Scores of the others, ``(N,)`` float64.
    """

    pairs: Sequence[Preference]
    chosen: NDArray[np.float64]
    rejected: NDArray[np.float64]

    @property
    def lead(self) -> NDArray[np.float64]:
        """Scores of the chosen over the rejected completions, ``(N,)``."""
        return self.chosen - self.rejected

    @property
    def right(self) -> NDArray[np.float64]:
        """1 where the scores order the pair as its label does, .5 where they tie, ``(N,)``."""
        return (np.sign(self.lead) + 1) / 2

    @property
    def clusters(self) -> list[Hashable]:
        """What the intervals draw each pair with, ``(N,)``: its prompt, or its two texts."""
        return drawn_with(self.pairs)

    @property
    def text_clusters(self) -> Sequence[Hashable]:
        """What they draw each text with, ``(2 N,)``, the chosen ones first: its prompt, or it."""
        return [p.prompt or p.chosen for p in self.pairs] + [
            p.prompt or p.rejected for p in self.pairs
        ]


def score_pairs(
    scores: Callable[[Sequence[str], Sequence[str]], NDArray[np.float64]],
    pairs: Sequence[Preference],
) -> ScoredPairs:
    """Scores both completions of each pair in one call."""
    prompts = [pair.prompt for pair in pairs]
    texts = [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs]
    given = scores(prompts + prompts, texts) if pairs else np.zeros(0)
    return ScoredPairs(pairs=pairs, chosen=given[: len(pairs)], rejected=given[len(pairs) :])


def accuracy_rows(
    scored: ScoredPairs, groups: Mapping[str, Sequence[str]], sampling: Sampling
) -> list[dict[str, Any]]:
    """Measures the accuracy on all pairs and on each part of each division.

    Args:
        scored: The pairs.
        groups: By the name of a division, the part that each pair is in, ``(N,)``; empty for none.
        sampling: How intervals are drawn.

    Returns:
        A row for all pairs, then one for each part; the parts of ``longer text`` say which of the
        two texts has more characters.
    """
    differences = [len(pair.chosen) - len(pair.rejected) for pair in scored.pairs]
    names = {1: "the chosen one", 0: "neither", -1: "the rejected one"}
    lengths = {"longer text": [names[int(np.sign(difference))] for difference in differences]}
    rows = [_accuracy_row("all pairs", "", scored, np.ones(len(scored.pairs), bool), sampling)]
    for division, parts in {**groups, **lengths}.items():
        for part in sorted(set(parts) - {""}):
            mask = np.array([name == part for name in parts])
            rows.append(_accuracy_row(part, division, scored, mask, sampling))
    return rows


def _accuracy_row(
    name: str, division: str, scored: ScoredPairs, mask: NDArray[np.bool_], sampling: Sampling
) -> dict[str, Any]:
    right = scored.right[mask]
    prompts = [prompt for prompt, kept in zip(scored.clusters, mask, strict=True) if kept]
    return {
        "name": name,
        "division": division,
        "pairs": len(right),
        "prompts": len(set(grouped(prompts))),
        "ties": int(np.sum(right == 1 / 2)),
        "accuracy": sampling.mean(right, prompts).as_json(),
        "wilson": list(clustered_wilson(right, prompts)) if len(right) else None,
    }


def calibration_section(
    test: ScoredPairs, validation: ScoredPairs, sampling: Sampling
) -> dict[str, Any]:
    """Measures confidence as it is, and at the temperature that fits the validation pairs.

    Returns:
        ``temperature``, ``before`` and ``after``; ``after`` is None where there is no temperature.
    """
    leads = validation.lead
    if not len(leads):
        temperature = Measure(value=None, why="there are no validation pairs to fit it on")
    else:
        temperature = sampling.statistic(
            lambda rows: fit_temperature(leads[rows]), validation.clusters
        )
    return {
        "validation_pairs": len(leads),
        "temperature": temperature.as_json(),
        "before": _confidence(test, 1.0, sampling),
        "after": None
        if temperature.value is None
        else _confidence(test, temperature.value, sampling),
    }


def _confidence(test: ScoredPairs, temperature: float, sampling: Sampling) -> dict[str, Any]:
    given = probabilities(test.lead, temperature)
    losses = np.logaddexp(0.0, -test.lead / temperature)
    expected, high = chance_calibration_error(given, sampling.generator())
    bins = reliability(given)
    right, drawn = (np.sign(given - 1 / 2) + 1) / 2, test.clusters
    return {
        "calibration_error": calibration_error(given),
        "calibration_error_of_chance": {"mean": expected, "one_in_twenty": high},
        "brier": sampling.mean((1 - given) ** 2, test.clusters).as_json() | {"value": brier(given)},
        "negative_log_likelihood": sampling.mean(losses, test.clusters).as_json()
        | {"value": negative_log_likelihood(test.lead, temperature)},
        "bins": [
            {
                "pairs": part.pairs,
                "confidence": part.confidence,
                "accuracy": part.accuracy,
                "wilson": list(clustered_wilson(right[part.rows], [drawn[r] for r in part.rows])),
            }
            for part in bins
        ],
    }


def margin_section(scored: ScoredPairs) -> dict[str, Any]:
    """Counts the leads of the chosen texts in bins of equal width, 0 at an edge of one."""
    lead = scored.lead
    reach = float(np.abs(lead).max()) or 1.0
    counts, edges = np.histogram(lead, bins=_MARGIN_BINS, range=(-reach, reach))
    return {
        "edges": edges.tolist(),
        "counts": counts.tolist(),
        "mean": float(lead.mean()),
        "median": float(np.median(lead)),
    }


def bias_rows(scored: ScoredPairs, sampling: Sampling) -> list[dict[str, Any]]:
    """Measures how far scores follow length and repetition, beyond what the labels do.

    Returns:
        A row for each feature. ``correlation`` is Spearman's over all texts; ``within_pairs`` that
        of the two differences within a pair, whichever text was chosen; ``reward_prefers`` and
        ``people_prefer`` the shares of pairs in which the text with more of it has the higher score
        or was chosen, and ``excess`` the difference between them.
    """
    repeated = Repetition(n=2)
    features: dict[str, Callable[[Sequence[str]], Sequence[float]]] = {
        "length": lambda texts: [len(text) for text in texts],
        "repetition": lambda texts: repeated([""] * len(texts), texts),
    }
    return [_bias_row(name, feature, scored, sampling) for name, feature in features.items()]


def _bias_row(
    name: str,
    feature: Callable[[Sequence[str]], Sequence[float]],
    scored: ScoredPairs,
    sampling: Sampling,
) -> dict[str, Any]:
    chosen = np.array(feature([pair.chosen for pair in scored.pairs]), dtype=np.float64)
    rejected = np.array(feature([pair.rejected for pair in scored.pairs]), dtype=np.float64)
    texts = np.concatenate([chosen, rejected])
    scores = np.concatenate([scored.chosen, scored.rejected])
    more, lead, everyone = chosen - rejected, scored.lead, scored.clusters
    differ = np.flatnonzero(more)
    prompts = [everyone[row] for row in differ.tolist()]
    # Half a point where the scores tie, as in the accuracy.
    by_reward = (np.sign(lead[differ] * more[differ]) + 1) / 2
    by_people = (np.sign(more[differ]) + 1) / 2

    def within(rows: NDArray[np.intp]) -> float:
        # Both ways round, so that which of the two is called the chosen one does not matter.
        return rank_correlation(
            np.concatenate([lead[rows], -lead[rows]]), np.concatenate([more[rows], -more[rows]])
        )

    return {
        "name": name,
        "pairs_that_differ": len(differ),
        "correlation": sampling.statistic(
            lambda rows: rank_correlation(scores[rows], texts[rows]), scored.text_clusters
        ).as_json(),
        "within_pairs": sampling.statistic(within, everyone).as_json(),
        "reward_prefers": sampling.mean(by_reward, prompts).as_json(),
        "people_prefer": sampling.mean(by_people, prompts).as_json(),
        "excess": sampling.mean(by_reward - by_people, prompts).as_json(),
    }
