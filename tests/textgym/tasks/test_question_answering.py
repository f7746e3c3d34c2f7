"""Questions of reasoning-gym, with their own verifiers."""

import importlib.util
import json

import pytest

from textgym.rewards import RewardError, resolve
from textgym.tasks import question_answering
from textgym.tasks.question_answering import (
    DATASETS,
    REASONING_GYM,
    QuestionAnswering,
    verified,
)
from textgym.testing import check_task
from textgym.tokenizers import load_tokenizer

needs_it = pytest.mark.skipif(
    not REASONING_GYM.is_installed(), reason="reasoning-gym is not installed"
)


def all_examples(task):
    return [example for split in task.splits for example in task.examples(split)]


def score(example, *answers):
    columns = {key: [value] * len(answers) for key, value in example.columns.items()}
    return verified([example.prompt] * len(answers), list(answers), **columns)


@needs_it
def test_each_reference_is_right():
    for example in all_examples(QuestionAnswering()):
        assert score(example, example.columns["reference"]) == [1.0]


@needs_it
@pytest.mark.parametrize("dataset", DATASETS)
def test_a_text_without_the_right_answer_scores_nothing(dataset):
    """Some verifiers give a little to any text, which a policy would find."""
    wrong = ["", " ", "x", "wrong", "The answer is here.", "0", "7", "-1", "1000003", "a " * 40]
    for example in QuestionAnswering(datasets=(dataset,), size=60).examples("train"):
        right = example.columns["reference"].strip()
        others = [answer for answer in wrong if right not in answer]
        assert score(example, *others) == [0.0] * len(others)


@needs_it
def test_no_question_is_in_two_splits_or_twice_in_one():
    prompts = [" ".join(example.prompt.split()) for example in all_examples(QuestionAnswering())]
    assert len(prompts) == len(set(prompts)) > 2000


@needs_it
def test_where_a_question_goes_does_not_depend_on_the_size():
    few, many = QuestionAnswering(size=50), QuestionAnswering(size=100)
    for split in few.splits:
        prompts = {example.prompt for example in many.examples(split)}
        assert {example.prompt for example in few.examples(split)} <= prompts


@needs_it
def test_json_holds_an_entry_and_its_verifier_still_reads_it():
    for example in QuestionAnswering(size=30).examples("train"):
        again = json.loads(json.dumps(example.columns["entry"]))
        columns = {"dataset": [example.columns["dataset"]], "entry": [again]}
        assert verified([example.prompt], [example.columns["reference"]], **columns) == [1.0]


@needs_it
def test_all_prompts_fit():
    task = QuestionAnswering()
    tokenizer = load_tokenizer(task.tokenizer)
    prompts = tokenizer.encode_batch([example.prompt for example in all_examples(task)])
    assert max(map(len, prompts)) < task.prompt_tokens


@needs_it
def test_settings_reach_the_generator():
    task = QuestionAnswering(
        datasets=("chain_sum",),
        settings={"chain_sum": {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}},
    )
    check_task(task)
    for example in all_examples(task):
        question = example.prompt.removesuffix("\nAnswer:").partition(": ")[2]
        assert len(question.split()) == 4
        assert all(len(number) == 1 for number in question.split()[::2])


@needs_it
def test_another_seed_makes_other_questions():
    prompts = [
        {example.prompt for example in QuestionAnswering(seed=seed, size=50).examples("train")}
        for seed in (0, 1)
    ]
    assert len(prompts[0] & prompts[1]) < len(prompts[0]) / 4


@needs_it
@pytest.mark.parametrize(
    ("datasets", "settings", "message"),
    [
        (("goat_counting",), {}, "makes no dataset 'goat_counting' with the options {}"),
        (("gcd",), {"gcd": {"goats": 3}}, "makes no dataset 'gcd' .*goats"),
        (("gcd",), {"gcd": {"min_numbers": -1}}, "makes no dataset 'gcd'"),
    ],
)
def test_what_the_library_refuses_is_named(datasets, settings, message):
    with pytest.raises(ValueError, match=message):
        QuestionAnswering(datasets=datasets, settings=settings).examples("train")


@needs_it
def test_an_empty_split_says_what_to_do():
    with pytest.raises(ValueError, match="is empty; choose a larger size"):
        all_examples(QuestionAnswering(datasets=("gcd",), size=1))


def test_settings_for_what_is_not_made_are_refused():
    with pytest.raises(ValueError, match="settings for lcm, but the datasets are gcd"):
        QuestionAnswering(datasets=("gcd",), settings={"lcm": {}})
    with pytest.raises(ValueError, match="needs a dataset and a size of at least 1"):
        QuestionAnswering(datasets=())


def test_a_missing_package_says_how_to_get_it(monkeypatch):
    question_answering._examples.cache_clear()
    question_answering._verifier.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match='pip install "reasoning-gym>='):
        QuestionAnswering().examples("train")
    with pytest.raises(ModuleNotFoundError, match="reasoning_gym"):
        resolve(QuestionAnswering().reward)(["q"], ["a"], dataset=["gcd"], entry=[{}])


@needs_it
def test_an_answer_that_the_verifier_cannot_read_scores_nothing():
    """This one raises on what is no number, and a policy begins with anything."""
    task = QuestionAnswering(datasets=("prime_factorization",), size=20)
    example = task.examples("train")[0]
    assert score(example, "two goats", example.columns["reference"]) == [0.0, 1.0]


def test_a_task_can_be_hashed():
    assert hash(QuestionAnswering()) == hash(QuestionAnswering())


@needs_it
def test_an_entry_of_another_kind_fails_loudly():
    with pytest.raises(RewardError, match="verified"):
        resolve(QuestionAnswering().reward)(["q"], ["a"], dataset=["gcd"], entry=[{}])
