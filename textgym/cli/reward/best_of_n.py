"""``textgym reward best-of-n``: what optimising one reward does to another, without training."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path  # noqa: TC003  the command line is made from the annotations
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from reward_models.card.charts import best_of_n_chart, save_chart
from textgym.cli.console import chosen_device, say
from textgym.cli.parsing import CommandError
from textgym.cli.reward.naming import named_reward, read_spec
from textgym.data.tables import SkippedRows, checked_rows, parse_columns, read_rows
from textgym.files import atomic_file, exclusive_folder, write_json
from textgym.provenance import code_version, named_contents
from textgym.statistics.best_of_n import (
    BestOfNCurve,
    best_of_n_curve,
    default_ns,
    fit_overoptimisation,
    peak_interval,
)
from textgym.statistics.bootstrap import REPETITIONS
from textgym.tokenizers import load_tokenizer
from textgym.types import Example

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from textgym.data.tables import Row

__all__ = ["BestOfNConfig", "Samples", "best_of_n_command", "read_samples"]

_FEWEST_FITTED = 3  # values of n, the first of them 1
_ROWS_AT_ONCE = 64
_COUNT = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class BestOfNConfig:
    """Choose the best of n completions by a proxy, and ask a gold about it, for every n at once.

    Writes ``best_of_n.json`` and ``best_of_n.png`` into ``--out``, and ``samples.jsonl`` where it
    sampled.
    """

    proxy: str
    """The reward that chooses: a known name, "module:attribute", a folder, or JSON, such as
    '{"clip": {"reward": "vader", "low": 0}}'."""
    gold: str
    """The reward that is asked about what was chosen, named likewise."""
    data: str
    """JSON Lines, or another table: a prompt and a list of completions each, and columns that
    rewards may read."""
    out: Path
    """The folder to write into; it is made, and an earlier result in it is replaced."""
    count: int | None = None
    """Completions of each prompt: the first so many of the file's, where some have more than
    others; with --policy, so many are written, 64 unless you say. More reach a higher n and take
    longer."""
    policy: str | None = None
    """A language model that writes the completions: a folder, or smollm2, hub:NAME; --data then
    needs prompts only."""
    tokenizer: str | None = None
    """For a policy without one of its own: a known name, or a file."""
    prompt_tokens: int = 32
    """Tokens of a prompt that the policy reads; of a longer one the end, more is slower."""
    completion_tokens: int = 32
    """The most tokens of a completion; more is slower."""
    temperature: float = 1.0
    """Divides the policy's logits; more makes completions more varied."""
    seed: int = 0
    """Decides what the policy writes, and the intervals."""
    repetitions: int = REPETITIONS
    """Resamples of the prompts behind each interval: more make its ends steadier."""
    columns: str | None = None
    """Which of a file's columns are which, as in prompt=question,completions=answers; a.b is what a
    holds under b."""
    skip_bad_rows: bool = False
    """Leave rows out that cannot be read, and say how many, instead of stopping at the first."""
    device: str = "auto"
    """Where the policy and the rewards' models run: cpu, cuda, or auto for cuda if there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Prompts with as many completions each.

    Attributes:
        prompts: The prompts, ``(P,)``.
        completions: N completions of each.
        columns: The columns of each prompt, by their names.
    """

    prompts: Sequence[str]
    completions: Sequence[Sequence[str]]
    columns: Mapping[str, Sequence[Any]]


def best_of_n_command(config: BestOfNConfig, console: Console | None = None) -> None:
    """Samples if asked to, scores, and writes the curve.

    Args:
        config: What and how.
        console: Where to print; None for the terminal.

    Raises:
        CommandError: If a reward, the policy or the samples cannot be had.
    """
    if config.out.exists() and not config.out.is_dir():
        raise CommandError(f"--out {config.out} is a file: name a folder")
    config = replace(config, device=chosen_device(config.device))
    with exclusive_folder(config.out):
        _write_curve(config, console or Console())


