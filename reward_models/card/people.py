"""How far the people behind the labels agree, which is what a reward's accuracy is held against."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reward_models.card.measures import Measure, Sampling, measured
from reward_models.measuring.agreement import (
    answer_table,
    krippendorff_alpha,
    krippendorff_interval,
    majority_credits,
    mean_pairwise_kappa,
    pair_agreements,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from reward_models.measuring.agreement import Outsider

__all__ = ["agreement_section"]


def agreement_section(
    answers: Sequence[tuple[str, str, str]],
    outsider: Mapping[str, Outsider],
    sampling: Sampling,
) -> dict[str, Any]:
    """Measures agreement among people, and of a reward with them, over the same answers.

    Args:
        answers: ``(annotator, pair, answer)``, with answers coded as the item that was preferred.
        outsider: What the reward prefers of each pair, in the same code.
        sampling: How intervals are drawn.

    Returns:
        ``one_with_another``, the share of equal answers; ``with_majority``, the share of answers
        that agree with the majority of the others, both also for the reward; ``alpha``
        (Krippendorff, nominal) and ``kappa`` (Cohen, mean over pairs of people).
    """
    table, annotators, items = answer_table(answers)
    reward = [outsider[item] for item in items]

    def share(count: Callable[[], tuple[list[float], list[int]]]) -> dict[str, Any]:
        try:
            values, of_item = count()
        except ValueError as error:
            return Measure(value=None, why=str(error)).as_json()
        return sampling.mean(values, of_item).as_json()

    return {
        "annotators": len(annotators),
        "pairs": len(items),
        "pairs_with_two_answers": sum(
            sum(answer is not None for answer in given) > 1 for given in zip(*table, strict=True)
        ),
        "answers": sum(answer is not None for row in table for answer in row),
        "one_with_another": share(lambda: pair_agreements(table)),
        "reward_with_one": share(lambda: pair_agreements(table, reward)),
        "with_majority": share(lambda: majority_credits(table)),
        "reward_with_majority": share(lambda: majority_credits(table, reward)),
        "alpha": measured(
            lambda: krippendorff_alpha(table),
            lambda: krippendorff_interval(table, sampling.generator(), sampling.repetitions),
        ).as_json(),
        "kappa": measured(lambda: mean_pairwise_kappa(table)).as_json(),
    }
