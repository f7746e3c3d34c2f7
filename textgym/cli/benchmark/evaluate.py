"""``textgym evaluate``: any number of policies side by side, on prompts that none has seen.

All answer the same prompts with the same random numbers, and the first is what the others are held
against. Each is written once a seed, so that seeds are the replicates. People may judge as well.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from gymnasium.error import Error as GymnasiumError
from rich.console import Console

from agents.comparing.measures import Panel
from agents.comparing.page import table_text
from agents.comparing.standing import figure
from agents.comparing.study import GOLD, named
from agents.measuring.evaluation import evaluate_policy
from agents.reports.report import Report, Table, write_report
from textgym.cli.benchmark.people import PeopleConfig, ask_people, people_columns, people_table
from textgym.cli.console import bar, say, use_quiet_transformers
from textgym.cli.parsing import CommandError
from textgym.cli.policy.policies import environment_arguments, make_envs, make_policy
from textgym.files import exclusive_folder, write_json
from textgym.rewards import RewardError
from textgym.statistics.comparisons import paired_difference
from textgym.statistics.proportions import clustered_wilson
from textgym.statistics.ranks import rank_intervals

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agents.measuring.evaluation import PolicyReport
    from reward_models.measuring.tournament import Tournament

__all__ = ["EvaluateConfig", "evaluate"]

_UNSCORED = "agents.rollouts.texts:unscored"
_FEWEST = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateConfig:
    """Let policies answer the same fresh prompts, and compare their texts.

    With --human the page of textgym label opens, on which people say which of two texts is better
    without knowing who wrote them, every two policies equally often. When it is stopped, their
    answers stand in the tables. The same command takes more answers.
    """

    policies: tuple[str, ...]
    """Policies, each a folder, smollm2, hub:NAME, or NAME=POLICY. The first is what the others are
    held against: KL, perplexity and wins are over it."""
    env: str
    """The environment's id, such as TextGym/Sentiment-v0; ``textgym envs`` lists them."""
    rewards: tuple[str, ...] = ()
    """More rewards that judge, named as by ``textgym benchmark``; the gold always does."""
    gold: str | None = None
    """The reward that ranks; None takes the task's own."""
    env_kwargs: str = "{}"
    """More arguments of the environment as JSON, such as '{"split": "test"}'."""
    prompts: int = 128
    """How many prompts, from the first on. More measure more finely."""
    seeds: int = 3
    """How often each policy answers all. Fewer than three leave ranks open."""
    temperature: float = 1.0
    """Divides the logits. More makes texts more varied."""
    num_envs: int = 64
    """Rows that are written at once."""
    out: Path | None = None
    """A folder for page, JSON and texts; None prints alone."""
    human: bool = False
    """Ask people, on the page, which of two policies' texts is better."""
    store: Path | None = None
    """With --human, the store of pairs and answers; None takes people.sqlite in --out."""
    pairs: int = 200
    """With --human, how many pairs at most, of all policies. A win rate of .6 needs about 200
    answers, one of .55 about 800, for each two policies."""
    annotators: tuple[str, ...] = ()
    """With --human, simulated annotators in place of people, as of textgym loop."""
    truth: str | None = None
    """The reward that simulated annotators secretly go by."""


def evaluate(config: EvaluateConfig, console: Console | None = None) -> None:
    """Writes, scores, and prints.

    Args:
        config: What and how.
        console: Where to print; None for the terminal.

    Raises:
        CommandError: If something in the command is wrong.
    """
    console = console or Console()
    use_quiet_transformers()
    with nullcontext() if config.out is None else exclusive_folder(config.out):
        try:
            _check(config)
            made = _made(config, console)
        except (ValueError, TypeError, OSError, GymnasiumError, RewardError) as error:
            raise CommandError(" ".join(str(error).split())) from error
        for table in made:
            say(console, f"{table_text(table)}\n")
        _write(config, made, console)


def _write(config: EvaluateConfig, made: list[Table], console: Console) -> None:
    """Writes page and figures, where a folder is named."""
    if config.out is not None:
        rows = [{"title": t.title, "header": list(t.header), "rows": list(t.rows)} for t in made]
        write_json(config.out / "evaluation.json", {"tables": rows})
        write_report(
            config.out / "evaluation.html",
            Report(
                title=f"Policies side by side in {config.env}",
                finding=f"{len(config.policies)} policies on {config.prompts} prompts",
                tables=made,
            ),
        )
        say(console, str(config.out / "evaluation.html"))


def _check(config: EvaluateConfig) -> None:
    if config.human and (config.store or config.out) is None:
        raise ValueError("--human keeps answers: say where by --store people.sqlite, or by --out")
    if config.human and len(config.policies) < _FEWEST:
        raise ValueError("--human compares policies: give two or more")
    if not config.human and (config.store or config.annotators or config.truth):
        raise ValueError("--store, --annotators and --truth are for --human")


