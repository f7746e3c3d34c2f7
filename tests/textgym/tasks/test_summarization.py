"""Summaries of docstrings and of abstracts."""

import importlib.util

import pytest

from textgym.data.aclsum import ACLSUM, load_aclsum
from textgym.data.prose import key_of
from textgym.tasks import summarization
from textgym.tasks.summarization import Summarization
from textgym.testing import check_task
from textgym.tokenizers import load_tokenizer

needs_aclsum = pytest.mark.skipif(not ACLSUM.is_installed(), reason="aclsum is not installed")


def test_a_prompt_is_a_description_and_its_reference_the_summary():
    task = Summarization()
    examples = [example for split in task.splits for example in task.examples(split)]
    assert len(examples) > 1000
    for example in examples:
        body, _, cue = example.prompt.rpartition("\n")
        assert cue == "Summary:"
        assert 25 <= len(body.split()) <= 300
        assert example.columns["reference"].startswith(" ")
        assert 3 <= len(example.columns["reference"].split()) <= 25
        assert example.columns["source"] == "docstrings"


def test_no_summary_and_no_opening_is_in_two_splits():
    task = Summarization()
    for part in (
        lambda example: key_of(example.columns["reference"]),
        lambda example: key_of(" ".join(example.prompt.split()[:12])),
    ):
        homes = [{part(example) for example in task.examples(split)} for split in task.splits]
        assert not homes[0] & homes[1]
        assert not homes[0] & homes[2]
        assert not homes[1] & homes[2]


def test_nearly_all_prompts_fit():
    """The docstring says how many; the count moves a little with the installed versions."""
    task = Summarization()
    tokenizer = load_tokenizer(task.tokenizer)
    prompts = [example.prompt for split in task.splits for example in task.examples(split)]
    fit = [len(ids) < task.prompt_tokens for ids in tokenizer.encode_batch(prompts)]
    assert sum(fit) / len(fit) > 0.95


def test_fewer_packages_give_fewer_examples():
    alone = Summarization(packages=("gymnasium",))
    assert 0 < len(alone.examples("train")) < len(Summarization().examples("train"))


@needs_aclsum
def test_an_abstract_has_three_summaries_in_the_same_split():
    task = Summarization(source="aclsum")
    check_task(task)
    assert {split: len(task.examples(split)) for split in task.splits} == {
        "train": 300,
        "validation": 150,
        "test": 300,
    }
    cues = [example.prompt.rpartition("\n")[2] for example in task.examples("train")[:3]]
    assert cues == ["Challenge:", "Approach:", "Outcome:"]
    papers = {
        split: {key_of(example.prompt.rpartition("\n")[0]) for example in task.examples(split)}
        for split in task.splits
    }
    assert sum(map(len, papers.values())) == len(set().union(*papers.values())) == 250


def test_an_unknown_source_lists_the_known_ones():
    with pytest.raises(ValueError, match="'cnn' of Summarization; known: docstrings, aclsum"):
        Summarization(source="cnn")


def test_a_missing_package_says_how_to_get_it(monkeypatch):
    load_aclsum.cache_clear()
    summarization._from_aclsum.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install \"aclsum==0\.1\.2\""):
        Summarization(source="aclsum").examples("train")
    with pytest.raises(ModuleNotFoundError, match='pip install "torch"'):
        Summarization(packages=("torch",)).examples("train")
