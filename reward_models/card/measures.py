"""A measured number with its interval, or the reason why there is none.

Small data leave many things undefined, such as a correlation with a length that never changes. The
functions that measure raise ``ValueError`` with the reason; here it becomes part of the result, so
that one thing that cannot be measured does not take the others along.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import spearmanr

from textgym.statistics.bootstrap import cluster_interval, cluster_mean_interval

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = ["Measure", "Sampling", "measured", "rank_correlation", "undefined"]

_SLOW_REPETITIONS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One number, or none.

    Attributes:
        value: The number; None if it is undefined.
        low: Lower end of its 95 % interval; None if there is no interval.
        high: Upper end.
        why: Why the number is undefined, or else why the interval is; empty if both are there.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    why: str = ""

    def as_json(self) -> dict[str, Any]:
        """Returns what is known; an infinite end of an interval is given as None."""
        known: dict[str, Any] = {"value": self.value}
        if self.low is not None or self.high is not None:
            known |= {"low": self.low, "high": self.high}
        return known | ({"why": self.why} if self.why else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How intervals are drawn; each begins with the seed anew, so that none moves another.

    Attributes:
        seed: Decides what is drawn.
        repetitions: How many resamples.
    """

    seed: int
    repetitions: int

    def mean(self, values: ArrayLike, clusters: Sequence[Hashable]) -> Measure:
        """Measures a mean over rows, ``(N,)``, with an interval over their clusters, ``(N,)``."""
        given = np.asarray(values, dtype=np.float64)
        if not len(given):
            return Measure(value=None, why="there are no rows")
        return measured(
            lambda: float(given.mean()),
            lambda: cluster_mean_interval(given, clusters, self.generator(), self.repetitions),
        )

    def statistic(
        self, statistic: Callable[[NDArray[np.intp]], float], clusters: Sequence[Hashable]
    ) -> Measure:
        """Measures a function of the numbers of rows, with an interval over their clusters.

        There are 500 resamples at most, since each of them takes a millisecond. In one where the
        function raises ``ValueError`` it counts as not finite.
        """

        def drawn(rows: NDArray[np.intp]) -> float:
            try:
                return statistic(rows)
            except ValueError:
                return math.nan

        few = min(self.repetitions, _SLOW_REPETITIONS)
        return measured(
            lambda: statistic(np.arange(len(clusters))),
            lambda: cluster_interval(drawn, clusters, self.generator(), few),
        )

    def generator(self) -> np.random.Generator:
        """Returns a generator that begins with the seed."""
        return np.random.default_rng(self.seed)


def measured(
    measure: Callable[[], float], interval: Callable[[], tuple[float, float]] | None = None
) -> Measure:
    """Measures, and keeps the reason if that cannot be done.

    Args:
        measure: Returns the number; it may raise ``ValueError`` with the reason, or return NaN.
        interval: Returns the ends of its interval, or raises ``ValueError``.
    """
    try:
        value = float(measure())
    except ValueError as error:
        return Measure(value=None, why=str(error))
    if not math.isfinite(value):
        return Measure(value=None, why=f"it comes out as {value}")
    if interval is None:
        return Measure(value=value)
    try:
        low, high = interval()
    except ValueError as error:
        return Measure(value=value, why=f"no interval: {error}")
    return Measure(
        value=value,
        low=low if math.isfinite(low) else None,
        high=high if math.isfinite(high) else None,
    )


def undefined(tree: Any, place: str = "") -> list[str]:
    """Lists what is undefined in a tree of JSON values, and why: one line each."""
    if isinstance(tree, dict):
        if "value" in tree and tree.get("why"):
            return [f"{place}: {tree['why']}"]
        children = [(str(key), child) for key, child in tree.items()]
    elif isinstance(tree, list):
        children = [(_name(child, number), child) for number, child in enumerate(tree)]
    else:
        return []
    return [
        line for name, child in children for line in undefined(child, f"{place} {name}".strip())
    ]


def rank_correlation(first: ArrayLike, second: ArrayLike) -> float:
    """Spearman's rank correlation of two series, ``(N,)`` each.

    Raises:
        ValueError: If one of them is constant, or there are fewer than two values.
    """
    series = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    for name, values in zip(("first", "second"), series, strict=True):
        if len(values) < 2 or np.all(values == values[0]):  # noqa: PLR2004  two values vary
            raise ValueError(
                f"all {len(values)} values of the {name} series are the same, and a correlation "
                "needs values that vary"
            )
    return float(spearmanr(*series).statistic)


def _name(child: Any, number: int) -> str:
    return str(child["name"]) if isinstance(child, dict) and "name" in child else str(number)