def _made(config: EvaluateConfig, console: Console) -> list[Table]:
    policies = _named_policies(config.policies)
    first = next(iter(policies.values()))
    arguments = {**environment_arguments(config.env_kwargs, first), "reward": _UNSCORED}
    rows = min(config.num_envs, config.prompts)
    envs = make_envs(config.env, arguments, num_envs=rows, device="cpu")
    if "split" not in arguments and "test" in envs.task.splits:
        arguments["split"] = "test"
        envs = make_envs(config.env, arguments, num_envs=rows, device="cpu")
    numbers = [number % envs.num_examples for number in range(config.prompts)]
    examples = [envs.examples[number] for number in numbers]
    gold = envs.task.reward if config.gold is None else named([f"gold={config.gold}"])[GOLD]
    panel = Panel({**named(config.rewards), GOLD: gold}, GOLD)
    reference = make_policy(first, envs, device="cpu")
    reports: dict[str, list[PolicyReport]] = {}
    scores: dict[str, list[dict[str, NDArray[np.float64]]]] = {}
    with bar("policies", console) as progress:
        for count, (name, spec) in enumerate(policies.items()):
            progress.update(count, len(policies), name)
            policy = make_policy(spec, envs, device="cpu")
            reports[name] = [
                evaluate_policy(
                    policy,
                    reference,
                    envs,
                    example_ids=numbers,
                    temperature=config.temperature,
                    seed=seed,
                )
                for seed in range(config.seeds)
            ]
            scores[name] = [panel.score(examples, r.completions, r.ids) for r in reports[name]]
    if panel.missing:
        name, said = next(iter(panel.missing.items()))
        raise ValueError(f"the reward {name}: {said}")
    tables = [_texts_table(reports)]
    people = None
    if config.human:
        prompts = [example.prompt for example in examples]
        texts = {name: [r.completions for r in each] for name, each in reports.items()}
        people = ask_people(_people(config), policies, prompts, texts, console)
        tables.append(people_table(people))
    return [_scores_table(scores, config, people), *tables]


def _people(config: EvaluateConfig) -> PeopleConfig:
    store = config.store
    if store is None:
        assert config.out is not None  # noqa: S101 - it was checked
        store = config.out / "people.sqlite"
    return PeopleConfig(
        store=store, pairs=config.pairs, annotators=config.annotators, truth=config.truth
    )


def _scores_table(
    scores: dict[str, list[dict[str, NDArray[np.float64]]]],
    config: EvaluateConfig,
    people: Tournament | None,
) -> Table:
    names = list(scores)
    golds = {name: np.stack([each[GOLD] for each in scores[name]]) for name in names}
    ranks = rank_intervals(np.stack([golds[name].mean(axis=1) for name in names]))
    start, rows = golds[names[0]].mean(axis=0), []
    for name, rank in zip(names, ranks, strict=True):
        mean, low, high = golds[name].mean(axis=0), rank.low, rank.high
        wins = difference = ""
        if name != names[0]:
            wins = _wins(golds[name], golds[names[0]])
            if len(mean) > 1:
                gain = paired_difference(mean, start, np.random.default_rng(0), 2000)
                difference = f"{gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})"
        others = [reward for reward in scores[name][0] if reward != GOLD]
        judged = [
            figure(np.array([each[reward].mean() for each in scores[name]]), "{:.3f}")
            for reward in (GOLD, *others)
        ]
        rows.append(
            (name, f"{low}" if low == high else f"{low} to {high}", wins, difference, *judged)
        )
    others = [reward for reward in scores[names[0]][0] if reward != GOLD]
    header = ("policy", "rank", "wins over the first", "gold above the first", GOLD, *others)
    if people is not None:
        header += ("people: rank", "people: wins over the first")
        columns = people_columns(people, names)
        rows = [(*row, *said) for row, *said in zip(rows, *columns, strict=True)]
    return Table(
        title="Scores",
        header=header,
        rows=rows,
        caption=(
            f"On {config.prompts} prompts, {config.seeds} times each. Wins are of all seeds, "
            "prompt by prompt, a tie half a win; the seeds of a prompt are alike, and count as "
            "fewer in Wilson's interval; differences draw prompts; scores draw seeds."
        ),
    )


def _wins(golds: NDArray[np.float64], first: NDArray[np.float64]) -> str:
    """How often a policy's texts are above the first's, ``(S, P)`` each."""
    shares = (np.sign(golds - first) + 1) / 2
    prompts = np.broadcast_to(np.arange(shares.shape[1]), shares.shape)
    low, high = clustered_wilson(shares.ravel(), prompts.ravel().tolist())
    return f"{shares.mean():.2f} ({low:.2f} to {high:.2f})"


def _texts_table(reports: dict[str, list[PolicyReport]]) -> Table:
    shown = ("kl", "perplexity", "distinct_2", "repeated_bigrams", "mean_length")
    return Table(
        title="Texts",
        header=(
            *("policy", "KL from the first, nats", "perplexity under it", "distinct bigrams"),
            *("repeated bigrams", "tokens"),
        ),
        rows=[
            (
                name,
                *(figure(_known([getattr(r, k) for r in each]), "{:.3g}") for k in shown),
            )
            for name, each in reports.items()
        ],
    )


def _known(values: list[float]) -> NDArray[np.float64]:
    """Without those of seeds whose texts have nothing to count: no bigram is in a single token."""
    return np.array([value for value in values if math.isfinite(value)])


def _named_policies(words: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in words:
        name, separator, spec = word.partition("=")
        if not separator or ":" in name or "?" in name:
            name, spec = Path(word).name or word, word
        if name in found:
            raise ValueError(f"two policies are called {name}: give one as NAME=POLICY")
        found[name] = spec
    return found
