"""``textgym export``: a policy as one ordinary folder, which transformers opens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - the command line is made of the annotations

from rich.console import Console

from agents.models.loading import tokenizer_of
from agents.models.policy import TransformerPolicy
from textgym.cli.console import say, use_quiet_transformers
from textgym.cli.parsing import CommandError
from textgym.files import atomic_folder
from textgym.pretrained.adapters import has_adapters, merge_adapters
from textgym.tokenizers import load_tokenizer

__all__ = ["ExportConfig", "export_policy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportConfig:
    """Write a policy as one ordinary folder, which transformers opens.

    Weights that several processes wrote in parts are put together, adapters are added to the model
    that they were trained on; heads and critic go along. It takes memory for the whole policy.
    """

    policy: Path
    """A policy's folder, such as runs/ppo/checkpoints/checkpoint-30/policy."""
    out: Path
    """The folder to write; it must not be there."""


def export_policy(config: ExportConfig, console: Console | None = None) -> None:
    """Writes the folder and says what is in it.

    Args:
        config: What to export.
        console: Where to print; ``None`` for the terminal.

    Raises:
        CommandError: If there is no policy, it cannot be read, or something is at ``out``.
    """
    use_quiet_transformers()
    if config.out.exists():
        raise CommandError(f"{config.out} is there: name another folder")
    try:
        there = tokenizer_of(config.policy)
        tokenizer = None if there is None else load_tokenizer(there)
        policy = TransformerPolicy.from_pretrained(config.policy, tokenizer=tokenizer)
        had_adapters = has_adapters(policy.model)
        if had_adapters:
            policy.model = merge_adapters(policy.model)
    except (OSError, ValueError) as error:
        raise CommandError(" ".join(str(error).split())) from error
    with atomic_folder(config.out) as temporary:
        policy.save_pretrained(temporary, tokenizer)
    weights = sum(parameter.numel() for parameter in policy.model.parameters())
    merged = ", adapters added to their base" * had_adapters
    say(console or Console(), f"{weights:,} weights in {config.out}{merged}")
