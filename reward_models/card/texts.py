"""What a reward says of changed texts, of cut ones, in other batches, and how fast it says it.

Simplifications: throughput is of texts as long as those at hand, after one call to warm up.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from reward_models.card.measures import measured, rank_correlation
from reward_models.card.probes import (
    CHANGES,
    batch_difference,
    changed_texts,
    neighbour_difference,
    standardised_effects,
    truncated,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from numpy.typing import NDArray

    from reward_models.card.measures import Sampling
    from reward_models.card.pairs import ScoredPairs

    Scores = Callable[[Sequence[str], Sequence[str]], NDArray[np.float64]]

__all__ = [
    "BATCH_SIZES",
    "Texts",
    "change_rows",
    "limit_section",
    "steadiness_section",
    "throughput_rows",
    "truncation_rows",
]

BATCH_SIZES = (1, 7, 64)
_SHARES = (0.1, 0.25, 0.5, 0.75)
_STEADY_TEXTS = 192  # three times the largest batch
_NEIGHBOUR_TEXTS = 16
_FASTEST = 1e-9  # seconds; a clock may show none


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """Texts to change, and their scores.

    Attributes:
        prompts: The prompts, ``(M,)``.
        completions: The completions, ``(M,)``.
        clusters: What intervals draw each text with, ``(M,)``: its prompt, or it alone.
        pair_clusters: What they draw each pair with, ``(M / 2,)``.
        scores: Their scores, ``(M,)`` float64.
    """

    prompts: Sequence[str]
    completions: Sequence[str]
    clusters: Sequence[Hashable]
    pair_clusters: Sequence[Hashable]
    scores: NDArray[np.float64]

    @classmethod
    def sample(cls, scored: ScoredPairs, most: int, rng: np.random.Generator) -> Texts:
        """Takes both texts of at most ``most // 2`` pairs, drawn without replacement."""
        number = min(len(scored.pairs), max(1, most // 2))
        rows = np.sort(rng.permutation(len(scored.pairs))[:number])
        pairs = [scored.pairs[row] for row in rows]
        drawn = replace(scored, pairs=pairs)
        return cls(
            prompts=[pair.prompt for pair in pairs] * 2,
            completions=[pair.chosen for pair in pairs] + [pair.rejected for pair in pairs],
            clusters=drawn.text_clusters,
            pair_clusters=drawn.clusters,
            scores=np.concatenate([scored.chosen[rows], scored.rejected[rows]]),
        )


def change_rows(scores: Scores, texts: Texts, sampling: Sampling) -> list[dict[str, Any]]:
    """Measures what each change of ``CHANGES`` does to the score.

    Returns:
        A row for each: ``effect``, its mean in standard deviations of the unchanged texts' scores,
        and ``up``, the share of texts whose score rises.
    """
    rows = []
    for change in CHANGES:
        row: dict[str, Any] = {"name": change.name, "asks": change.asks}
        try:
            changed = changed_texts(change, texts.clusters, texts.completions, sampling.seed)
            after = scores(texts.prompts, changed)
            effects = standardised_effects(texts.scores, after)
        except ValueError as error:
            row |= {"effect": {"value": None, "why": str(error)}, "up": None}
        else:
            row |= {
                "effect": sampling.mean(effects, texts.clusters).as_json(),
                "up": float(np.mean(effects > 0)),
            }
        rows.append(row)
    return rows


def truncation_rows(scores: Scores, texts: Texts, sampling: Sampling) -> list[dict[str, Any]]:
    """Scores texts of which only the first part is there.

    Args:
        scores: The reward.
        texts: Texts whose first half are chosen and whose second half are the rejected ones.
        sampling: How intervals are drawn.

    Returns:
        A row for each share of the words kept, the whole last: ``accuracy`` on the cut pairs, and
        ``correlation`` (Spearman) with the scores of the whole texts.
    """
    half = len(texts.prompts) // 2
    rows = []
    for share in (*_SHARES, 1.0):
        cut = [truncated(text, share) for text in texts.completions]
        given = scores(texts.prompts, cut) if share < 1 else texts.scores
        right = (np.sign(given[:half] - given[half:]) + 1) / 2
        rows.append(
            {
                "name": f"{share:.0%} of the words",
                "share": share,
                "accuracy": sampling.mean(right, texts.pair_clusters).as_json(),
                "correlation": measured(partial(rank_correlation, given, texts.scores)).as_json(),
            }
        )
    return rows


def limit_section(reward: Any, texts: Texts) -> dict[str, Any]:
    """Counts the texts of which a learned reward cannot read all.

    Returns:
        ``tokens``, the most that are read, and ``longer``, the share of texts that are longer; both
        None, with ``why``, for a reward that names no limit.
    """
    model, tokenizer = getattr(reward, "model", None), getattr(reward, "tokenizer", None)
    limit = getattr(getattr(model, "config", None), "max_tokens", None)
    if limit is None or tokenizer is None:
        return {"tokens": None, "longer": None, "why": "the reward names no limit of its own"}
    whole = [a + b for a, b in zip(texts.prompts, texts.completions, strict=True)]
    # What stands around every text counts as well; as ``reward_models.reading.scoring.Reader`` has
    # it.
    around = len(getattr(tokenizer, "head", (tokenizer.bos_id,))) + len(
        getattr(tokenizer, "tail", ())
    )
    longer = [len(ids) + around > limit for ids in tokenizer.encode_batch(whole)]
    return {"tokens": int(limit), "longer": float(np.mean(longer))}


def steadiness_section(scores: Scores, texts: Texts) -> dict[str, Any]:
    """Scores the same texts again: at once, in other batches, and beside a much longer text.

    Returns:
        Largest differences, in the reward's unit, and ``spread``, the standard deviation of the
        scores, to hold them against.
    """
    prompts, completions = texts.prompts[:_STEADY_TEXTS], texts.completions[:_STEADY_TEXTS]
    again = np.abs(scores(prompts, completions) - scores(prompts, completions))
    return {
        "texts": len(prompts),
        "spread": float(texts.scores.std()),
        "asked_again": float(again.max()),
        "batches": [
            {
                "size": size,
                "largest_difference": batch_difference(scores, prompts, completions, size),
            }
            for size in BATCH_SIZES
        ],
        "beside_a_long_text": neighbour_difference(
            scores, prompts[:_NEIGHBOUR_TEXTS], completions[:_NEIGHBOUR_TEXTS]
        ),
    }


def throughput_rows(scores: Scores, texts: Texts) -> list[dict[str, Any]]:
    """Times the reward at each of ``BATCH_SIZES``.

    Returns:
        Rows with the batch size, ``scores_per_second`` on this machine, and ``ratio`` to a batch of
        one, which says the same on another.
    """
    prompts, completions = texts.prompts[:_STEADY_TEXTS], texts.completions[:_STEADY_TEXTS]
    scores(prompts, completions)
    rows: list[dict[str, Any]] = []
    for size in BATCH_SIZES:
        started = time.perf_counter()
        for start in range(0, len(prompts), size):
            scores(prompts[start : start + size], completions[start : start + size])
        speed = len(prompts) / max(time.perf_counter() - started, _FASTEST)
        first = rows[0]["scores_per_second"] if rows else speed
        rows.append({"batch": size, "scores_per_second": speed, "ratio": speed / first})
    return rows
