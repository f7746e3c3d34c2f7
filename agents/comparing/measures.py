"""What is measured in a cell: texts of a policy by every reward, and what that says of rewards.

All rewards read the same texts of the test prompts, the gold among them, which nothing but its own
row has learned from. Figures are plain JSON; what has no value is ``None``.

Simplification: the pairs behind accuracy and calibration are all pairs of one prompt's completions
that the gold tells apart, and so are of the start's own hand.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from textgym.files import finite
from textgym.rewards import RewardError, resolve
from textgym.rewards.combining import Combination
from textgym.statistics.best_of_n import best_of_n_by_prompt, default_ns, kl_bound
from textgym.statistics.calibration import calibration_error, cross_fitted, probabilities
from textgym.statistics.overoptimisation import gamma

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from textgym.types import Example

__all__ = [
    "Panel",
    "best_of_n_snapshots",
    "predictors",
    "summary",
    "within_prompts",
]

_MOST_PAIRS = 4000  # behind a calibration error


@dataclass(slots=True)
class Panel:
    """All rewards of a study, and what asking them has cost.

    Attributes:
        specs: What is asked, by name.
        trained: The name of the one that the cell optimises; if another fails, its scores are
            missing, and if this one fails, so has the cell.
        calls: How often a reward was called.
        texts: How many texts they have read.
        seconds: How long it took.
        missing: What the rewards said that failed, by name.
    """

    specs: Mapping[str, Any]
    trained: str
    calls: int = 0
    texts: int = 0
    seconds: float = 0.0
    missing: dict[str, str] = field(default_factory=dict)
    _scorers: dict[str, Any] = field(default_factory=dict)

    def score(
        self,
        examples: Sequence[Example],
        completions: Sequence[str],
        ids: Sequence[Sequence[int]] | None = None,
        only: Sequence[str] | None = None,
    ) -> dict[str, NDArray[np.float64]]:
        """Asks every reward about N texts.

        Args:
            examples: What each was written after, ``(N,)``.
            completions: The texts.
            ids: Their token ids, for rewards that read them.
            only: Whom to ask; None asks all.

        Returns:
            Scores ``(N,)`` by the reward's name, those of rewards that failed left out.

        Raises:
            RewardError: If the reward that is optimised, or the gold, fails.
        """
        prompts, columns = _columns(examples)
        scores = {}
        for name, spec in self.specs.items():
            if name in self.missing or (only is not None and name not in only):
                continue
            start = time.perf_counter()
            try:
                reward = self._reward(name, spec)
                more = {"completion_ids": ids} if ids is not None and reward.reads_ids else {}
                given = reward(prompts, list(completions), **columns, **more)
            except (RewardError, ValueError, TypeError, ModuleNotFoundError) as error:
                if name in (self.trained, "gold"):
                    raise
                self.missing[name] = " ".join(str(error).split())
                continue
            scores[name] = np.asarray(given, dtype=np.float64)
            self.calls += 1
            self.texts += len(prompts)
            self.seconds += time.perf_counter() - start
        return scores

    def components(
        self,
        examples: Sequence[Example],
        completions: Sequence[str],
        ids: Sequence[Sequence[int]],
    ) -> dict[str, NDArray[np.float64]]:
        """What the parts of the reward that is optimised say, ``(N,)`` each; nothing of one part.

        Raises:
            RewardError: If a part fails.
        """
        reward = self._reward(self.trained, self.specs[self.trained])
        if not isinstance(reward, Combination):
            return {}
        prompts, columns = _columns(examples)
        more = {"completion_ids": ids} if reward.reads_ids else {}
        _, terms = reward.terms(prompts, list(completions), **columns, **more)
        return {name: np.asarray(each, dtype=np.float64) for name, each in terms.items()}

    def _reward(self, name: str, spec: Any) -> Any:
        if name not in self._scorers:
            self._scorers[name] = resolve(spec)
        return self._scorers[name]


def _columns(examples: Sequence[Example]) -> tuple[list[str], dict[str, list[Any]]]:
    """The prompts, and the task's columns by name."""
    names = examples[0].columns
    columns = {name: [example.columns[name] for example in examples] for name in names}
    return [example.prompt for example in examples], columns


