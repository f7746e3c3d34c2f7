"""``textgym loop``: write, ask, learn, optimise, evaluate, and again, each step once."""

from __future__ import annotations

import functools
import json
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from rich.console import Console

from reward_models.preferences import PreferenceStore
from textgym.cli.console import chosen_device, keep_large_blocks, say, use_quiet_transformers
from textgym.cli.feedback.asking import make_annotators, truth_of
from textgym.cli.feedback.rounds import Rounds, RoundSettings, start_policy
from textgym.cli.parsing import CommandError
from textgym.cli.policy.policies import contents_of, environment_arguments, make_envs
from textgym.cli.policy.running import FORESEEABLE
from textgym.cli.stages import Run, Stage, run_stages
from textgym.files import write_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["LoopConfig", "loop"]

_START = "start"
_UNNAMED = ("out", "rule", "votes", "annotators")  # words, and where to
_STEPS = ("write", "ask", "learn", "optimise", "evaluate")
_TITLES = {
    "write": "pairs are written",
    "ask": "answers",
    "learn": "reward model",
    "optimise": "PPO",
    "evaluate": "evaluation",
}
_COLUMNS = (
    ("gold", "gold_text"),
    ("wins against the start", "win_rate"),
    ("KL from the start", "kl"),
    ("reward orders as gold", "order"),
    ("reward right", "accuracy"),
    ("the one before", "accuracy_of_the_one_before"),
    ("answers", "answers"),
    ("texts of PPO", "samples"),
    ("tokens a text", "tokens"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopConfig(RoundSettings):
    """Go round: the policy writes pairs, they are answered, a reward learns, the policy improves.

    Without --annotators it waits for people, who answer by the command that it prints, and it goes
    on by itself once they have. The same command goes on after a stop, at the step that it was in.
    At the end, and in report.md, the rounds stand side by side.
    """


def loop(config: LoopConfig, console: Console | None = None) -> None:
    """Goes round, and prints the rounds side by side.

    Args:
        config: What to do.
        console: Where to print; ``None`` for the terminal.

    Raises:
        CommandError: If a setting cannot work, a guard stops PPO, or the folder is of another run.
        StoreError: If the store cannot be used.
    """
    console = console or Console()
    use_quiet_transformers()
    keep_large_blocks()
    _check(config)
    config = replace(config, device=chosen_device(config.device))
    truth = truth_of(config.truth)
    annotators = make_annotators(config.annotators, truth, config.seed * 1000)
    settings = {name: value for name, value in asdict(config).items() if name != "out"}
    settings["annotators"] = list(config.annotators)
    with _one_line():
        contents = _contents(config)
    run = Run(out=config.out, config=settings, contents=contents, console=console)
    with run.opened():
        _go_round(run, config, annotators, truth)


def _contents(config: LoopConfig) -> dict[str, str]:
    """Hashes what the settings name; makes the environment once, so that it is known to work."""
    start = config.out / _START
    policy = str(start) if start.is_dir() else config.policy  # the start is kept, once it is there
    arguments = environment_arguments(config.env_kwargs, policy)
    envs = make_envs(config.env, arguments, num_envs=1, device=config.device)
    named = {name: value for name, value in asdict(config).items() if name not in _UNNAMED}
    return contents_of(named, config.env, envs)


@contextmanager
def _one_line() -> Iterator[None]:
    """Says what a wrong word raises in one line.

    Raises:
        CommandError: If the block raises what is foreseeable, but for files.
    """
    try:
        yield
    except CommandError:
        raise
    except FORESEEABLE as error:
        if isinstance(error, OSError):
            raise
        raise CommandError(" ".join(str(error).split())) from error


def _go_round(run: Run, config: LoopConfig, annotators: Any, truth: Any) -> None:
    """Does the rounds that are not done yet, and prints them side by side."""
    console, settings = run.console, dict(run.config)
    with _one_line():
        if not (config.out / _START).is_dir():
            start_policy(config, config.out)
        with PreferenceStore(config.out / "preferences.sqlite") as store:
            rounds = Rounds(config=config, store=store, annotators=annotators, truth=truth)
            run_stages(run, _stages(rounds, config.rounds))
    table = _table(config.rounds, run.figures)
    write_json(config.out / "report.json", {"config": settings, "stages": run.figures})
    (config.out / "report.md").write_text("\n".join(table) + "\n", encoding="utf-8")
    say(console, *table)
    last = config.out / f"round_{config.rounds}" / "policy"
    say(console, f"the policy: {last}; the table: {config.out / 'report.md'}")


def _check(config: LoopConfig) -> None:
    """Requires what goes together, before anything is made.

    Raises:
        CommandError: If it does not.
    """
    if config.rule == "disagreement" and config.members == 1:
        raise CommandError("--rule disagreement needs --members 2 or more, which can disagree")
    try:
        changed = json.loads(config.evaluation_kwargs)
    except json.JSONDecodeError as error:
        raise CommandError(f"--evaluation-kwargs is no JSON ({error})") from error
    if not isinstance(changed, dict):
        raise CommandError(f"--evaluation-kwargs must be a JSON object, got {changed!r}")


def _stages(rounds: Rounds, number: int) -> list[Stage]:
    """The start's evaluation, and the five steps of each round."""
    stages = [_stage(rounds, "evaluate", 0)]
    for round_ in range(1, number + 1):
        stages += [_stage(rounds, step, round_) for step in _STEPS]
    return stages


def _stage(rounds: Rounds, step: str, number: int) -> Stage:
    return Stage(
        name=f"round_{number}_{step}",
        title=f"Round {number}, {_TITLES[step]}",
        work=functools.partial(getattr(rounds, step), number=number),
    )


def _table(rounds: int, figures: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The rounds side by side, as lines of Markdown; a column without a figure is left out."""
    rows = []
    for number in range(rounds + 1):
        row: dict[str, Any] = {}
        for step in _STEPS:
            row |= figures.get(f"round_{number}_{step}", {})
        if "gold" in row:
            row["gold_text"] = "{gold:.3f} ({gold_low:.3f} to {gold_high:.3f})".format(**row)
        rows.append(row)
    columns = [(title, key) for title, key in _COLUMNS if any(key in row for row in rows)]
    lines = [_line("round", [title for title, _ in columns]), _line("---", ["---"] * len(columns))]
    for number, row in enumerate(rows):
        lines.append(_line(str(number), [_shown(row.get(key)) for _, key in columns]))
    return lines


def _line(first: str, cells: Sequence[str]) -> str:
    return f"| {' | '.join([first, *cells])} |"


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)
