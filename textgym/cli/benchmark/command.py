"""``textgym benchmark``: many rewards, agents and seeds from one start, and one page about them.

The same command goes on after a stop, cell by cell. Best of n and what is known before training
come first; agents that train follow, seed by seed.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003  the command line is made from the annotations
from typing import TYPE_CHECKING, Any, Literal

from gymnasium.error import Error as GymnasiumError
from rich.console import Console

from agents.comparing.campaign import run_study
from agents.comparing.contenders import KINDS, find_agent, learner_config
from agents.comparing.executors import make_executor
from agents.comparing.matrix import START, Vote
from agents.comparing.page import PAGE_FILE, PEOPLE_FILE, table_text, write_page
from agents.comparing.study import BEST_OF_N, GOLD, Study, named, read_study
from reward_models.measuring.annotators import latest
from reward_models.preferences import PreferenceStore
from textgym.cli.benchmark.standards.catalogue import expected, make_standard
from textgym.cli.console import bar, say, use_quiet_transformers
from textgym.cli.parsing import CommandError
from textgym.cli.policy.policies import environment_arguments, make_envs
from textgym.files import exclusive_folder
from textgym.rewards import resolve

if TYPE_CHECKING:
    from agents.reports.report import Table

__all__ = ["BenchmarkConfig", "benchmark", "read_votes", "show_tables"]

_SHOWN = (
    *("Expected", "Leaderboard", "Rewards over", "Probability", "Cross", "Known", "Predictors"),
    "Over-",
    *("Content", "Reward hacking", "Components", "Failures"),
)
_UNSCORED = "agents.rollouts.texts:unscored"
_SHARES = {"a": 1.0, "b": 0.0, "tie": 0.5, "both_bad": 0.5}


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkConfig:
    """Compare rewards: the same agents from the same start, judged by a gold that none learns from.

    A constant reward, the length and the gold itself are always beside them, and so is best of n.
    The same command goes on after a stop. `textgym report DIR` makes the page anew. `--standard`
    names a study that is ready, whose models are trained first, of text from installed packages.
    """

    out: Path
    """The folder to write into. If it holds the same study, that is gone on from."""
    env: str = ""
    """The environment's id, such as TextGym/Alphabet-v0; ``textgym envs`` lists them."""
    rewards: tuple[str, ...] = ()
    """What to compare: known names, module:attribute, folders, or NAME=REWARD, where the reward may
    be JSON."""
    agents: tuple[str, ...] = (BEST_OF_N,)
    """Who optimises: best-of-n, ppo, grpo, rloo, reinforce, dpo (online), or module:attribute of
    your own, which takes an environment and a budget and gives what predicts."""
    gold: str | None = None
    """The reward that judges, named likewise; None takes the task's own."""
    seeds: int = 5
    """How often each pair is run. Fewer than three have no intervals; more tell smaller differences
    apart."""
    study: Path | None = None
    """A study.json to run instead of all that is said here, but --out and how it is run."""
    standard: Literal["sentiment", "summarization", "question-answering", "gold-world"] | None = (
        None
    )
    """A standard study to run instead, with its models and its expected result; BENCHMARK.md tells
    of each."""
    smoke: bool = False
    """A standard study in about ten seconds, to see that all of it works; its figures say
    nothing."""
    policy: str = "scratch:gpt2?layers=2&width=32&heads=4"
    """Who all start from: a folder, smollm2, hub:NAME, or random weights of a size."""
    env_kwargs: str = "{}"
    """More arguments of the environment as JSON."""
    settings: str = "{}"
    """Settings of the learners as JSON, for all of them, or by an agent's name."""
    total_timesteps: int = 20_000
    """Tokens that a learner may write while it learns. More optimise further, and take longer."""
    prompts: int = 64
    """Test prompts at every measurement. More measure more finely."""
    count: int = 32
    """Completions of a prompt that best of n chooses from. More reach a higher KL."""
    num_envs: int = 64
    """Rows that are written at once."""
    snapshots: int = 6
    """Measurements on the way. More draw finer curves, and take longer."""
    kl_budget: float | None = None
    """A learner that leaves so many nats behind has failed; None lets it go anywhere."""
    seconds: float | None = None
    """A cell that takes longer has failed; None waits."""
    workers: int | None = None
    """Cells at a time; None for one a processor."""
    threads: int = 1
    """Of each cell. More make large models faster; another number may round otherwise."""
    executor: str = "processes"
    """Who runs cells: processes of this machine, here (in this process), submitit, submitit:local,
    ray, or ray:ADDRESS."""
    retry: bool = False
    """Run failed cells once more."""


def benchmark(config: BenchmarkConfig, console: Console | None = None) -> None:
    """Runs what is missing of the study, and writes its page.

    Args:
        config: What and how.
        console: Where to print; None for the terminal.

    Raises:
        CommandError: If something in the command is wrong.
    """
    console = console or Console()
    use_quiet_transformers()
    with exclusive_folder(config.out):
        tables = _run(config, console)
    show_tables(tables, console)
    say(console, str(config.out / PAGE_FILE))


