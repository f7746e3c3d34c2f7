"""``textgym quickstart``: from nothing to a language model that a learned reward has improved.

Real text is cleaned, and becomes a tokenizer and a language model; pairs of its completions are
compared by a simulated annotator, whose noisy answers train a reward model; PPO optimises that
reward; a judge that none of them ever used says whether the texts became what was wanted.
"""

from __future__ import annotations

import functools
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from textgym.cli.parsing import CommandError
from textgym.pretrained.precision import Bfloat16  # noqa: TC001 - the command line is made of it

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from textgym.cli.quickstart.plan import Plan
    from textgym.cli.stages import Run, Stage

__all__ = ["QuickstartConfig", "quickstart"]


@dataclass(frozen=True, slots=True, kw_only=True)
class QuickstartConfig:
    """Train a language model, learn a reward from preferences, optimise it, and show the proof.

    Everything goes into one directory; after a stop, the same command goes on from there.
    """

    out: Path = Path("runs/quickstart")
    """The run's directory: models, preferences, metrics, samples and report.html."""
    seed: int = 0
    """Seed of every stage. Another seed is another tokenizer, model, annotator and policy."""
    device: str = "auto"
    """Where to compute: cpu, cuda, or auto for cuda if there is one. On a CPU it uses every core,
    or as many threads as OMP_NUM_THREADS says."""
    smoke: bool = False
    """About a minute, to see every stage work; its models are too small to pass the gates."""
    bf16: Bfloat16 = "auto"
    """Compute in bfloat16: auto tries for a second which is faster here. Say which to have the same
    numbers on another machine of this kind."""
    kl_target: float | None = 14.0
    """How far the policy may move from the language model, in nats a text: PPO adapts the price
    of moving to hold it. None keeps the price fixed."""
    kl_coefficient: float = 0.25
    """The price that it starts from. Far too low (0.01, with no target), the reward is gamed: the
    gold judge may even be pleased, and the other gates show it."""
    report_on: Literal["validation", "test"] = "test"
    """Prompts of the report. Use validation while you choose settings, test once you have."""


def quickstart(config: QuickstartConfig) -> None:
    """Runs all stages and prints where the report is.

    Raises:
        CommandError: If a setting is out of its range.
        RunError: If the directory belongs to other settings, or the device is not there.
        ModuleNotFoundError: If the extra ``tasks`` is not installed.
    """
    import torch
    from rich.console import Console

    from textgym.cli.console import keep_large_blocks, use_quiet_transformers
    from textgym.cli.quickstart.plan import make_plan
    from textgym.cli.stages import Run

    console = Console()
    device = _device(config.device)
    keep_large_blocks()
    if not os.environ.get("OMP_NUM_THREADS"):
        torch.set_num_threads(os.cpu_count() or 1)
    use_quiet_transformers()
    try:
        plan = make_plan(
            seed=config.seed,
            device=device,
            report_on=config.report_on,
            kl_coefficient=config.kl_coefficient,
            kl_target=config.kl_target,
            bf16=config.bf16,
            smoke=config.smoke,
        )
    except ValueError as error:
        raise CommandError(f"{error}; see textgym quickstart --help") from error
    run = Run(out=config.out, config=_settings(config, plan), console=console)
    with run.opened():
        _run(run, config, plan)


def _run(run: Run, config: QuickstartConfig, plan: Plan) -> None:
    """Does what is not done yet, and says what came of it."""
    from agents.reports.gates import verdict
    from textgym.cli.console import say
    from textgym.cli.quickstart import measuring, stages, texts
    from textgym.cli.stages import run_stages

    console, device = run.console, plan.device
    say(console, f"textgym quickstart, seed {config.seed}, on {device}, into {config.out}")
    run_stages(
        run,
        _stages(
            plan,
            ("texts", "Texts", texts.gather_texts),
            ("tokenizer", "Tokenizer", stages.train_the_tokenizer),
            ("judge", "Gold judge", stages.train_the_judge),
            ("precision", "Precision", stages.try_precisions),
        ),
    )
    plan = plan.computing_in(bf16=run.figures["precision"]["bf16"])
    run_stages(
        run,
        _stages(
            plan,
            ("language_model", "Language model", stages.train_the_language_model),
            ("preferences", "Preferences", stages.gather_preferences),
            ("reward_model", "Reward model", stages.train_the_reward_model),
            ("ppo", "PPO", stages.optimise),
            ("evaluation", "Evaluation", measuring.evaluate),
        ),
    )
    gates = measuring.gates(run)
    report = measuring.report(run, plan, gates)
    smoke = " (smoke run)" if config.smoke else ""
    say(console, "", f"verdict: {verdict(gates)}{smoke}", f"report:  {report}")


def _device(name: str) -> str:
    import torch

    from textgym.cli.stages import RunError

    available = torch.cuda.is_available()
    if name == "auto":
        return "cuda" if available else "cpu"
    if name not in ("cpu", "cuda"):
        raise RunError(f"unknown device {name!r}; known: auto, cpu, cuda")
    if name == "cuda" and not available:
        raise RunError("there is no CUDA device here; use --device cpu")
    return name


def _stages(plan: Plan, *stages: tuple[str, str, Callable[..., Mapping[str, Any]]]) -> list[Stage]:
    """Stages from their names, titles and work."""
    from textgym.cli.stages import Stage

    return [
        Stage(name=name, title=title, work=functools.partial(work, plan=plan))
        for name, title, work in stages
    ]


def _settings(config: QuickstartConfig, plan: Plan) -> dict[str, Any]:
    """What must be equal for a run to go on: not the directory's own name."""
    from textgym.data.reviews import source
    from textgym.provenance import content_hash

    chosen = {name: value for name, value in asdict(config).items() if name != "out"}
    return {**chosen, **asdict(plan), "data": content_hash(source())}
