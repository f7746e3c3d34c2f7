"""Answer questions that a program made and a program checks: the tasks of reasoning-gym."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from textgym.data.packages import Package
from textgym.tasks.splits import SPLITS, check_split, spread
from textgym.types import Example

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["DATASETS", "REASONING_GYM", "QuestionAnswering", "verified"]

REASONING_GYM = Package(module="reasoning_gym", pip="reasoning-gym>=0.1.25")
"""The package that makes the questions and checks the answers."""

DATASETS = ("letter_counting", "chain_sum", "gcd", "lcm", "count_bits", "base_conversion")
"""Short questions whose verifiers give nothing to a text without the right answer.

A text that holds more than the right answer gets that answer's share of its characters. Some
others of the package's 106 give a little to any text (as ``fraction_simplification`` does) or to
letters at the right places (``spell_backward``); a policy will find that.
"""

# The library's question n of seed s is its question n - 1 of seed s + 1.
_SEED_STRIDE = 1_000_000


@dataclass(frozen=True, slots=True)
class QuestionAnswering:
    r"""A question and ``"\nAnswer:"``; the score is the verdict of the question's own verifier.

    The columns are ``reference`` (one right answer, with its leading space), ``dataset`` (the name
    of the question's kind) and ``entry`` (the question as reasoning-gym made it, a dictionary that
    JSON can hold, which its verifier reads). A question's split depends on its text alone.

    Attributes:
        name: The task's name.
        datasets: The kinds of questions, by the names that reasoning-gym gives them.
        settings: Options of reasoning-gym for some of them, by name, such as
            ``{"chain_sum": {"max_terms": 2, "max_digits": 1}}``.
        size: How many questions of each kind are made; those made twice are dropped.
        seed: Another seed makes other questions.
        prompt_tokens: Room for the prompt.
        completion_tokens: The allowance.
        tokenizer: The tokenizer.
        reward: The reward.
        splits: The names of the splits.
    """

    name: str = "QuestionAnswering"
    datasets: tuple[str, ...] = DATASETS
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)
    size: int = 400
    seed: int = 0
    prompt_tokens: int = 96
    completion_tokens: int = 16
    tokenizer: str = "reviews-4096"
    reward: str = "textgym.tasks.question_answering:verified"
    splits: tuple[str, ...] = SPLITS

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            ValueError: If there is nothing to make, or options for what is not made.
        """
        if not self.datasets or self.size < 1:
            raise ValueError(
                f"QuestionAnswering needs a dataset and a size of at least 1; got "
                f"datasets={self.datasets!r}, size={self.size}"
            )
        unused = sorted(set(self.settings) - set(self.datasets))
        if unused:
            raise ValueError(
                f"settings for {', '.join(unused)}, but the datasets are {', '.join(self.datasets)}"
            )

    def examples(self, split: str) -> Sequence[Example]:
        """Returns the questions of one split.

        Raises:
            ValueError: If ``split`` is unknown (the message lists the known ones) or empty, or a
                dataset or an option is.
            ModuleNotFoundError: If reasoning-gym is missing; the message says how to get it.
        """
        check_split(self, split)
        settings = json.dumps({name: dict(self.settings.get(name, {})) for name in self.datasets})
        examples = _examples(settings, self.size, self.seed)[split]
        if not examples:
            raise ValueError(f"split {split!r} of {self.name} is empty; choose a larger size")
        return examples


def verified(
    prompts: Sequence[str],
    completions: Sequence[str],
    *,
    dataset: Sequence[str],
    entry: Sequence[Mapping[str, Any]],
    **_: Sequence[Any],
) -> list[float]:
    """Scores each answer, without the spaces around it, by its question's own verifier: 0 to 1.

    An answer that the verifier cannot read (it raises ``ValueError``) scores 0.

    Args:
        prompts: The prompts, ``(N,)``; not looked at.
        completions: The answers, ``(N,)``.
        dataset: The names of the questions' kinds, ``(N,)``.
        entry: The questions as reasoning-gym made them, ``(N,)``.

    Returns:
        The scores, ``(N,)``.

    Raises:
        ModuleNotFoundError: If reasoning-gym is missing; the message says how to get it.
    """
    return [
        _verify(completion, name, question)
        for _, completion, name, question in zip(prompts, completions, dataset, entry, strict=True)
    ]


def _verify(answer: str, dataset: str, entry: Mapping[str, Any]) -> float:
    try:
        return float(_verifier(dataset)(answer=answer.strip(), entry=entry))
    except ValueError:
        return 0.0


@functools.cache
def _verifier(dataset: str) -> Any:
    return _reasoning_gym().get_score_answer_fn(dataset)


def _reasoning_gym() -> Any:
    if not REASONING_GYM.is_installed():
        raise REASONING_GYM.missing("QuestionAnswering")
    import reasoning_gym

    return reasoning_gym


@functools.lru_cache(maxsize=4)
def _examples(settings: str, size: int, seed: int) -> Mapping[str, tuple[Example, ...]]:
    return spread(
        (
            example
            for dataset, options in json.loads(settings).items()
            for example in _make(dataset, options, size, seed)
        ),
        # Signs matter in a sum, so only its spaces are nothing to a question.
        key=lambda example: " ".join(example.prompt.split()),
    )


def _make(dataset: str, options: Mapping[str, Any], size: int, seed: int) -> Iterator[Example]:
    library = _reasoning_gym()
    try:
        entries = library.create_dataset(dataset, size=size, seed=seed * _SEED_STRIDE, **options)
    except (ValueError, TypeError, AssertionError) as error:
        raise ValueError(
            f"reasoning-gym makes no dataset {dataset!r} with the options {dict(options)}: {error}"
        ) from error
    for number in range(size):
        entry = entries[number]
        # Some kinds have many right answers, and name none.
        answer = "" if entry["answer"] is None else f" {entry['answer']}"
        yield Example(
            prompt=f"{entry['question'].strip()}\nAnswer:",
            columns={"reference": answer, "dataset": dataset, "entry": entry},
        )