def summary(scores: Mapping[str, NDArray[np.float64]]) -> dict[str, dict[str, float]]:
    """Mean and standard deviation over texts of each reward's scores, ``(N,)`` each."""
    return {
        name: {"mean": float(each.mean()), "deviation": float(each.std())}
        for name, each in scores.items()
    }


def best_of_n_snapshots(
    scores: Mapping[str, NDArray[np.float64]], reward: str, tokens: float
) -> list[dict[str, Any]]:
    """What the best of n by one reward is worth to all, for each n, without bias.

    Args:
        scores: ``(P, N)`` of each reward: N completions of P prompts.
        reward: The one that chooses.
        tokens: Tokens of one completion of every prompt, on average.

    Returns:
        A snapshot for each n, with the upper bound of its KL.
    """
    ns = default_ns(scores[reward].shape[1])
    of = {
        name: best_of_n_by_prompt(scores[reward], each, ns).mean(axis=0)
        for name, each in scores.items()
    }
    return [
        {
            "n": n,
            "tokens": round(n * tokens),
            "kl": float(kl_bound(n)),
            "scores": {name: {"mean": float(values[k])} for name, values in of.items()},
        }
        for k, n in enumerate(ns)
    ]


def predictors(
    reward: NDArray[np.float64],
    gold: NDArray[np.float64],
    snapshots: Sequence[Mapping[str, Any]],
    name: str,
) -> dict[str, float | None]:
    """What can be known of a reward before training with it.

    Args:
        reward: Its scores of N completions of P prompts of the start, ``(P, N)``.
        gold: The gold's, ``(P, N)``.
        snapshots: Its best of n.
        name: Its name in them.

    Returns:
        ``accuracy`` and ``hard accuracy`` of pairs of one prompt, the hard ones being the half that
        the gold tells apart least; ``best-of-n gain`` of the gold at the largest n, in standard
        deviations of the gold; ``gamma``; ``spread``, the share of the reward's standard deviation
        that is within prompts; ``calibration error`` at a temperature fitted on the other half of
        the prompts. ``None`` where there is none.
    """
    lead, wide, prompt = _leads(reward, gold)
    right = (np.sign(lead) + 1) / 2
    hard = wide <= np.median(wide) if len(wide) else np.zeros(0, dtype=np.bool_)
    golds = [each["scores"]["gold"]["mean"] for each in snapshots]
    proxies = [each["scores"][name]["mean"] for each in snapshots]
    kl = [each["kl"] for each in snapshots]
    figures = {
        "accuracy": _mean(right),
        "hard accuracy": _mean(right[hard]),
        "best-of-n gain": (golds[-1] - golds[0]) / float(gold.std())
        if gold.std() > 0
        else math.nan,
        "gamma": gamma(kl, proxies, golds),
        "spread": float(np.sqrt(np.mean(np.square(within_prompts(reward))))),
        "calibration error": _calibration(lead, prompt),
    }
    return dict(finite(figures))


def within_prompts(reward: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far each prompt's completions lie apart, in standard deviations of all scores.

    Args:
        reward: Scores of N completions of P prompts, ``(P, N)``.

    Returns:
        ``(P,)``; 0 where all scores are one. The mean of the squares is the share of the variance
        that is within prompts: the rest no policy can earn, since it cannot choose its prompt.
    """
    whole = float(reward.std())
    return reward.std(axis=1) / whole if whole > 0 else np.zeros(len(reward))


def _leads(
    reward: NDArray[np.float64], gold: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Of pairs that the gold tells apart: both leads, the reward's signed, and the prompt."""
    first, second = np.triu_indices(gold.shape[1], k=1)
    wide = gold[:, first] - gold[:, second]
    lead = (reward[:, first] - reward[:, second]) * np.sign(wide)
    prompt = np.broadcast_to(np.arange(len(gold))[:, None], wide.shape)
    apart = wide != 0
    return lead[apart], np.abs(wide[apart]), prompt[apart]


def _calibration(lead: NDArray[np.float64], prompt: NDArray[np.int64]) -> float:
    """At temperatures that were fitted on the other half; NaN where there is none."""
    step = max(1, len(lead) // _MOST_PAIRS)
    lead, prompt = lead[::step], prompt[::step]
    try:
        fitted, _ = cross_fitted(lead, prompt.tolist())
    except ValueError:
        return math.nan
    return calibration_error(probabilities(fitted))


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else math.nan
