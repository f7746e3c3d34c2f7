"""``textgym reward curve``: how a reward model's accuracy grows with pairs and falls with noise."""

from __future__ import annotations

import itertools
import json
import random
import tempfile
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro
from rich.console import Console

from reward_models.bootstrap import cluster_mean_interval
from reward_models.preferences import Preference, decided_pairs
from reward_models.training import RewardTrainingConfig, RewardTrainingData, fit_reward_model
from reward_models.transformer import load_reward
from reward_models.words import WordsReward
from textgym.cli.errors import CommandError
from textgym.cli.quiet import use_quiet_transformers
from textgym.cli.reward_data import Votes, load_data
from textgym.cli.reward_starts import make_start

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textgym.types import RewardFunction

__all__ = ["RewardCurveConfig", "reward_curve"]

_WORDS = "words"
_RESULTS = "results.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardCurveConfig:
    """Train reward models on more and more pairs, and on noisier ones; compare on the same test.

    Shows whether more answers would help, and whether a learned reward beats a bag of words. Every
    model of one seed learns from the same pairs: those of a smaller size are among those of a
    larger one. A result is kept as soon as it is there, so a run that was stopped goes on.
    """

    data: str
    """A file of preferences; a store of answers (.sqlite); datasets:NAME; or reviews."""
    out: Path
    """The folder for results.jsonl, a line a model."""
    models: tuple[str, ...] = ("words", "scratch")
    """What to compare: words (a linear model on TF-IDF), lstm, scratch, or folders."""
    sizes: tuple[int, ...] = (250, 500, 1000)
    """Numbers of pairs to learn from."""
    noise: tuple[float, ...] = (0.0,)
    """Shares of the answers that are turned round before learning; the test is left alone."""
    seeds: int = 3
    """How many times each, with other pairs, other first weights and another order. More makes
    the mean steadier."""
    test_pairs: int = 1000
    """The most held-out pairs to measure on. More makes intervals narrower and takes longer."""
    held_out: float = 0.2
    """Share of the prompts that only measure, where the data have no column split."""
    votes: Votes = "majority"
    """Of several people's answers in a store: majority, shares or each."""
    tokenizer: str | None = None
    """The tokenizer of lstm and scratch; left out, one is trained on the pairs learned from."""
    training: Annotated[RewardTrainingConfig, tyro.conf.OmitArgPrefixes] = field(
        default_factory=RewardTrainingConfig
    )
    """How to train; its seed is counted up from."""


def reward_curve(config: RewardCurveConfig, console: Console | None = None) -> None:
    """Trains what has no result yet, and prints the table.

    Args:
        config: What to do.
        console: Where to print; ``None`` for the terminal.

    Raises:
        CommandError: If there are too few pairs, or the data or models cannot work.
    """
    console = console or Console()
    use_quiet_transformers()
    data = load_data(config.data, held_out=config.held_out, seed=0, votes=config.votes)
    pairs, test = decided_pairs(data.train), decided_pairs(data.held_out)
    random.Random(0).shuffle(test)  # noqa: S311 - not a secret
    test = test[: config.test_pairs]
    if max(config.sizes) > len(pairs) or not test:
        raise CommandError(
            f"{config.data} has {len(pairs)} pairs to learn from and {len(test)} to measure on, "
            f"too few for a size of {max(config.sizes)}: give smaller --sizes, or more data"
        )
    path = config.out / _RESULTS
    results = _known(path)
    cells = itertools.product(config.sizes, config.noise, config.models, range(config.seeds))
    for size, noise, model, number in cells:
        seed = config.training.seed + number
        cell = {**_cell(config, model, size, noise), "seed": seed}
        if any(cell.items() <= result.items() for result in results):
            continue
        learned = _flip(random.Random(seed).sample(pairs, len(pairs))[:size], noise, seed)  # noqa: S311 - not a secret
        started = time.monotonic()
        reward = _fit(config, model, learned, seed)
        seconds = time.monotonic() - started
        result = {**cell, "seconds": round(seconds, 1), **_measure(reward, test)}
        results.append(result)
        _append(path, result)
        console.print(
            f"{model}, {size} pairs, noise {noise:g}, seed {seed}: {result['accuracy']:.3f} "
            f"[dim]({seconds:.0f} s)[/dim]",
            highlight=False,
        )
    for line in _table(config, results, [pair.prompt or pair.chosen for pair in test]):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _fit(
    config: RewardCurveConfig, model: str, learned: Sequence[Preference], seed: int
) -> RewardFunction:
    """Trains one model; nothing of it stays on the disk."""
    try:
        if model == _WORDS:
            return WordsReward.fit(learned, seed)
        settings = replace(config.training, seed=seed)
        texts = [p.prompt + text for p in learned for text in (p.chosen, p.rejected)]
        own = model in {"scratch", "lstm"}
        start = make_start(model, settings, config.tokenizer if own else None, texts)
        with tempfile.TemporaryDirectory() as folder:
            fit_reward_model(
                settings,
                RewardTrainingData(train=learned),
                start.model,
                start.tokenizer,
                folder,
            )
            return load_reward(folder)
    except ValueError as error:
        raise CommandError(f"{model} on {len(learned)} pairs: {error}") from error


