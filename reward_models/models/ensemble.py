"""Several rewards as one, so that what only one of them likes is not worth much.

Members are put on one scale first: each is less its mean and over its standard deviation on
reference texts, and the constants are kept. Then the mean, the worst of them (WCO), or the mean
less a multiple of their variance (UWO), after Coste et al., "Reward Model Ensembles Help Mitigate
Overoptimization" (2023). Differences from their code: members are scaled; the variance is always
that of the members at hand (ddof 0); a weight of 0 leaves a member out, of the worst as well.

Simplification: members are run one after the other, on one device.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from reward_models.reading.loading import load_reward, wholeness
from textgym.files import atomic_folder, write_json
from textgym.ranges import NOT_NEGATIVE, require_ranges

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from textgym.types import RewardFunction

__all__ = ["EnsembleConfig", "EnsembleReward", "aggregate", "load_ensemble"]

_MODEL_TYPE = "textgym-ensemble"
_ROUNDING = 1e-9  # a spread below this share of the scores is no opinion
_HOW = ("mean", "min", "uwo")


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsembleConfig:
    """How members' scores become one."""

    how: Literal["mean", "min", "uwo"] = "uwo"
    """The weighted mean, the worst, or the mean less ``penalty`` times the variance."""
    penalty: float = 0.1
    """Price of a unit of variance under ``uwo``; more keeps to what members agree on. Coste et al.
    take 0.1 for PPO and 0.5 for best of n."""
    weights: tuple[float, ...] | None = None
    """One a member; only their shares matter, and 0 leaves a member out. None is equal ones."""

    def __post_init__(self) -> None:
        """Checks the numbers.

        Raises:
            ValueError: If one is out of range; the message names it.
        """
        require_ranges(self, {"penalty": NOT_NEGATIVE, "weights": NOT_NEGATIVE})


class EnsembleReward:
    """A reward function made of several.

    Attributes:
        members: The rewards.
        config: How their scores become one.
        means: Each member's mean on the reference texts, ``(K,)`` float64.
        stds: Each member's standard deviation there, ``(K,)`` float64.
    """

    def __init__(
        self,
        members: Sequence[RewardFunction],
        config: EnsembleConfig,
        means: npt.ArrayLike,
        stds: npt.ArrayLike,
    ) -> None:
        """Takes members and their constants; ``fit`` measures those.

        Raises:
            ValueError: If numbers do not fit each other, or a scale is not positive.
        """
        self.members = list(members)
        self.config = config
        self.means = np.asarray(means, dtype=np.float64)
        self.stds = np.asarray(stds, dtype=np.float64)
        count = len(self.members)
        self._weights = _shares(config, count)
        if self.means.shape != (count,) or self.stds.shape != (count,):
            raise ValueError(
                f"{count} members came with {self.means.size} means and {self.stds.size} standard "
                "deviations; give one of each a member"
            )
        if not (np.isfinite(self.means).all() and np.isfinite(self.stds).all()):
            raise ValueError("a member's mean or standard deviation is not finite")
        if not (self.stds > 0).all():
            raise ValueError(
                f"member {int(np.argmin(self.stds))} has the standard deviation "
                f"{self.stds.min()}, but scores are divided by it"
            )

    @classmethod
    def fit(
        cls,
        members: Sequence[RewardFunction],
        prompts: Sequence[str],
        completions: Sequence[str],
        config: EnsembleConfig | None = None,
        **columns: Sequence[Any],
    ) -> Self:
        """Puts members on one scale by reference texts, of the policy that they shall judge.

        Args:
            members: The rewards, at least one.
            prompts: The reference prompts, ``(N,)``.
            completions: Their completions, ``(N,)``; a few hundred know a scale to a few percent.
            config: How scores become one; None is the default.
            **columns: The task's columns, for members that read them.

        Raises:
            ValueError: If a member gives all reference texts one score.
        """
        raw = _ask(members, prompts, completions, columns)
        if raw.shape[1] == 0:
            raise ValueError("there are no reference texts to scale the members by")
        means, stds = raw.mean(axis=1), raw.std(axis=1)
        for number, std in enumerate(stds):
            if not std > _ROUNDING * max(1.0, abs(means[number])):
                raise ValueError(
                    f"member {number} gives all {raw.shape[1]} reference texts the score "
                    f"{means[number]}, which cannot be scaled: give other texts, or leave it out"
                )
        return cls(members, config or EnsembleConfig(), means, stds)

    def __call__(
        self, prompts: Sequence[str], completions: Sequence[str], **columns: Sequence[Any]
    ) -> list[float]:
        """Scores each completion, ``(N,)``; see ``RewardFunction``."""
        scaled = self.scaled(prompts, completions, **columns)
        scores: list[float] = aggregate(
            scaled, self._weights, self.config.how, self.config.penalty
        ).tolist()
        return scores

    def scaled(
        self, prompts: Sequence[str], completions: Sequence[str], **columns: Sequence[Any]
    ) -> npt.NDArray[np.float64]:
        """Each member's scores on the common scale, ``(K, N)`` float64."""
        raw = _ask(self.members, prompts, completions, columns)
        return np.asarray((raw - self.means[:, None]) / self.stds[:, None], dtype=np.float64)

    def variance(
        self, prompts: Sequence[str], completions: Sequence[str], **columns: Sequence[Any]
    ) -> npt.NDArray[np.float64]:
        """How far members disagree on each completion, ``(N,)`` float64; ddof 0."""
        return _moments(self.scaled(prompts, completions, **columns), self._weights)[1]

    def save(self, folder: str | Path) -> None:
        """Writes a folder with a folder for each member, which ``load_reward`` reads.

        Raises:
            ValueError: If a member has no method ``save``.
        """
        for number, member in enumerate(self.members):
            if not hasattr(member, "save"):
                raise ValueError(
                    f"member {number}, a {type(member).__name__}, has no method save(folder), so "
                    "the ensemble could not be loaded again"
                )
        names = [f"member-{number}" for number in range(len(self.members))]
        with atomic_folder(Path(folder)) as temporary:
            for name, member in zip(names, self.members, strict=True):
                saveable: Any = member
                saveable.save(temporary / name)
            write_json(
                temporary / "config.json",
                {
                    "model_type": _MODEL_TYPE,
                    "settings": asdict(self.config),
                    "members": names,
                    "means": self.means.tolist(),
                    "stds": self.stds.tolist(),
                },
            )


