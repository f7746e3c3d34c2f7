"""What a standard study starts from and is judged by, made of text that installed packages bring.

Each piece is a stage of a run, so that the same command goes on after a stop: a language model that
writes, reward models that learned from preferences, an ensemble of them, a gold judge.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agents.sft import SFTConfig
from reward_models.learning.settings import RewardTrainingConfig
from reward_models.models.ensemble import EnsembleConfig
from reward_models.models.gold import GoldJudge
from reward_models.preferences import write_preferences
from textgym.cli.policy.sft import SFTTraining, train_sft
from textgym.cli.reward.ensemble import RewardEnsembleConfig, make_ensemble
from textgym.cli.reward.train import RewardTrainConfig, train_reward
from textgym.cli.stages import Run, Stage
from textgym.files import atomic_file, atomic_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from reward_models.preferences import Preference

__all__ = ["FULL", "SMOKE", "Sizes", "ensemble", "judge", "judge_of", "learned", "writer"]

_MEMBERS = 3
_RATE = 1e-3  # of a reward model of a few million weights
_TEXTS = 256  # that put the members of an ensemble on one scale


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How large the material is.

    Attributes:
        model: Of the language model, its layers, width and heads.
        steps: Updates of the language model.
        texts: Most texts, or prompts and completions, that it learns from.
        pairs: Most preferences that reward models learn from.
        judged: Most labelled texts that a gold judge learns from.
    """

    model: tuple[int, int, int]
    steps: int
    texts: int
    pairs: int
    judged: int


FULL = Sizes(model=(4, 256, 4), steps=520, texts=20_000, pairs=1_800, judged=4_400)
SMOKE = Sizes(model=(1, 32, 2), steps=4, texts=64, pairs=96, judged=300)
"""A study's own sizes, and those that show in seconds that every stage works."""


def writer(rows: Callable[[], Sequence[Mapping[str, str]]], sizes: Sizes, row_tokens: int) -> Stage:
    """Trains the language model that all start from, in ``writer``.

    Args:
        rows: Gives texts (``text``), or what is to be answered (``prompt``, ``completion``).
        sizes: The most of them, and the model's.
        row_tokens: The longest text that it can read.
    """
    layers, width, heads = sizes.model

    def work(run: Run) -> Mapping[str, Any]:
        data, out = run.out / "texts.jsonl", run.out / "writer"
        _write_rows(data, rows()[: sizes.texts])
        training = SFTConfig(
            layers=layers,
            width=width,
            heads=heads,
            steps=sizes.steps,
            row_tokens=row_tokens,
            packing=True,
            bf16=False,
        )
        if not (out / "training.json").is_file():
            config = SFTTraining(
                data=(str(data),), out=out, model="small", whole=False, training=training
            )
            train_sft(config, run.console)
        return _figures(out / "training.json", "perplexity")

    return Stage(name="writer", title="Language model", work=work)


def learned(pairs: Callable[[], Sequence[Preference]], sizes: Sizes, length: int) -> list[Stage]:
    """Trains reward models on preferences, in ``learned-0`` and so on; they differ by their seed.

    Args:
        pairs: Gives preferences.
        sizes: The most of them.
        length: Tokens of prompt and completion that a model reads.
    """

    def train(run: Run, seed: int) -> Mapping[str, Any]:
        data, out = run.out / "pairs.jsonl", run.out / f"learned-{seed}"
        if not data.is_file():
            write_preferences(list(pairs())[: sizes.pairs], data)
        if not (out / "metrics.json").is_file():
            config = RewardTrainConfig(
                data=str(data),
                out=out,
                model=str(run.out / "writer"),
                training=RewardTrainingConfig(seed=seed, learning_rate=_RATE, max_length=length),
            )
            train_reward(config, run.console)
        return _figures(out / "metrics.json", "evaluation_accuracy")

    return [
        Stage(
            name=f"learned-{seed}",
            title=f"Reward model {seed}",
            work=functools.partial(train, seed=seed),
        )
        for seed in range(_MEMBERS)
    ]


def ensemble() -> Stage:
    """Makes the worst of the reward models, in ``worst``."""

    def work(run: Run) -> Mapping[str, Any]:
        if not (run.out / "worst").exists():
            config = RewardEnsembleConfig(
                members=tuple(str(run.out / f"learned-{seed}") for seed in range(_MEMBERS)),
                data=str(run.out / "pairs.jsonl"),
                out=run.out / "worst",
                texts=_TEXTS,
                ensemble=EnsembleConfig(how="min"),
            )
            make_ensemble(config, run.console)
        return {"members": _MEMBERS}

    return Stage(name="ensemble", title="Ensemble", work=work)


def judge(texts: Callable[[], Sequence[tuple[str, int]]], sizes: Sizes) -> Stage:
    """Trains the gold on labels that people gave, in ``judge``.

    Args:
        texts: Gives texts and labels, 1 for good and 0 for bad, that nothing else learns from.
        sizes: The most of them; as many again say how good it is.
    """

    def work(run: Run) -> Mapping[str, Any]:
        every = texts()
        learn, test = every[: sizes.judged], every[sizes.judged : 2 * sizes.judged]
        made = GoldJudge.fit([text for text, _ in learn], [label for _, label in learn])
        with atomic_folder(run.out / "judge") as folder:
            made.save(folder)
        accuracy = made.accuracy([text for text, _ in test], [label for _, label in test])
        return {"accuracy": accuracy}

    return Stage(name="judge", title="Gold judge", work=work)


def judge_of(folder: Path) -> dict[str, Any]:
    """The reward that the gold judge of a folder is."""
    return {"reward_models.models.gold:GoldJudge.load": {"folder": str(folder / "judge")}}


def _write_rows(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    with atomic_file(path) as file:
        file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


def _figures(path: Path, *names: str) -> dict[str, Any]:
    """Some figures of what a command has recorded."""
    found = json.loads(path.read_text(encoding="utf-8"))
    known = found.get("figures", found)
    return {name: known[name] for name in names if name in known}
