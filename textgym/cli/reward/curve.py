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

from reward_models.learning.settings import RewardTrainingConfig, RewardTrainingData
from reward_models.learning.training import fit_reward_model
from reward_models.measuring.pairs import drawn_with
from reward_models.models.transformer import load_reward
from reward_models.models.words import WordsReward
from reward_models.preferences import Preference, data_hash, decided_pairs
from reward_models.reading.scoring import PreferenceReward
from textgym.cli.console import chosen_device, require_picture, say, use_quiet_transformers
from textgym.cli.parsing import CommandError
from textgym.cli.reward.curve_tables import (
    accuracy_table,
    confidence_table,
    draw_curves,
    trained_of,
)
from textgym.cli.reward.data import Votes, load_data
from textgym.cli.reward.starts import make_start
from textgym.files import exclusive_folder
from textgym.provenance import code_version, content_hash, json_hash

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from reward_models.preferences import Item
    from textgym.types import RewardFunction

__all__ = ["RewardCurveConfig", "reward_curve"]

_WORDS = "words"
_RESULTS = "results.jsonl"
# What results hold beside the hash of their origin, what is hashed by its contents, and where to
# write: none of it may be in the hash, or what is known would not be found again.
_ELSEWHERE = (
    "data",
    "columns",
    "skip_bad_rows",
    "out",
    "models",
    "sizes",
    "noise",
    "seeds",
    "picture",
)
_DIGITS = 6  # of a lead; what is equal in them is a tie


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardCurveConfig:
    """Train reward models on more and more pairs, and on noisier ones; compare on the same test.

    Shows whether more answers would help, and whether a learned reward beats a bag of words. Every
    model of one seed learns from the same pairs: those of a smaller size are among those of a
    larger one. A result is kept as soon as it is there, so a run that was stopped goes on. The
    seeds' scores are also averaged, to see whether an ensemble knows better how sure to be.
    """

    data: str
    """A file of preferences; a store of answers (.sqlite); datasets:NAME; or reviews."""
    out: Path
    """The folder for results.jsonl, a line a model."""
    models: tuple[str, ...] = ("words", "scratch")
    """What to compare: words (a linear model on TF-IDF), lstm, scratch, or folders."""
    sizes: tuple[int, ...] = (250, 500, 1000)
    """Numbers of pairs to learn from."""
    passes: int = 1
    """How often each of the reviews is in a pair to learn from, met with others each time; pairs of
    a later pass are used where those before do not suffice. More makes more pairs of no more
    texts."""
    last_words: int | None = None
    """So many words at the end of each completion are all that any model is given, in training and
    in the test; left out, whole ones. More says more, and takes longer."""
    noise: tuple[float, ...] = (0.0,)
    """Shares of the answers that are turned round before learning; the test is left alone."""
    seeds: int = 3
    """How many times each, with other pairs, other first weights and another order. More makes
    the mean steadier."""
    test_pairs: int = 1000
    """The most held-out pairs to measure on. More makes intervals narrower and takes longer."""
    held_out: float = 0.2
    """Share of the prompts, or without them of the texts, that only measure, where the data have no
    column split."""
    votes: Votes = "majority"
    """Of several people's answers to a pair: majority, shares or each."""
    columns: str | None = None
    """Which of a file's columns are which, as in prompt=question,chosen=answer_1,rejected=answer_2;
    for a file whose format is unknown."""
    skip_bad_rows: bool = False
    """Leave rows out that cannot be read, and say how many, instead of stopping at the first."""
    tokenizer: str | None = None
    """The tokenizer of lstm and scratch; left out, one is trained on the pairs learned from."""
    device: str = "auto"
    """Where to compute: cpu, cuda, or auto for cuda if there is one. A small model is faster on a
    cpu than you may think."""
    picture: Path | None = None
    """A .png or .svg to draw the accuracies into, against pairs and against noise."""
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
        CommandError: If there are too few pairs, or the data, models or numbers cannot work.
    """
    require_picture(config.picture)
    _require_some(config)
    config = replace(config, device=chosen_device(config.device))
    use_quiet_transformers()
    with exclusive_folder(config.out):
        _draw_curve(config, console or Console())


def _draw_curve(config: RewardCurveConfig, console: Console) -> None:
    data = load_data(
        config.data,
        held_out=config.held_out,
        seed=0,
        votes=config.votes,
        skip_bad=config.skip_bad_rows,
        columns=config.columns,
        passes=config.passes,
    )
    say(console, *(f"  {note}" for note in data.notes))
    pairs, test = (_cut(decided_pairs(p), config.last_words) for p in (data.train, data.held_out))
    random.Random(0).shuffle(test)  # noqa: S311 - not a secret
    test = test[: config.test_pairs]
    if max(config.sizes) > len(pairs) or not test:
        raise CommandError(
            f"{config.data} has {len(pairs)} pairs to learn from and {len(test)} to measure on, "
            f"too few for a size of {max(config.sizes)}: give smaller --sizes, or more data"
        )
    path = config.out / _RESULTS
    results = _known(path)
    origins = {model: _origin(config, model, pairs, test) for model in config.models}
    cells = itertools.product(config.sizes, config.noise, config.models, range(config.seeds))
    for size, noise, model, number in cells:
        seed = config.training.seed + number
        cell = {**_cell(origins, model, size, noise), "seed": seed}
        if any(cell.items() <= result.items() for result in results):
            continue
        learned = _flip(_draw(pairs, config.passes, seed)[:size], noise, seed)
        started = time.monotonic()
        reward = _fit(config, model, learned, seed)
        seconds = time.monotonic() - started
        result = {**cell, "seconds": round(seconds, 1), **_measure(reward, test)}
        results.append(result)
        _append(path, result)
        say(
            console,
            f"{model}, {size} pairs, noise {noise:g}, seed {seed}: {result['accuracy']:.3f} "
            f"({seconds:.0f} s)",
        )
    wanted = itertools.product(config.models, config.sizes, config.noise)
    trained = [trained_of(_seeds(config, results, _cell(origins, *which))) for which in wanted]
    prompts = drawn_with(test)
    say(console, *accuracy_table(trained, prompts), "", *confidence_table(trained, prompts))
    if config.picture is not None:
        draw_curves(trained, prompts, config.picture)


def _require_some(config: RewardCurveConfig) -> None:
    """Refuses lists of which each must name one at least."""
    if not config.models or not config.noise or not config.sizes:
        raise CommandError("name at least one of the models, one size, and one share of noise")


def _cut(pairs: Sequence[Preference], words: int | None) -> list[Preference]:
    """Keeps the last words of each text; one that has no more is left as it is."""

    def end(text: str) -> str:
        split = text.split()
        return text if words is None or len(split) <= words else " ".join(split[-words:])

    return [replace(pair, chosen=end(pair.chosen), rejected=end(pair.rejected)) for pair in pairs]


def _draw(pairs: Sequence[Preference], passes: int, seed: int) -> list[Preference]:
    """Shuffles the pairs of each pass, and leaves the passes in their order."""
    rng = random.Random(seed)  # noqa: S311 - not a secret
    length = len(pairs) // passes
    starts = range(0, len(pairs), length)
    return [pair for start in starts for pair in rng.sample(pairs[start : start + length], length)]


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
                config.device,
            )
            return load_reward(folder, device=config.device)
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
    """How far each chosen text leads, in log-odds; and the share of texts on its side of the mean.

    The latter means something where nothing but the text decides, so where prompts are empty. The
    mean is that of the texts that were learned from.
    """
    prompts = [pair.prompt for pair in test]
    texts = [pair.chosen for pair in test] + [pair.rejected for pair in test]
    scores, mean = _scores(reward, prompts + prompts, texts)
    chosen, rejected = scores[: len(test)], scores[len(test) :]
    lead = chosen - rejected
    measured = {
        "accuracy": float((np.sign(lead) + 1).mean() / 2),
        "leads": [round(float(one), _DIGITS) for one in lead],
    }
    if not any(prompts):
        sides = np.concatenate([chosen > mean, rejected <= mean])
        measured["label_accuracy"] = float(sides.mean())
    return measured


def _scores(
    reward: RewardFunction, prompts: Sequence[str], texts: Sequence[str]
) -> tuple[NDArray[np.float64], float]:
    """Scores in log-odds, ``(N,)``, and their mean on the texts that were learned from."""
    if isinstance(reward, PreferenceReward):
        return reward.raw(prompts, texts).numpy(), float(reward.model.config.score_mean)
    return np.asarray(reward(prompts, texts), dtype=np.float64), 0.0


def _cell(origins: dict[str, str], model: str, size: int, noise: float) -> dict[str, Any]:
    """What makes a result another one, but for the seed."""
    return {"origin": origins[model], "model": model, "size": size, "noise": noise}


def _seeds(
    config: RewardCurveConfig, results: Sequence[dict[str, Any]], cell: dict[str, Any]
) -> list[dict[str, Any]]:
    """The results of one model, size and noise, a seed each."""
    seeds = range(config.training.seed, config.training.seed + config.seeds)
    return [
        next(r for r in results if {**cell, "seed": seed}.items() <= r.items()) for seed in seeds
    ]


def _origin(
    config: RewardCurveConfig, model: str, pairs: Sequence[Item], test: Sequence[Item]
) -> str:
    """Hashes all that decides a model's results but for the size, the noise and the seed.

    Settings are in it by exclusion, so that a new one is never forgotten.
    """
    settings = asdict(config)
    for name in _ELSEWHERE:
        del settings[name]
    del settings["training"]["seed"]
    if model == _WORDS:  # a bag of words has neither
        del settings["training"], settings["tokenizer"], settings["device"]
    decides = {
        "settings": settings,
        "learned": data_hash(pairs),
        "measured": data_hash(test),
        "model": _contents(model),
        "tokenizer": _contents(settings.get("tokenizer")),
        "code": code_version(),
    }
    return json_hash(decides)


def _contents(name: str | None) -> str | None:
    """A name, or the hash of what lies at a path: it may be another thing tomorrow."""
    path = Path(name or "")
    return name if name is None or not path.exists() else content_hash(path)


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
