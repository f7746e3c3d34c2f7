"""The standard studies by their names: the material of each, its settings, what is expected.

All text is what installed packages bring. A study compares rewards at its own sizes, or at those
of ``smoke``, which show in seconds that every part of it works and say nothing about rewards.
"""

from __future__ import annotations

import functools
import json
import random
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from agents.comparing.study import BEST_OF_N, GOLD, Study
from reward_models.preferences import Preference, pairs_of_labels
from textgym.cli.benchmark.standards import material
from textgym.cli.benchmark.standards.expectations import Expectation, expected_table
from textgym.cli.benchmark.standards.gold_world import make_gold_world
from textgym.cli.stages import Run, run_stages
from textgym.data.reviews import load_reviews
from textgym.files import atomic_file, write_json
from textgym.tasks.question_answering import QuestionAnswering
from textgym.tasks.summarization import Summarization

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from rich.console import Console

    from agents.comparing.campaign import Outcome
    from agents.reports.report import Table
    from textgym.cli.benchmark.standards.material import Sizes
    from textgym.cli.stages import Stage
    from textgym.types import Example

__all__ = ["STANDARDS", "Standard", "expected", "make_standard"]

_MATERIAL, _RECORD = "material", "standard.json"
_OPENING, _CLOSING = 8, 40  # the words of a review that are compared
_HEAD = 64  # words of a review that a model of 64 tokens can read
_SUMS = {"min_terms": 2, "max_terms": 3, "min_digits": 1, "max_digits": 1}
_QUESTIONS = 2_400
_FULL: Mapping[str, Any] = {
    "tokens": 6_912,
    "prompts": 48,
    "draws": 16,
    "num_envs": 48,
    "snapshots": 3,
}
_SMOKE: Mapping[str, Any] = {
    "seeds": 1,
    "tokens": 48,
    "prompts": 6,
    "draws": 4,
    "num_envs": 8,
    "snapshots": 1,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Standard:
    """A study that anyone can repeat by its name.

    Attributes:
        stages: What makes its material, by how large that is.
        study: Its settings, by the folder of the material.
        expects: What is expected of it.
    """

    stages: Callable[[Sizes], list[Stage]]
    study: Callable[[Path], Study]
    expects: tuple[Expectation, ...]


def make_standard(name: str, out: Path, console: Console, *, smoke: bool) -> Study:
    """Makes what a standard study needs, or finds it made, and gives its settings.

    Args:
        name: One of ``STANDARDS``.
        out: The study's folder; the material goes into a folder of its own there.
        console: Where to print.
        smoke: Whether it shall take seconds.

    Raises:
        RunError: If the folder holds the material of another study.
        ModuleNotFoundError: If a package that brings text is missing; the message says which.
    """
    standard, sizes = STANDARDS[name], material.SMOKE if smoke else material.FULL
    config = {"standard": name, **json.loads(json.dumps(asdict(sizes)))}
    run = Run(out=out / _MATERIAL, config=config, console=console)
    with run.opened():
        run_stages(run, standard.stages(sizes))
        study = standard.study(run.out)
    write_json(out / _RECORD, {"standard": name})
    if not smoke:
        return study
    first = dict(list(study.learners.items())[:1])
    return replace(study, agents={BEST_OF_N: {"agent": BEST_OF_N}, **first}, **_SMOKE)


def expected(folder: Path, outcomes: Sequence[Outcome]) -> list[Table]:
    """What is expected of the study in a folder, and found; nothing where it is no standard one."""
    record = folder / _RECORD
    if not record.is_file():
        return []
    name = json.loads(record.read_text(encoding="utf-8"))["standard"]
    return [expected_table(STANDARDS[name].expects, outcomes)]


def _learners(**more: Any) -> dict[str, Any]:
    """Best of n, PPO and GRPO with what suits a model of a few million weights."""
    common = {"learning_rate": 1e-3, "minibatches": 4, "kl_coefficient": 0.05, **more}
    return {
        BEST_OF_N: {"agent": BEST_OF_N},
        "ppo": {"agent": "ppo", "settings": {**common, "epochs": 1}},
        "grpo": {"agent": "grpo", "settings": common},
    }


def _sentiment_stages(sizes: Sizes) -> list[Stage]:
    def pairs() -> list[Preference]:
        reviews = load_reviews("language_model")[: 2 * sizes.pairs]
        texts = [" ".join(one.text.split()[_OPENING:_CLOSING]) for one in reviews]
        return pairs_of_labels(texts, [one.label for one in reviews], 0)

    def heads() -> list[dict[str, str]]:
        words = (one.text.split()[:_HEAD] for one in load_reviews("language_model"))
        return [{"text": " ".join(each)} for each in words]

    return [
        material.writer(heads, sizes, 64),
        material.judge(lambda: [(one.text, one.label) for one in load_reviews("judge")], sizes),
        *material.learned(pairs, sizes, 64),
        material.ensemble(),
    ]


def _sentiment(folder: Path) -> Study:
    return Study(
        env="TextGym/Sentiment-v0",
        env_kwargs={"completion_tokens": 24},
        rewards={
            "vader": "vader",
            "learned": str(folder / "learned-0"),
            "worst of three": str(folder / "worst"),
        },
        gold=material.judge_of(folder),
        agents=_learners(),
        policy=str(folder / "writer"),
        **_FULL,
    )


def _summarization_stages(sizes: Sizes) -> list[Stage]:
    examples = functools.cache(lambda: list(Summarization().examples("train")))
    return [
        material.writer(lambda: _answers(examples()), sizes, 160),
        *material.learned(lambda: _against_others(examples()), sizes, 160),
    ]


def _summarization(folder: Path) -> Study:
    return Study(
        env="TextGym/Summarization-v0",
        env_kwargs={"prompt_tokens": 128, "completion_tokens": 24},
        rewards={"rouge": "rouge", "learned": str(folder / "learned-0")},
        gold="chrf",
        agents=_learners(),
        policy=str(folder / "writer"),
        **_FULL,
    )


def _sums(split: str) -> list[Example]:
    task = QuestionAnswering(
        datasets=("chain_sum",), settings={"chain_sum": _SUMS}, size=_QUESTIONS
    )
    return list(task.examples(split))


def _question_stages(sizes: Sizes) -> list[Stage]:
    examples = functools.cache(functools.partial(_sums, "train"))
    return [
        material.writer(lambda: _answers(examples()), sizes, 64),
        *material.learned(lambda: _against_others(examples()), sizes, 64),
    ]


def _questions(folder: Path) -> Study:
    task = folder / "questions.jsonl"
    with atomic_file(task) as file:
        file.write_text(
            "".join(
                json.dumps({"prompt": one.prompt, "split": split, **one.columns}) + "\n"
                for split in ("train", "test")
                for one in _sums(split)
            ),
            encoding="utf-8",
        )
    return Study(
        env="TextGym/QuestionAnswering-v0",
        env_kwargs={"task": str(task), "prompt_tokens": 56, "completion_tokens": 4},
        rewards={
            "exact": "squad_exact_match",
            "letters": "chrf",
            "learned": str(folder / "learned-0"),
        },
        gold="textgym.tasks.question_answering:verified",
        # An answer is two tokens, of which the writer is nearly sure: a minibatch has few to learn
        # from, and at ten times the rate any reward, a constant one too, takes it 8 nats away.
        agents=_learners(learning_rate=1e-4, minibatches=1),
        policy=str(folder / "writer"),
        num_envs=128,
        tokens=12_000,
        draws=16,
        snapshots=3,
    )


def _answers(examples: Sequence[Example]) -> list[dict[str, str]]:
    return [{"prompt": one.prompt, "completion": one.columns["reference"]} for one in examples]


def _against_others(examples: Sequence[Example]) -> list[Preference]:
    """Each prompt's own answer is better than the answer to another one, where they differ."""
    order = list(range(len(examples)))
    random.Random(0).shuffle(order)  # noqa: S311 - not a secret
    both = [(examples[one], examples[other]) for one, other in pairwise(order)]
    return [
        Preference(
            pair_id=f"answers-{place}",
            prompt=mine.prompt,
            chosen=mine.columns["reference"],
            rejected=other.columns["reference"],
        )
        for place, (mine, other) in enumerate(both)
        if mine.columns["reference"] != other.columns["reference"]
    ]


STANDARDS: Mapping[str, Standard] = {
    "sentiment": Standard(
        stages=_sentiment_stages,
        study=_sentiment,
        expects=(
            Expectation(
                claim="what learned from people's stars chooses better than a lexicon",
                agent=BEST_OF_N,
                more="learned",
                less="vader",
            ),
            Expectation(
                claim="nothing chooses as well as the gold itself",
                agent=BEST_OF_N,
                more=GOLD,
                less="learned",
            ),
            Expectation(
                claim="a learned reward can be learned from",
                agent="ppo",
                more="learned",
                less="constant",
            ),
        ),
    ),
    "summarization": Standard(
        stages=_summarization_stages,
        study=_summarization,
        expects=(
            Expectation(
                claim="who sees the author's summary chooses better than who does not",
                agent=BEST_OF_N,
                more="rouge",
                less="learned",
            ),
            Expectation(
                claim="nothing chooses as well as the gold itself",
                agent=BEST_OF_N,
                more=GOLD,
                less="rouge",
            ),
        ),
    ),
    "question-answering": Standard(
        stages=_question_stages,
        study=_questions,
        expects=(
            Expectation(
                claim="who knows the answer chooses better than who knows answers' form",
                agent=BEST_OF_N,
                more="exact",
                less="learned",
            ),
            Expectation(
                claim="right answers can be learned from",
                agent="ppo",
                more="exact",
                less="constant",
            ),
        ),
    ),
    "gold-world": Standard(
        stages=lambda _: [],
        study=make_gold_world,
        expects=(
            Expectation(
                claim="the gold turns against a single proxy, and less against the worst of five",
                agent="ppo, free",
                more="single",
                less="worst",
                figure="drop",
            ),
            Expectation(
                claim="the worst of five ends above a single proxy",
                agent="ppo, free",
                more="worst",
                less="single",
            ),
            Expectation(
                claim="nothing gains as much as the gold itself",
                agent="ppo, free",
                more=GOLD,
                less="worst",
            ),
        ),
    ),
}
"""By name."""
