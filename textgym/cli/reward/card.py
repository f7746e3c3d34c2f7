"""``textgym reward card``: what a reward is worth on labelled pairs, as JSON and one page."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path  # noqa: TC003 - the command line is made of the annotations
from typing import TYPE_CHECKING

from rich.console import Console

from reward_models.card import CardConfig, draw_card, make_card, read_card_data, write_card
from reward_models.card.assembly import learned_from
from reward_models.card.data import LEARNED_FROM
from textgym.cli.console import chosen_device, require_picture, say
from textgym.cli.parsing import CommandError
from textgym.cli.reward.naming import folders_of, named_reward, read_spec
from textgym.data.tables import parse_columns
from textgym.files import exclusive_folder
from textgym.statistics.bootstrap import REPETITIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reward_models.card import CardData
    from reward_models.preferences.traces import Traces

__all__ = ["RewardCardConfig", "reward_card"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardCardConfig:
    """Measure what a reward is worth: order, confidence, habits, steadiness, and people beside it.

    Writes ``card.json`` and ``card.html``, a page that loads nothing, into ``--out``.
    """

    reward: str
    """What is measured: a known name, "module:attribute", the folder of a reward model, or JSON,
    such as '{"clip": {"reward": "vader", "low": 0}}'."""
    data: str
    """A preference store, or a file of preferences; FORMATS.md lists what is read."""
    out: Path
    """The folder to write into; it is made, and an earlier card in it is replaced."""
    picture: Path | None = None
    """A .png or .svg to draw four of the charts into, for a page that is no HTML."""
    members: tuple[str, ...] = ()
    """Models of the same kind, such as those of other seeds, for their spread. None takes what an
    ensemble is made of."""
    split: str | None = None
    """Which split of a store is measured on; None for all but "train", if there are others."""
    validation: str | None = None
    """What the temperature is fitted on: another split of the store, or another file."""
    validation_share: float = 0.25
    """Without --validation, the share of the prompts that is used for that and not measured on."""
    columns: str | None = None
    """Which of a file's columns are which, as in prompt=question,chosen=answer_1,rejected=answer_2;
    for a file whose format is unknown."""
    skip_bad_rows: bool = False
    """Leave rows out that cannot be read, and say how many, instead of stopping at the first."""
    seed: int = 0
    """Decides which prompts those are, which texts are changed, and every interval."""
    repetitions: int = REPETITIONS
    """Resamples behind each interval: more make its ends steadier and the card slower."""
    device: str = "auto"
    """Where a model computes: cpu, cuda, or auto for cuda if there is one."""
    texts: int = 400
    """Most texts that are changed, cut, and scored in other batches: more are slower and surer."""


def reward_card(config: RewardCardConfig, console: Console | None = None) -> None:
    """Measures, writes, and prints the first figures.

    Args:
        config: What and how.
        console: Where to print; None for the terminal.

    Raises:
        CommandError: If a reward or the data cannot be had, or there is no such kind of picture.
    """
    require_picture(config.picture)
    config = replace(config, device=chosen_device(config.device))
    with exclusive_folder(config.out):
        _write_card(config, console or Console())


def _write_card(config: RewardCardConfig, console: Console) -> None:
    device = config.device
    names = [config.reward, *config.members]
    if len(set(names)) < len(names):
        raise CommandError(f"{', '.join(names)}: name each reward and member once")
    try:
        how = CardConfig(seed=config.seed, repetitions=config.repetitions, texts=config.texts)
        reward, *others = (named_reward(name, device) for name in names)
        learned, silent = learned_from([reward, *others])
        data = read_card_data(
            config.data,
            split=config.split,
            validation=config.validation,
            share=config.validation_share,
            seed=config.seed,
            columns=parse_columns(config.columns),
            skip_bad=config.skip_bad_rows,
            learned=learned,
        )
    except (ValueError, TypeError) as error:
        raise CommandError(str(error)) from error
    card = make_card(
        reward,
        data,
        how,
        name=config.reward,
        members=dict(zip(config.members, others, strict=True)) if others else None,
        folders=[folder for name in names for folder in folders_of(read_spec(name))],
    )
    write_card(card, config.out)
    if config.picture is not None:
        draw_card(card, config.picture)
    accuracy = card["accuracy"][0]["accuracy"]
    between = f" ({accuracy['low']:.3f} to {accuracy['high']:.3f})" if "low" in accuracy else ""
    say(
        console,
        *data.notes,
        *_shared(data, learned, silent),
        f"accuracy {accuracy['value']:.3f}{between} on {len(data.test)} pairs; "
        f"{len(card['undefined'])} figures undefined",
        *(f"WARNING: {warning}" for warning in card["warnings"]),
        str(config.out / "card.html"),
    )


def _shared(data: CardData, learned: Traces | None, silent: Sequence[str]) -> list[str]:
    """What the measured pairs share with what the models learned from, a line each."""
    lines = [f"{folder} does not say what it learned from" for folder in silent]
    if learned is not None:
        number = sum(learned.share_text(pair) for pair in data.test)
        lines.append(
            f"{number:,} of {len(data.test):,} measured pairs share a text with what the reward or "
            "a member learned from, and none a prompt"
        )
    if LEARNED_FROM in data.left_out:
        lines.append(f"left out: {data.left_out[LEARNED_FROM]} {LEARNED_FROM}")
    return lines
