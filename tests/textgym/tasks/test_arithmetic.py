"""Sums, whose verifier is their generator."""

import pytest

import textgym
from textgym.tasks.arithmetic import Arithmetic
from textgym.testing import check_task


@pytest.mark.parametrize("digits", [1, 2])
def test_every_sum_is_in_it_once_and_right(digits):
    task = Arithmetic(digits=digits)
    check_task(task)
    sums = {}
    for split in task.splits:
        for example in task.examples(split):
            first, second = map(int, example.prompt.removesuffix("=").split("+"))
            assert (first, second) not in sums
            sums[first, second] = example.columns["reference"]
    assert sums == {
        (first, second): str(first + second)
        for first in range(10**digits)
        for second in range(10**digits)
    }


def test_a_sum_and_its_mirror_image_are_in_one_split():
    """Or a test sum would be one that was learned, the other way round."""
    task = Arithmetic(digits=2)
    for split in task.splits:
        prompts = {example.prompt for example in task.examples(split)}
        mirrored = {"+".join(reversed(prompt[:-1].split("+"))) + "=" for prompt in prompts}
        assert prompts == mirrored


def test_the_sizes_are_what_the_longest_sum_takes():
    task = Arithmetic(digits=2)
    env = textgym.TextEnv(task=task, split="test")
    tokenizer = env.tokenizer
    for example in task.examples("test"):
        assert 1 + len(tokenizer.encode(example.prompt)) <= task.prompt_tokens
        assert len(tokenizer.encode(example.columns["reference"])) < task.completion_tokens


@pytest.mark.parametrize(("written", "score"), [("right", 1.0), ("more", 0.0), ("none", 0.0)])
def test_the_sum_and_nothing_else_scores(written, score):
    task = Arithmetic()
    env = textgym.TextEnv(task=task)
    env.reset(options={"example_id": 0})
    wanted = task.examples("train")[0].columns["reference"]
    text = {"right": wanted, "more": f"{wanted}0"[:3], "none": ""}[written]
    rewards = [
        env.step(token)[1]
        for token in [*env.tokenizer.encode(text), env.tokenizer.eos_id][: task.completion_tokens]
    ]
    assert rewards[-1] == score


@pytest.mark.parametrize("digits", [0, 4])
def test_other_numbers_of_digits_are_refused(digits):
    with pytest.raises(ValueError, match=f"digits must be 1 to 3, got {digits}"):
        Arithmetic(digits=digits)
