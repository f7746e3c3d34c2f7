"""Stable-Baselines3's logger for metrics of ours: where it writes, and under which names.

``agents.measuring.metrics_log`` and this logger may both be used in one run, in folders of their
own. In one folder they fight. To TensorBoard a folder is one run, and from the iteration where
``MetricsLog`` begins or resumes it forgets all later steps of the run; this logger counts tokens,
so those are nearly all of its own. And this logger empties its files when it is made, so that a
resumed run would lose what it had written. ``open_logger`` avoids both.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

from stable_baselines3.common.logger import HumanOutputFormat, Logger, make_output_format

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from stable_baselines3.common.logger import KVWriter

__all__ = ["logger_names", "open_logger", "quiet_logger", "record_iteration"]

_NAMES = {
    "approximate_kl": "train/approx_kl",
    "ended": "rollout/ended",
    "iteration": "time/iterations",
    "length": "rollout/ep_len_mean",
    "policy_loss": "train/policy_gradient_loss",
    "reward": "rollout/ep_rew_mean",
    "reward_std": "rollout/ep_rew_std",
}
_NUMBERED = re.compile(r"sb3_(\d+)")


def open_logger(folder: Path, formats: Sequence[str] = ("csv", "json", "tensorboard")) -> Logger:
    """Opens a logger in a new folder inside ``folder``: ``sb3_1``, or the next number.

    Args:
        folder: The run's; a ``MetricsLog`` may write to it as well.
        formats: Of Stable-Baselines3: ``csv``, ``json``, ``log``, ``stdout``, ``tensorboard``.

    Returns:
        The logger, to be closed by whoever opened it; its ``dir`` is the new folder.

    Raises:
        ValueError: If a format is unknown.
    """
    folder.mkdir(parents=True, exist_ok=True)
    matches = (_NUMBERED.fullmatch(path.name) for path in folder.iterdir())
    number = 1 + max((int(match[1]) for match in matches if match), default=0)
    inside = str(folder / f"sb3_{number}")
    return Logger(inside, [make_output_format(name, inside) for name in formats])


def quiet_logger(*, verbose: int = 0) -> Logger:
    """A logger that writes no file, where Stable-Baselines3's own makes a folder in ``/tmp``.

    Args:
        verbose: Stable-Baselines3's; from 1 on it prints.
    """
    shown: list[KVWriter] = [HumanOutputFormat(sys.stdout)] if verbose > 0 else []
    return Logger(folder=None, output_formats=shown)


def logger_names(metrics: Mapping[str, float]) -> dict[str, float]:
    """Gives metrics the names under which Stable-Baselines3 logs them.

    Args:
        metrics: By our names. What Stable-Baselines3 does not have goes under ``train/``, seconds
            under ``time/``, and a name with a slash is left as it is.

    Returns:
        The same values; ``entropy`` alone changes its sign, as ``train/entropy_loss``. Beware:
        ``value_loss`` of ours is half of theirs.
    """
    named = {_NAMES.get(name, _grouped_name(name)): value for name, value in metrics.items()}
    if "train/entropy" in named:
        named["train/entropy_loss"] = -named.pop("train/entropy")
    return named


def _grouped_name(name: str) -> str:
    if "/" in name:
        return name
    return f"time/{name}" if name.startswith("seconds_") else f"train/{name}"


def record_iteration(
    logger: Logger, metrics: Mapping[str, float], *, tokens: int, new: int, seconds: float
) -> None:
    """Records one iteration; ``logger.dump`` writes it.

    Args:
        logger: Where.
        metrics: By our names.
        tokens: Written so far.
        new: Those among them that this run has written.
        seconds: That it has taken.
    """
    for name, value in logger_names(metrics).items():
        logger.record(name, value, exclude="tensorboard" if name == "time/iterations" else None)
    logger.record("time/fps", int(new / max(seconds, 1e-9)))
    logger.record("time/time_elapsed", int(seconds), exclude="tensorboard")
    logger.record("time/total_timesteps", tokens, exclude="tensorboard")
