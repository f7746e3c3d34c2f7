"""The quickstart's stages that measure: the evaluation on fresh prompts, the gates, the report."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from agents.measuring.evaluation import distinct_n, evaluate_policy, repeated_bigrams
from agents.measuring.metrics_log import read_metrics
from agents.models.policy import TransformerPolicy
from agents.reports.charts import Curve
from agents.reports.gates import quickstart_gates
from agents.reports.report import Report, Sample, Table, write_report
from reward_models.models.gold import GoldJudge
from textgym.cli.quickstart.stages import make_envs
from textgym.files import write_json
from textgym.statistics.comparisons import paired_difference, win_rate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from agents.measuring.evaluation import PolicyReport
    from agents.reports.gates import Gate
    from textgym.cli.quickstart.plan import Plan
    from textgym.cli.stages import Run

__all__ = ["evaluate", "gates", "report"]

_SAMPLES_SHOWN = 12
_MEASURES = ("gold", "kl", "perplexity", "distinct_2", "repeated_bigrams", "mean_length")


def evaluate(run: Run, plan: Plan) -> Mapping[str, Any]:
    """Lets the start and the trained policy write for prompts that no other stage has seen."""
    kwargs = {"path": str(run.out / "reward_model"), "device": plan.device}
    envs = make_envs(run, plan, plan.report_on, "model", kwargs)
    judge = GoldJudge.load(run.out / "judge")
    start = TransformerPolicy.from_pretrained(run.out / "language_model", plan.device)
    trained = TransformerPolicy.from_pretrained(run.out / "policy", plan.device)
    ids = list(range(min(plan.report_prompts, envs.num_examples)))
    reports = []
    with run.bar("Evaluation") as bar:
        for policy in (start, trained):
            reports.append(
                evaluate_policy(
                    policy,
                    start,
                    envs,
                    judge.score,
                    example_ids=ids,
                    temperature=plan.ppo.temperature,
                    seed=plan.seed,
                )
            )
            bar.update(len(reports) * len(ids), 2 * len(ids))
    before, after = reports
    examples = envs.task.examples(plan.report_on)[: len(ids)]
    write_json(
        run.out / "samples.json",
        [
            {"prompt": e.prompt, "before": b, "after": a, "gold_before": gb, "gold_after": ga}
            for e, b, a, gb, ga in zip(
                examples,
                before.completions,
                after.completions,
                before.gold.tolist(),
                after.gold.tolist(),
                strict=True,
            )
        ],
    )
    references = [str(e.columns["reference"]) for e in examples]
    cut = [row[: envs.completion_tokens] for row in envs.tokenizer.encode_batch(references)]
    difference = paired_difference(after.gold, before.gold, np.random.default_rng(plan.seed))
    rate = win_rate(after.gold, before.gold)
    return {
        "prompts": len(ids),
        "gold_gain": difference.value,
        "gold_gain_interval": [difference.low, difference.high],
        "kl": after.kl,
        "distinct_2_ratio": after.distinct_2 / before.distinct_2,
        "repeated_bigrams": after.repeated_bigrams,
        "win_rate": rate.rate,
        "win_rate_interval": [rate.low, rate.high],
        "proxy_before": float(before.rewards.mean()),
        "proxy_after": float(after.rewards.mean()),
        "before": _measures(before),
        "after": _measures(after),
        "human": {
            "gold": float(np.mean(judge.score(envs.tokenizer.decode_batch(cut)))),
            "distinct_2": distinct_n(cut, 2),
            "repeated_bigrams": repeated_bigrams(cut),
        },
    }


def _measures(policy: PolicyReport) -> dict[str, float]:
    return {name: float(np.mean(getattr(policy, name))) for name in _MEASURES}


def gates(run: Run) -> tuple[Gate, ...]:
    """What the run is judged by, from its stages' figures."""
    measured, reward = run.figures["evaluation"], run.figures["reward_model"]
    return quickstart_gates(
        gold_gain=measured["gold_gain"],
        kl=measured["kl"],
        distinct_2_ratio=_judged(measured["distinct_2_ratio"]),
        repeated_bigrams=_judged(measured["repeated_bigrams"]),
        accuracy_noisy=reward["accuracy_noisy"],
        accuracy_true=reward["accuracy_true"],
    )


def _judged(value: float | None) -> float:
    """What texts of one token leave unmeasured lets no gate pass."""
    return math.nan if value is None else value