def _write_curve(config: BestOfNConfig, console: Console) -> None:
    device = config.device
    try:
        proxy, gold = (named_reward(name, device) for name in (config.proxy, config.gold))
        skipped = SkippedRows() if config.skip_bad_rows else None
        samples = read_samples(
            config.data,
            completions=config.policy is None,
            count=config.count,
            columns=parse_columns(config.columns),
            on_bad=skipped,
        )
        if skipped is not None:
            say(console, *skipped.notes)
        if config.policy is not None:
            samples = _sampled(config, samples, device)
            config.out.mkdir(parents=True, exist_ok=True)
            _write_samples(samples, config.out / "samples.jsonl")  # before a reward can fail
    except (ValueError, TypeError) as error:
        raise CommandError(str(error)) from error
    scores = [_scored(reward, samples) for reward in (proxy, gold)]
    result, curve = _measured(scores[0], scores[1], config)
    write_json(config.out / "best_of_n.json", result)
    chart = best_of_n_chart(asdict(curve), gold_name=config.gold, fit=result["fit"])
    save_chart(chart, config.out / "best_of_n.png")
    peak = result["peak"]
    say(
        console,
        f"gold {curve.gold[0]:.3f} at n = 1, {peak['gold']:.3f} at n = {peak['n']} (highest), "
        f"{curve.gold[-1]:.3f} at n = {curve.ns[-1]}; proxy {curve.proxy[0]:.3f} to "
        f"{curve.proxy[-1]:.3f}\n{_fitted(result)}{config.out / 'best_of_n.png'}",
    )


def _fitted(result: Mapping[str, Any]) -> str:
    """A line about the fitted curve and its peak, with the peak's interval; empty without a fit."""
    fit, ends = result["fit"], result["fitted_peak_kl"]
    if fit is None:
        return ""
    where = "no peak" if fit["peak_kl"] is None else f"peak at {fit['peak_kl']:.2f} nats"
    if fit["peak_gain"] is not None:
        where += f", gain {fit['peak_gain']:.3f}"
    if ends is not None:
        low, high = ("infinity" if e is None else f"{e:.2f}" for e in (ends["low"], ends["high"]))
        where += f"; the peak's interval is {low} to {high} nats (95 %)"
    return f"the fitted gold {fit['shape']}: {where}\n"


def read_samples(
    name: str,
    *,
    completions: bool = True,
    count: int | None = None,
    columns: Mapping[str, str] | None = None,
    on_bad: Callable[[ValueError], None] | None = None,
) -> Samples:
    """Reads prompts and their completions.

    Args:
        name: A file that ``read_rows`` reads, with ``prompt`` and the list ``completions``.
        completions: Whether there must be completions; without, those that are there are left.
        count: Use the first so many of each prompt; None for all.
        columns: The file's name of a column by ours.
        on_bad: Is told why a row cannot be read, which is then left out; None raises it.

    Raises:
        ValueError: If a row has none, or not as many as the others; the message says where.
        FileNotFoundError: If there is no such file.
    """
    found = read_rows(name, columns=columns, on_bad=on_bad)
    rows = checked_rows(found, lambda row: _check_row(row, completions=completions), on_bad)
    prompts: list[str] = [row.values["prompt"] for row in rows]
    texts: list[list[str]] = [
        list(row.values["completions"])[:count] if completions else [] for row in rows
    ]
    sizes = {len(given) for given in texts}
    if len(sizes) > 1:
        raise ValueError(
            f"{name} has from {min(sizes)} to {max(sizes)} completions a prompt: --count "
            f"{min(sizes)} uses as many of each"
        )
    if count is not None and completions and sizes != {count}:
        raise ValueError(f"{name} has {sizes.pop()} completions a prompt, and --count is {count}")
    names = [name for name in rows[0].values if name not in ("prompt", "completions")]
    if "prompts" in names:
        raise ValueError(f"{name} has a column 'prompts', which rewards take for all prompts")
    others = {column: [row.values[column] for row in rows] for column in names}
    return Samples(prompts=prompts, completions=texts, columns=others)


def _check_row(row: Row, *, completions: bool) -> None:
    """Requires a prompt, and a list of texts.

    Raises:
        ValueError: If one is none.
    """
    given = row.values.get("completions")
    if not isinstance(row.values.get("prompt"), str):
        raise ValueError(  # noqa: TRY004 - the file is wrong, not the type of an argument
            f"{row.place} has no prompt; give it a text, empty if need be"
        )
    if completions and not (
        isinstance(given, list) and given and all(isinstance(text, str) for text in given)
    ):
        raise ValueError(f"{row.place}: completions must be a list of texts")