def _run(config: BenchmarkConfig, console: Console) -> list[Table]:
    """Runs the cells that are missing, and writes the page."""
    try:
        study = _study(config, console)
        _require_rewards(study)
        _require_start(study)
        for agent in study.learners.values():
            if agent["agent"] in KINDS:
                learner_config(str(agent["agent"]), agent.get("settings", {}))
            else:
                find_agent(str(agent["agent"]))
        workers = config.workers
        if workers is None:
            workers = max(1, (os.cpu_count() or 1) // study.threads)
        executor = make_executor(config.executor, workers=workers, folder=config.out)
        title = f"{len(study.cells())} cells"
        with bar(title, console) as progress:

            def said(done: int, total: int, last: str) -> None:
                progress.update(done, total, last)
                if last and not console.is_terminal:
                    say(console, f"{done} of {total}: {last}")

            outcomes = run_study(study, config.out, executor, progress=said, retry=config.retry)
        return write_page(config.out, read_votes(config.out), expected(config.out, outcomes))
    except (ValueError, TypeError, GymnasiumError, OSError) as error:
        raise CommandError(" ".join(str(error).split())) from error


def show_tables(tables: list[Table], console: Console, *, every: bool = False) -> None:
    """Prints tables as text, the main ones or all.

    Args:
        tables: From ``write_page``.
        console: Where to print.
        every: Whether all of them.
    """
    for table in tables:
        if every or table.title.startswith(_SHOWN):
            say(console, f"{table_text(table)}\n")


def read_votes(folder: Path, store: Path | None = None) -> list[Vote]:
    """Reads what people said of a study's texts beside the start's.

    Args:
        folder: The study's.
        store: Where the answers are; None takes what ``textgym label`` puts beside the pairs.

    Raises:
        ValueError: If a store is named that has no answer to such a pair.
        FileNotFoundError: If it does not exist.
        StoreError: If it cannot be read.
    """
    path = store or (folder / PEOPLE_FILE).with_suffix(".sqlite")
    if not path.is_file():
        if store is None:
            return []
        raise FileNotFoundError(f"there is no store {store} of people's answers")
    with PreferenceStore(path) as opened:
        pairs = {pair.pair_id: pair for pair in opened.pairs()}
        answers = latest(opened.answers())
    votes = []
    for answer in answers:
        pair = pairs[answer.pair_id]
        writers = [pair.policy_a, pair.policy_b]
        if answer.answer in _SHARES and writers.count(START) == 1:
            share = _SHARES[answer.answer]
            is_first = pair.policy_b == START
            votes.append(
                Vote(
                    writer=writers[0 if is_first else 1],
                    prompt=pair.prompt,
                    share=share if is_first else 1 - share,
                )
            )
    if store is not None and not votes:
        raise ValueError(
            f"{store} has no answer to a pair of {folder / PEOPLE_FILE}: people give them by "
            f"textgym label {folder / PEOPLE_FILE}"
        )
    return votes


def _study(config: BenchmarkConfig, console: Console) -> Study:
    if config.standard is not None:
        for name in ("study", "env", "rewards"):
            if getattr(config, name):
                raise ValueError(f"--{name} and --standard are two studies: give one of them")
        return make_standard(config.standard, config.out, console, smoke=config.smoke)
    if config.smoke:
        raise ValueError("--smoke is a size of standard studies: name one by --standard")
    if config.study is not None:
        return read_study(config.study)
    for name in ("env", "rewards"):
        if not getattr(config, name):
            raise ValueError(f"--{name} is required, or --study FILE, or --standard NAME")
    if config.count < 2:  # noqa: PLR2004 - of one there is nothing to choose
        raise ValueError(f"--count must be at least 2, got {config.count}")
    more = _object("--settings", config.settings)
    return Study(
        env=config.env,
        rewards=named(config.rewards),
        gold=None if config.gold is None else named([f"{GOLD}={config.gold}"])[GOLD],
        agents={name: _agent(name, more, config.agents) for name in config.agents},
        policy=config.policy,
        env_kwargs=_object("--env-kwargs", config.env_kwargs),
        seeds=config.seeds,
        tokens=config.total_timesteps,
        prompts=config.prompts,
        draws=config.count,
        num_envs=config.num_envs,
        snapshots=config.snapshots,
        kl_budget=config.kl_budget,
        seconds=config.seconds,
        threads=config.threads,
    )


def _agent(name: str, settings: dict[str, Any], agents: tuple[str, ...]) -> dict[str, Any]:
    """An agent's kind and settings; those by its name go before those for all."""
    if name == BEST_OF_N:
        return {"agent": BEST_OF_N}
    shared = {key: value for key, value in settings.items() if key not in agents}
    return {"agent": name, "settings": {**shared, **settings.get(name, {})}}


def _object(option: str, text: str) -> dict[str, Any]:
    try:
        given = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{option} is no JSON ({error}): {text}") from error
    if not isinstance(given, dict):
        raise ValueError(f"{option} must be a JSON object, got {text}")  # noqa: TRY004 - the text is wrong
    return given


def _require_start(study: Study) -> None:
    """Makes the environment once, with the tokenizer of whom all start from, for the same end."""
    arguments = environment_arguments(json.dumps(study.env_kwargs), study.policy)
    given = {**arguments, "split": study.train_split, "reward": _UNSCORED}
    make_envs(study.env, given, num_envs=1, device="cpu").close()


def _require_rewards(study: Study) -> None:
    """Makes every reward once, so that a typing error is said before hours are spent."""
    for name, spec in study.conditions.items():
        if spec is not None:
            try:
                resolve(spec)
            except (ValueError, TypeError) as error:
                raise ValueError(f"the reward {name}: {error}") from error