def _flip(pairs: Sequence[Preference], noise: float, seed: int) -> list[Preference]:
    """Turns a share of the answers round, each by a draw of its own."""
    rng = random.Random(f"noise {seed}")  # noqa: S311 - not a secret
    return [
        replace(p, chosen=p.rejected, rejected=p.chosen) if rng.random() < noise else p
        for p in pairs
    ]


def _measure(reward: RewardFunction, test: Sequence[Preference]) -> dict[str, Any]:
    """Whether each pair is in order (2), a tie (1) or not (0); and each text on its side of 0.

    The latter means something where nothing but the text decides, so where prompts are empty: a
    trained reward has mean 0 on the texts that it learned from.
    """
    prompts = [pair.prompt for pair in test]
    texts = [pair.chosen for pair in test] + [pair.rejected for pair in test]
    scores = np.asarray(reward(prompts + prompts, texts))
    chosen, rejected = scores[: len(test)], scores[len(test) :]
    right = np.sign(chosen - rejected).astype(int) + 1
    measured = {
        "accuracy": float(right.mean() / 2),
        "right": "".join(map(str, right)),
    }
    if not any(prompts):
        sides = np.concatenate([chosen > 0, rejected <= 0])
        measured["label_accuracy"] = float(sides.mean())
    return measured


def _table(
    config: RewardCurveConfig, results: Sequence[dict[str, Any]], prompts: Sequence[str]
) -> list[str]:
    """Lines of Markdown: a row for each model, size and noise that was asked for.

    The interval is over the test's prompts, of the mean over seeds; the worst and the best seed say
    how far other pairs and first weights move it.
    """
    lines = [
        "| model | pairs | noise | accuracy (95 %) | worst and best seed | labels | seconds |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for model, size, noise in itertools.product(config.models, config.sizes, config.noise):
        wanted = _cell(config, model, size, noise)
        seeds = range(config.training.seed, config.training.seed + config.seeds)
        found = [r for r in results if wanted.items() <= r.items() and r["seed"] in seeds]
        right = np.mean([[int(digit) / 2 for digit in r["right"]] for r in found], axis=0)
        low, high = cluster_mean_interval(right, prompts, np.random.default_rng(0))
        each = [r["accuracy"] for r in found]
        labels = [r["label_accuracy"] for r in found if "label_accuracy" in r]
        lines.append(
            f"| {Path(model).name} | {size:,} | {noise:g} | {right.mean():.3f} ({low:.3f} to "
            f"{high:.3f}) | {min(each):.3f}, {max(each):.3f} | "
            f"{f'{np.mean(labels):.3f}' if labels else ''} | "
            f"{np.mean([r['seconds'] for r in found]):.0f} |"
        )
    return lines


def _cell(config: RewardCurveConfig, model: str, size: int, noise: float) -> dict[str, Any]:
    """What makes a result another one, but for the seed."""
    settings = asdict(config.training)
    return {
        "data": config.data,
        "held_out": config.held_out,
        "test_pairs": config.test_pairs,
        "model": model,
        "size": size,
        "noise": noise,
        "training": {name: settings[name] for name in settings if name != "seed"},
    }


def _known(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    # A line that was being written when the process died has no end.
    whole = path.read_text(encoding="utf-8").rpartition("\n")[0]
    return [json.loads(line) for line in whole.splitlines()]


def _append(path: Path, result: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(result) + "\n")