def _sampled(config: BestOfNConfig, samples: Samples, device: str) -> Samples:
    """Lets the policy write; a completion depends on the seed, its prompt's place and its own."""
    from agents.bridges.environment_plugins import LanguageModelDrafter
    from agents.models.loading import tokenizer_of

    spec, count = str(config.policy), config.count or _COUNT
    name = config.tokenizer or tokenizer_of(spec)
    if name is None:
        raise ValueError(
            f"{spec} has no tokenizer of its own: give --tokenizer, the one of its training"
        )
    tokenizer = load_tokenizer(name)
    drafter = LanguageModelDrafter(
        spec,
        tokenizer,
        config.prompt_tokens,
        config.completion_tokens,
        config.temperature,
        device,
    )
    places = [(p, d) for p in range(len(samples.prompts)) for d in range(count)]
    written: list[str] = []
    for start in range(0, len(places), _ROWS_AT_ONCE):
        part = places[start : start + _ROWS_AT_ONCE]
        ids = drafter.draft(
            [Example(prompt=samples.prompts[prompt]) for prompt, _ in part],
            [np.random.default_rng((config.seed, prompt, draw)) for prompt, draw in part],
        )
        written += [tokenizer.decode(row) for row in ids]
    rows = [written[start : start + count] for start in range(0, len(places), count)]
    return Samples(prompts=samples.prompts, completions=rows, columns=samples.columns)


def _scored(reward: Any, samples: Samples) -> NDArray[np.float64]:
    """Scores every completion in one call, ``(P, N)``."""
    number = len(samples.completions[0])
    flat = [text for texts in samples.completions for text in texts]
    prompts = [prompt for prompt in samples.prompts for _ in range(number)]
    columns = {
        name: [value for value in values for _ in range(number)]
        for name, values in samples.columns.items()
    }
    scores = reward(prompts, flat, **columns)
    return np.asarray(scores, dtype=np.float64).reshape(-1, number)


def _measured(
    proxy: NDArray[np.float64], gold: NDArray[np.float64], config: BestOfNConfig
) -> tuple[dict[str, Any], BestOfNCurve]:
    curve = best_of_n_curve(
        proxy, gold, np.random.default_rng(config.seed), repetitions=config.repetitions
    )
    best = int(np.argmax(curve.gold))
    rewards = [read_spec(name) for name in (config.proxy, config.gold)]
    named = [*rewards, config.data, config.policy, config.tokenizer]
    result: dict[str, Any] = {
        "proxy": config.proxy,
        "gold": config.gold,
        "made_from": {"contents": named_contents(named), "code": code_version()},
        "prompts": len(proxy),
        "completions": proxy.shape[1],
        "kl": "an upper bound of the true one, in nats",
        "curve": asdict(curve),
        "peak": {
            "n": curve.ns[best],
            "gold": curve.gold[best],
            "fall_after_it": curve.gold[best] - curve.gold[-1],
        },
        "fit": None,
        "fitted_peak_kl": None,
        "why": "",
    }
    if len(default_ns(proxy.shape[1])) < _FEWEST_FITTED:
        result["why"] = "the form needs three values of n, so four completions a prompt or more"
    else:
        fit = asdict(fit_overoptimisation(curve.kl_bounds, curve.gold))
        result["fit"] = {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in fit.items()
        }
        if len(proxy) > 1:
            low, high = peak_interval(
                proxy,
                gold,
                np.random.default_rng(config.seed),
                repetitions=config.repetitions,
            )
            # JSON has no word for infinity, which is what a curve that rises counts as.
            result["fitted_peak_kl"] = {
                "low": low if math.isfinite(low) else None,
                "high": high if math.isfinite(high) else None,
            }
    return result, curve


def _write_samples(samples: Samples, path: Path) -> None:
    """Writes what ``read_samples`` reads."""
    columns = {
        "prompt": samples.prompts,
        "completions": samples.completions,
        **samples.columns,
    }
    rows = zip(*columns.values(), strict=True)
    lines = [json.dumps(dict(zip(columns, row, strict=True))) for row in rows]
    with atomic_file(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
