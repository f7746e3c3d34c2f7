"""The front door: the ``textgym`` command, and the only place that knows all three packages."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Runs the ``textgym`` command; a foreseeable failure is one line, not a stack trace."""
    import os

    # Nothing here needs a hub, and a tokenizer's worker threads would fight over two cores.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import tyro

    from reward_models.preferences import StoreError
    from textgym.cli.envs import EnvsConfig, list_envs
    from textgym.cli.quickstart import QuickstartConfig, quickstart
    from textgym.cli.run import RunError
    from textgym.rewards import RewardError

    try:
        config = tyro.extras.subcommand_cli_from_dict(
            {"quickstart": QuickstartConfig, "envs": EnvsConfig},
            prog="textgym",
            description="Text generation as a Gymnasium environment, and the loop around it.",
        )
        if isinstance(config, EnvsConfig):
            list_envs(config)
        else:
            quickstart(config)
    except KeyboardInterrupt:
        sys.exit("\nstopped; the same command goes on from here")
    except (RunError, RewardError, StoreError, ModuleNotFoundError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")