def report(run: Run, plan: Plan, gates: Sequence[Gate]) -> Path:
    """Writes the page.

    Returns:
        Where it is.
    """
    measured = run.figures["evaluation"]
    samples = json.loads((run.out / "samples.json").read_text(encoding="utf-8"))
    shown = np.random.default_rng(plan.seed).choice(
        len(samples), min(_SAMPLES_SHOWN, len(samples)), replace=False
    )
    low, high = measured["win_rate_interval"]
    path = run.out / "report.html"
    write_report(
        path,
        Report(
            title=f"textgym quickstart, seed {plan.seed}",
            lead=(
                f"A language model trained on movie reviews was optimised for a reward learned "
                f"from {run.figures['reward_model']['pairs']:,.0f} comparisons, each by several "
                f"annotators who make mistakes. On "
                f"{measured['prompts']} fresh prompts a judge that none of this used prefers the "
                f"trained policy's text in {measured['win_rate']:.0%} of cases "
                f"(95 % interval {low:.0%} to {high:.0%})."
            ),
            gates=gates,
            curves=_curves(run),
            tables=_tables(run),
            samples=[
                Sample(
                    prompt=samples[i]["prompt"],
                    before=samples[i]["before"],
                    after=samples[i]["after"],
                    score_before=samples[i]["gold_before"],
                    score_after=samples[i]["gold_after"],
                )
                for i in sorted(shown.tolist())
            ],
            samples_caption="Drawn at random, not chosen. Scores are the gold judge's.",
            settings=run.config,
            notes=(
                "The models have a few million parameters: their text is half readable at best.",
                "Perplexity under the start falls when text turns into stock phrases, so it is "
                "shown and not judged.",
                "The gold judge counts words and can be pleased by stock praise; that is why "
                "KL, diversity and repetition stand beside it.",
            ),
        ),
    )
    return path


def _curves(run: Run) -> list[Curve]:
    ppo = read_metrics(run.out / "logs" / "ppo" / "metrics.csv")
    model = read_metrics(run.out / "logs" / "language_model" / "metrics.csv")

    def line(rows: Sequence[Mapping[str, float]], name: str) -> list[tuple[float, float]]:
        return [(row["iteration"], row[name]) for row in rows]

    return [
        Curve(
            title="Reward",
            x_label="iteration",
            y_label="reward model's score",
            lines={"reward": line(ppo, "reward")},
            caption="What PPO sees: mean 0 and variance 1 on the start's texts.",
        ),
        Curve(
            title="Gold score",
            x_label="iteration",
            y_label="judge's P(positive)",
            lines={"gold": line(ppo, "gold")},
            caption="What nobody optimised, on the training prompts' completions.",
        ),
        Curve(
            title="KL from the start",
            x_label="iteration",
            y_label="nats a completion",
            lines={"KL": line(ppo, "kl")},
            bound=15.0,
            caption="The price that was paid.",
        ),
        Curve(
            title="Language model",
            x_label="step",
            y_label="loss, nats a token",
            lines={"training loss": line(model, "loss")},
        ),
    ]


def _tables(run: Run) -> list[Table]:
    measured, reward = run.figures["evaluation"], run.figures["reward_model"]
    names = {
        "gold": "gold score",
        "kl": "KL, nats",
        "perplexity": "perplexity under the start",
        "distinct_2": "distinct-2",
        "repeated_bigrams": "repeated bigrams",
        "mean_length": "tokens",
    }
    return [
        Table(
            title="Before and after",
            header=("", "start", "trained", "human"),
            rows=[
                (
                    label,
                    measured["before"][key],
                    measured["after"][key],
                    measured["human"].get(key, ""),
                )
                for key, label in names.items()
            ],
            caption=f"{measured['prompts']} prompts of the {run.config['report_on']} split.",
        ),
        Table(
            title="Reward model on held-out prompts",
            header=("labels", "accuracy", "95 % interval"),
            rows=[
                (
                    label,
                    reward[f"accuracy_{key}"],
                    "{:.3f} to {:.3f}".format(*reward[f"accuracy_{key}_interval"]),
                )
                for key, label in (("noisy", "answers as given"), ("true", "true order"))
            ],
            caption=f"The hidden score itself agrees with "
            f"{run.figures['preferences']['label_ceiling']:.1%} of the noisy answers.",
        ),
        Table(
            title="Time",
            header=("stage", "seconds"),
            rows=[(name, figures["seconds"]) for name, figures in run.figures.items()],
        ),
    ]
