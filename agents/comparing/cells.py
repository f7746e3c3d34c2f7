"""A cell is run: a pure function from JSON to a folder that is whole or absent.

``result.json`` in it is decided by the cell's settings alone; ``cost.json`` has what differs from
run to run: seconds, memory, versions. ``texts.jsonl`` has the first and the last texts with every
reward's score. A cell that fails leaves such a folder too, which says why.

``python -m agents.comparing.cells CELL.json FOLDER`` runs one in a process of its own.
"""

from __future__ import annotations

import functools
import json
import math
import platform
import resource
import sys
import time
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import torch

import textgym  # noqa: F401 - registers the environments
from agents.comparing.contenders import (
    KINDS,
    Budget,
    BudgetError,
    play_own,
    train,
    train_own,
    trained_policy,
)
from agents.comparing.measures import (
    Panel,
    best_of_n_snapshots,
    predictors,
    summary,
    within_prompts,
)
from agents.comparing.probes import probe
from agents.comparing.study import BEST_OF_N, CONTROLS, GOLD, Cell, Study
from agents.measuring.evaluation import evaluate_policy
from agents.models.loading import load_model, tokenizer_of
from agents.models.policy import TransformerPolicy
from agents.training.guards import GuardError, NoGradientError
from textgym.files import atomic_folder, finite, write_json
from textgym.rewards import RewardError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agents.measuring.evaluation import PolicyReport
    from textgym.types import Example

__all__ = ["COST_FILE", "RESULT_FILE", "TEXTS_FILE", "run_cell", "write_failure"]

RESULT_FILE, COST_FILE, TEXTS_FILE = "result.json", "cost.json", "texts.jsonl"

_UNSCORED = "agents.rollouts.texts:unscored"
_PACKAGES = ("textgym", "torch", "transformers", "numpy", "gymnasium")
_SEEDS = 1000  # a cell's own numbers begin at so many times its seed
_QUALITY = ("perplexity", "distinct_2", "repeated_bigrams", "mean_length")


def run_cell(settings: str, folder: str) -> str:
    """Runs a cell and writes its folder.

    Args:
        settings: The cell's JSON.
        folder: Where to; replaced if it is there.

    Returns:
        ``done`` or ``failed``.
    """
    cell = Cell.of_json(json.loads(settings))
    with _threads(cell.study.threads):
        run = _Run(cell)
        try:
            run.go()
        except Exception as error:
            run.fail(_kind(error), error)
        run.write(Path(folder))
    return str(run.result["status"])


def write_failure(cell: Cell, folder: Path, kind: str, message: str, seconds: float = 0.0) -> None:
    """Writes the folder of a cell whose process ended without one."""
    with atomic_folder(folder) as inside:
        write_json(
            inside / RESULT_FILE,
            {
                "cell": cell.as_json(),
                "status": "failed",
                "why": kind,
                "message": message,
                "snapshots": [],
            },
        )
        write_json(inside / COST_FILE, {"seconds": {"all": seconds}})


