"""The bounds between which a run counts as a success; pure functions of numbers.

A reward that sees one text at a time can be fooled: a policy that collapses into stock phrases of
praise gets its highest scores. So a run has bounds on KL divergence and on variety as well.

Simplification: a gate looks at a point estimate, not at its interval.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Gate", "all_passed", "quickstart_gates", "verdict"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One measured number and the bound it has to keep.

    Attributes:
        name: What was measured, in a few words.
        value: What came out.
        bound: The last value that passes.
        at_least: Whether ``value`` must be at least ``bound``, or at most.
        unit: Unit of both; empty for shares and ratios.
        explanation: One sentence on what the number is and why it has a bound.
    """

    name: str
    value: float
    bound: float
    at_least: bool
    unit: str = ""
    explanation: str = ""

    @property
    def passed(self) -> bool:
        """Whether the bound is kept; a value that is NaN or infinite measures nothing and fails."""
        if not math.isfinite(self.value):
            return False
        return self.value >= self.bound if self.at_least else self.value <= self.bound


def all_passed(gates: Iterable[Gate]) -> bool:
    """Whether there are gates and each of them passed."""
    results = [gate.passed for gate in gates]
    return bool(results) and all(results)


def verdict(gates: Iterable[Gate]) -> str:
    """The verdict of a run in words.

    Returns:
        "passed"; "failed: " and the names of the gates that did; or "not judged" without gates.
    """
    given = list(gates)
    if not given:
        return "not judged"
    failed = [gate.name for gate in given if not gate.passed]
    return "failed: " + ", ".join(failed) if failed else "passed"


def quickstart_gates(
    *,
    gold_gain: float,
    kl: float,
    distinct_2_ratio: float,
    repeated_bigrams: float,
    accuracy_noisy: float,
    accuracy_true: float,
) -> tuple[Gate, ...]:
    """The bounds of the quickstart, on prompts that no choice of settings has touched.

    Args:
        gold_gain: Mean gold score after training minus the one before, in [-1, 1].
        kl: Divergence of whole completions from the reference, nats.
        distinct_2_ratio: Distinct-2 after training divided by the one before.
        repeated_bigrams: Share of bigrams that their own completion has had before, in [0, 1].
        accuracy_noisy: The reward model's accuracy on held-out answers as given, noise included.
        accuracy_true: Its accuracy on the same pairs in their true order.
    """
    return (
        Gate(
            name="gold gain",
            value=gold_gain,
            bound=0.25,
            at_least=True,
            explanation="Rise of the mean score by a judge the training never saw.",
        ),
        Gate(
            name="KL",
            value=kl,
            bound=15.0,
            at_least=False,
            unit="nats",
            explanation="How far the policy moved from the language model it started as.",
        ),
        Gate(
            name="diversity",
            value=distinct_2_ratio,
            bound=0.5,
            at_least=True,
            explanation="Share of distinct bigrams over all completions, after over before; "
            "it drops when everything is answered with the same phrases.",
        ),
        Gate(
            name="repetition",
            value=repeated_bigrams,
            bound=0.06,
            at_least=False,
            explanation="Share of bigrams that a completion has already used.",
        ),
        Gate(
            name="reward model on noisy answers",
            value=accuracy_noisy,
            bound=0.60,
            at_least=True,
            explanation="Accuracy on held-out preferences as the annotators gave them.",
        ),
        Gate(
            name="reward model on the true order",
            value=accuracy_true,
            bound=0.66,
            at_least=True,
            explanation="Accuracy on the same pairs without the annotators' slips.",
        ),
    )
