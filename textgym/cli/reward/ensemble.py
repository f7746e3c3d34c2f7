"""``textgym reward ensemble``: several reward models as one, on one scale, in one folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path  # noqa: TC003 - the command line is made of the annotations
from typing import Annotated, Any

import numpy as np
import tyro
from rich.console import Console

from reward_models.models.ensemble import EnsembleConfig, EnsembleReward
from reward_models.preferences import completions_of, read_preferences
from reward_models.reading.loading import load_reward
from textgym.cli.console import chosen_device, say, use_quiet_transformers
from textgym.cli.parsing import CommandError
from textgym.data.tables import parse_columns

__all__ = ["RewardEnsembleConfig", "make_ensemble"]

_FEWEST = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardEnsembleConfig:
    """Make one reward of several reward models, so that what only one of them likes counts little.

    Each member is put on one scale by its mean and deviation on reference texts. The folder in
    --out holds all that is needed and is a reward: name it wherever one is asked for.
    """

    members: tuple[str, ...]
    """The folders of reward models, such as those of several seeds; two or more."""
    data: str
    """Preferences whose texts are the reference: a file (FORMATS.md lists what is read), or
    datasets:NAME. Best are texts like those that will be judged."""
    columns: str | None = None
    """Which of a file's columns are which, where its format is unknown, as in
    prompt=question,chosen=answer_1,rejected=answer_2."""
    skip_bad_rows: bool = False
    """Leave rows out that cannot be read, and say how many, instead of stopping at the first."""
    out: Path
    """The folder to write; it must not be there yet."""
    texts: int = 400
    """Most reference texts. More know the scale better, and take longer."""
    seed: int = 0
    """Decides which texts those are."""
    device: str = "auto"
    """Where the members compute: cpu, cuda, or auto for cuda if there is one."""
    ensemble: Annotated[EnsembleConfig, tyro.conf.OmitArgPrefixes] = field(
        default_factory=EnsembleConfig
    )
    """How scores become one."""


def make_ensemble(config: RewardEnsembleConfig, console: Console | None = None) -> None:
    """Loads the members, measures their scales, and writes the folder.

    Args:
        config: What to do.
        console: Where to print; ``None`` for the terminal.

    Raises:
        CommandError: If a member or the texts cannot be had, or the folder is there.
    """
    console = console or Console()
    if config.out.exists():
        raise CommandError(f"--out {config.out} is there already: name another, or remove it")
    if len(config.members) < _FEWEST or config.texts < _FEWEST:
        raise CommandError(
            f"an ensemble has {_FEWEST} members and {_FEWEST} texts at least, got "
            f"{len(config.members)} and {config.texts}"
        )
    use_quiet_transformers()
    device = chosen_device(config.device)
    try:
        columns = parse_columns(config.columns)
        data = read_preferences(config.data, columns=columns, skip_bad=config.skip_bad_rows)
        items = data.items
        texts: list[tuple[str, str]] = sorted(
            {(item.prompt, text) for item in items for text in completions_of(item)}
        )
        order = np.random.default_rng(config.seed).permutation(len(texts))[: config.texts]
        chosen = [texts[number] for number in order]
        members: list[Any] = [load_reward(name, device=device) for name in config.members]
        ensemble = EnsembleReward.fit(
            members, [prompt for prompt, _ in chosen], [text for _, text in chosen], config.ensemble
        )
        ensemble.save(config.out)
    except (ValueError, TypeError) as error:
        raise CommandError(" ".join(str(error).split())) from error
    scaled = ensemble.scaled([prompt for prompt, _ in chosen], [text for _, text in chosen])
    alike = np.asarray(np.corrcoef(scaled))[np.triu_indices(len(members), 1)]
    say(
        console,
        f"{len(members)} members in {config.out}, on the scale of {len(chosen):,} texts",
        f"their scores correlate by {alike.min():.3f} to {alike.max():.3f}",
        f"use it as a reward: reward={str(config.out)!r}",
    )