class _Run:
    """A cell on its way."""

    def __init__(self, cell: Cell) -> None:
        study = cell.study
        self.cell, self.study = cell, study
        self.started, self.tokens = time.monotonic(), 0
        self.phases: dict[str, float] = {}
        self.texts: list[dict[str, Any]] = []
        self.result: dict[str, Any] = {
            "cell": cell.as_json(),
            "status": "done",
            "why": "",
            "message": "",
            "snapshots": [],
        }
        limit = math.inf if study.seconds is None else study.seconds
        agent = study.agents.get(cell.agent, {})
        self.budget = Budget(
            tokens=study.tokens,
            seed=cell.seed,
            seconds=study.seconds,
            policy=study.policy,
            settings=agent.get("settings", {}),
            deadline=self.started + limit,
        )
        self.kind = str(agent.get("agent", BEST_OF_N))
        self.panel = Panel({}, cell.reward)

    def go(self) -> None:
        """Trains, or draws, and measures.

        Raises:
            Exception: Whatever fails.
        """
        study = self.study
        torch.manual_seed(self.cell.seed)
        arguments = self._open()
        spec = self.panel.specs[self.cell.reward]
        if self.kind == BEST_OF_N:
            self._draw()
            return
        self.policy = _policy(study, self.envs)
        if self.kind in KINDS:
            if self.budget.settings.get("parts") == "apart" and not isinstance(spec, list):
                spec = [[spec, 1.0]]  # a reward of one part, whose parts are apart already
            envs = _make(study, arguments, split=study.train_split, reward=spec)
            self._learn(envs)
        else:
            self._own(arguments, spec)

    def _open(self) -> dict[str, Any]:
        """Makes what measures, and the start; returns the environment's arguments."""
        study = self.study
        arguments = _arguments(study)
        test = _test_split(study, arguments)
        self.envs = _make(study, arguments, split=test, reward=_UNSCORED)
        gold = self.envs.task.reward if study.gold is None else study.gold
        self.panel = Panel({**study.conditions, GOLD: gold}, self.cell.reward)
        self.start = _policy(study, self.envs)
        self.numbers = [n % self.envs.num_examples for n in range(study.prompts)]
        return arguments

    def write_start(self, draws: int) -> tuple[PolicyReport, dict[str, Any], Panel]:
        """Lets the start answer each test prompt so often, and all rewards read it."""
        self._open()
        numbers = [number for number in self.numbers for _ in range(draws)]
        report = self._report(self.start, numbers)
        scores = self.panel.score(self._examples(numbers), report.completions, report.ids)
        return report, scores, self.panel

    def _start_texts(self, draws: int) -> tuple[PolicyReport, dict[str, Any]]:
        """The same, from memory where another cell of this process has asked for it."""
        made_before = _start_texts.cache_info().misses
        settings = json.dumps(self.study.as_json())
        report, scores, panel = _start_texts(settings, self.cell.seed, draws)
        if _start_texts.cache_info().misses > made_before:  # else another cell has paid for it
            self.panel.calls += panel.calls
            self.panel.texts += panel.texts
            self.panel.seconds += panel.seconds
        self.panel.missing |= panel.missing
        if self.cell.reward not in scores:
            raise RewardError(panel.missing[self.cell.reward])
        return report, scores

    def _draw(self) -> None:
        study = self.study
        report, scores = self._start_texts(study.draws)
        self.tokens = sum(map(len, report.ids))
        square = {name: each.reshape(-1, study.draws) for name, each in scores.items()}
        reward = self.cell.reward
        snapshots = best_of_n_snapshots(square, reward, self.tokens / study.draws)
        snapshots[0]["scores"] = summary(scores)
        snapshots[0]["quality"] = _quality(report)
        self.result["snapshots"] = snapshots
        self.result["predictors"] = predictors(square[reward], square[GOLD], snapshots, reward)
        self.result["within prompts"] = within_prompts(square[reward]).tolist()
        of_prompt = [row * study.draws for row in range(len(self.numbers))]
        texts = [report.completions[row : row + study.draws] for row in of_prompt]
        examples = self._examples(self.numbers)
        probed, kept = probe(self.panel, examples, texts, square, self.cell.seed)
        self.result |= probed
        self.texts += kept
        best = [row + int(of.argmax()) for row, of in zip(of_prompt, square[reward], strict=True)]
        for stage, rows in (("start", of_prompt), ("end", best)):
            self._keep_texts(
                stage,
                self.numbers,
                [report.completions[row] for row in rows],
                {name: each[rows] for name, each in scores.items()},
            )

    def _learn(self, envs: Any) -> None:
        study = self.study
        self._measure(0)
        steps = range(1, study.snapshots + 1)
        marks = [max(1, round(study.tokens * (k / study.snapshots) ** 2)) for k in steps]
        try:
            self.phases |= train(self.kind, self.policy, envs, self.budget, self._measure, marks)
        except NoGradientError:
            # A constant teaches nothing, which is what it is there to show.
            if self.cell.reward not in CONTROLS or self.cell.reward == "length":
                raise
            self.result["snapshots"].append(
                {**self.result["snapshots"][-1], "tokens": study.tokens}
            )
        self._keep_last()

    def _own(self, arguments: dict[str, Any], spec: Any) -> None:
        study = self.study
        self._measure(0)
        envs = gym.make_vec(
            study.env,
            num_envs=study.num_envs,
            **{**arguments, "split": study.train_split, "reward": spec},
        )
        agent, spent = train_own(self.kind, envs, self.budget)
        policy = trained_policy(agent)
        if policy is not None:
            self.policy = policy
            self._measure(spent)
        else:
            self._measure_own(agent, spent, arguments)
        self._keep_last()

    def _measure(self, tokens: int) -> None:
        """Adds a snapshot of the policy as it is."""
        start = time.perf_counter()
        self.tokens = tokens
        if tokens == 0:
            report, scores = self._start_texts(1)
        else:
            report = self._report(self.policy, self.numbers)
            scores = self.panel.score(self._examples(self.numbers), report.completions, report.ids)
        self.result["snapshots"].append(
            {
                "tokens": tokens,
                "kl": report.kl,
                "scores": summary(scores),
                "quality": _quality(report),
                "components": self._components(report),
            }
        )
        self._last = report.completions, scores
        if tokens == 0:
            self._keep_texts("start", self.numbers, *self._last)
        self.phases["measure"] = self.phases.get("measure", 0.0) + time.perf_counter() - start
        most = self.study.kl_budget
        if most is not None and report.kl > most:
            raise BudgetError(
                "KL budget", f"left {most:g} nats: {report.kl:.2f} after {tokens:,} tokens"
            )

    def _measure_own(self, agent: Any, tokens: int, arguments: dict[str, Any]) -> None:
        self.tokens = tokens
        envs: Any = gym.make_vec(
            self.study.env,
            num_envs=self.envs.num_envs,
            autoreset_mode="Disabled",
            **{**arguments, "split": _test_split(self.study, arguments), "reward": _UNSCORED},
        ).unwrapped
        seed = _SEEDS * (1 + self.cell.seed)
        completions, length = play_own(agent, envs, self.numbers, seed)
        scores = self.panel.score(self._examples(self.numbers), completions)
        self.result["snapshots"].append(
            {
                "tokens": tokens,
                "kl": None,
                "scores": summary(scores),
                "quality": {"mean_length": length},
            }
        )
        self._last = completions, scores

    def _components(self, report: PolicyReport) -> dict[str, Any]:
        examples = self._examples(self.numbers)
        return summary(self.panel.components(examples, report.completions, report.ids))

    def _report(self, policy: TransformerPolicy, numbers: list[int]) -> PolicyReport:
        return evaluate_policy(
            policy,
            self.start,
            self.envs,
            example_ids=numbers,
            temperature=self.study.temperature,
            seed=_SEEDS * (1 + self.cell.seed),
        )

    def _examples(self, numbers: list[int]) -> list[Example]:
        return [self.envs.examples[number] for number in numbers]

    def _keep_last(self) -> None:
        self._keep_texts("end", self.numbers, *self._last)

    def _keep_texts(
        self, stage: str, numbers: list[int], completions: list[str], scores: dict[str, Any]
    ) -> None:
        prompts = [example.prompt for example in self._examples(numbers)]
        for row, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
            self.texts.append(
                {
                    "stage": stage,
                    "prompt": prompt,
                    "completion": completion,
                    "scores": {name: float(each[row]) for name, each in scores.items()},
                }
            )

    def fail(self, kind: str, error: Exception) -> None:
        """Says that and why it failed; what was measured before stays."""
        self.result |= {
            "status": "failed",
            "why": kind,
            "message": " ".join(str(error).split()) or type(error).__name__,
        }

    def write(self, folder: Path) -> None:
        """Writes the folder."""
        self.result["missing"] = self.panel.missing
        with atomic_folder(folder) as inside:
            write_json(inside / RESULT_FILE, finite(self.result))
            write_json(inside / COST_FILE, self._cost())
            lines = [json.dumps(text) for text in self.texts]
            (inside / TEXTS_FILE).write_text("\n".join([*lines, ""]), encoding="utf-8")

    def _cost(self) -> dict[str, Any]:
        unit = 2**10 if sys.platform.startswith("linux") else 1
        return {
            "tokens": self.tokens,
            "reward_calls": self.panel.calls,
            "reward_texts": self.panel.texts,
            "seconds": {
                **self.phases,
                "scoring": self.panel.seconds,
                "all": time.monotonic() - self.started,
            },
            "memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20,
            "threads": torch.get_num_threads(),
            "machine": platform.machine(),
            "versions": {"python": platform.python_version(), **dict(_versions())},
        }