def load_ensemble(folder: Path, *, device: str = "cpu", batch_size: int = 64) -> EnsembleReward:
    """Loads what ``save`` wrote; ``load_reward`` comes here by ``config.json``.

    Raises:
        ValueError: If a member or the ensemble's own file is damaged.
    """
    with wholeness(folder):
        stored = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        settings = dict(stored["settings"])
        if settings["weights"] is not None:
            settings["weights"] = tuple(settings["weights"])
        _require_inside(stored["members"])
        members = [
            load_reward(folder / name, device=device, batch_size=batch_size)
            for name in stored["members"]
        ]
        return EnsembleReward(members, EnsembleConfig(**settings), stored["means"], stored["stds"])


def _require_inside(names: Sequence[str]) -> None:
    """Refuses members that are elsewhere than in the ensemble's own folder."""
    for name in names:
        if Path(name).name != name or name in ("", ".", ".."):
            raise ValueError(
                f"config.json names the member {name!r}, which is no folder in the ensemble's own"
            )


def aggregate(
    scores: npt.NDArray[np.float64],
    weights: npt.NDArray[np.float64],
    how: Literal["mean", "min", "uwo"],
    penalty: float = 0.0,
) -> npt.NDArray[np.float64]:
    """Makes one score of several.

    Args:
        scores: Members' scores on one scale, ``(K, N)`` float64.
        weights: The members' shares, ``(K,)`` float64, not negative, with the sum 1.
        how: ``mean``; ``min``, over the members with a share; or ``uwo``.
        penalty: What ``uwo`` takes off for each unit of variance.

    Returns:
        ``(N,)`` float64.
    """
    if how == "min":
        return np.asarray(scores[weights > 0].min(axis=0), dtype=np.float64)
    mean, variance = _moments(scores, weights)
    return mean - penalty * variance if how == "uwo" else mean


def _moments(
    scores: npt.NDArray[np.float64], weights: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Weighted mean and variance (ddof 0) over members, ``(N,)`` each."""
    mean = weights @ scores
    return mean, weights @ (scores - mean) ** 2


def _ask(
    members: Sequence[RewardFunction],
    prompts: Sequence[str],
    completions: Sequence[str],
    columns: dict[str, Sequence[Any]],
) -> npt.NDArray[np.float64]:
    if not members:
        raise ValueError("an ensemble has at least one member")
    rows = [
        np.asarray(member(prompts, completions, **columns), dtype=np.float64) for member in members
    ]
    for number, row in enumerate(rows):
        if row.shape != (len(completions),):
            raise ValueError(
                f"member {number} gave {row.size} scores for {len(completions)} completions"
            )
    return np.stack(rows)


def _shares(config: EnsembleConfig, count: int) -> npt.NDArray[np.float64]:
    if config.how not in _HOW:
        raise ValueError(f"how is {config.how!r}; choose one of {', '.join(_HOW)}")
    weights = np.ones(count) if config.weights is None else np.asarray(config.weights, np.float64)
    if weights.shape != (count,):
        raise ValueError(f"{count} members came with {weights.size} weights; give one a member")
    if not weights.sum() > 0:
        raise ValueError(f"weights are {config.weights}; one at least is more than 0")
    return np.asarray(weights / weights.sum(), dtype=np.float64)