@functools.lru_cache(maxsize=2)
def _start_texts(study: str, seed: int, draws: int) -> tuple[PolicyReport, dict[str, Any], Panel]:
    """What is the same for all rewards and agents of a seed, and so is made once in a process."""
    return _Run(Cell(Study(**json.loads(study)), GOLD, BEST_OF_N, seed)).write_start(draws)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """So many threads of torch inside; as it was behind it."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _kind(error: Exception) -> str:
    """The word for a failure."""
    if isinstance(error, BudgetError):
        return error.kind
    if isinstance(error, GuardError):
        return "guard"
    return "reward" if isinstance(error, RewardError) else "crash"


def _arguments(study: Any) -> dict[str, Any]:
    """The environment's arguments; a start with a tokenizer brings it."""
    own = tokenizer_of(study.policy)
    return {**({} if own is None else {"tokenizer": own}), **study.env_kwargs}


def _make(study: Any, arguments: dict[str, Any], *, split: str, reward: Any) -> Any:
    """The environment as learners take it."""
    rows = min(study.num_envs, study.prompts) if reward == _UNSCORED else study.num_envs
    return gym.make_vec(
        study.env,
        num_envs=rows,
        backend="torch",
        autoreset_mode="Disabled",
        **{**arguments, "split": split, "reward": reward},
    ).unwrapped


def _test_split(study: Any, arguments: dict[str, Any]) -> str:
    if study.test_split is not None:
        return str(study.test_split)
    probe: Any = gym.make_vec(
        study.env,
        num_envs=1,
        **{**arguments, "split": study.train_split, "reward": _UNSCORED},
    ).unwrapped
    return "test" if "test" in probe.task.splits else str(study.train_split)


def _policy(study: Any, envs: Any) -> TransformerPolicy:
    width = envs.prompt_tokens + envs.completion_tokens
    model, _ = load_model(study.policy, envs.tokenizer, width=width)
    policy = TransformerPolicy(model, edits=envs.action_kind == "edit")
    policy.load_heads(Path(study.policy))
    return policy


def _quality(report: PolicyReport) -> dict[str, float]:
    return {name: float(getattr(report, name)) for name in _QUALITY}


def _versions() -> Iterator[tuple[str, str]]:
    for name in _PACKAGES:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            continue


if __name__ == "__main__":
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call] # untyped there
    logging.disable_progress_bar()  # type: ignore[no-untyped-call] # untyped there
    run_cell(Path(sys.argv[1]).read_text(encoding="utf-8"), sys.argv[2])
