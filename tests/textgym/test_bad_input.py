"""Input that nobody should send: a documented effect, or one line that names the culprit."""

import numpy as np
import pytest

from textgym import TextEnv, TextVectorEnv
from textgym.tasks import get_task

BOS = 1
KINDS = ["append", "choose", "edit"]


def make(kind="append", **kwargs):
    """An environment with the shipped tokenizer and a task that needs no package."""
    return TextEnv(
        task="Alphabet",
        tokenizer="reviews-4096",
        reward="reward_models.metrics:length",
        action_kind=kind,
        prompt_tokens=8,
        **kwargs,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_prompt_longer_than_its_room_keeps_its_end(kind):
    env = make(kind)
    observation, info = env.reset(options={"prompt": "the beginning of it is lost, not the end"})
    assert info["prompt_length"] == 8
    tokens = observation[:8].tolist()
    assert tokens[0] == BOS
    assert env.tokenizer.decode(tokens).endswith("the end")


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_prompt_is_the_first_id_alone(kind):
    observation, info = make(kind).reset(options={"prompt": ""})
    assert info["prompt_length"] == 1
    assert observation[0] == BOS


@pytest.mark.parametrize("text", ["a\0b", "\0", "\ufeff", "é" * 3, "\u202eabc"])
def test_strange_characters_come_back_as_they_were(text):
    env = make()
    observation, info = env.reset(options={"prompt": text})
    ids = observation[1 : info["prompt_length"]].tolist()
    assert text.endswith(env.tokenizer.decode(ids))
    assert env.text()[0] == text


@pytest.mark.parametrize("kind", KINDS)
def test_a_lone_surrogate_is_refused_with_the_prompt(kind):
    with pytest.raises(ValueError, match=r"the prompt 'bad \\ud800 text' is no valid text"):
        make(kind).reset(options={"prompt": "bad \ud800 text"})


def test_a_megabyte_in_one_line_is_cut_to_its_end():
    env = make()
    _, info = env.reset(options={"prompt": "word " * 200_000 + "end"})
    assert info["prompt_length"] == 8
    assert env.text()[0].endswith("word end")


def test_a_prompt_that_cannot_be_encoded_leaves_a_batch_as_it_was():
    envs = TextVectorEnv(
        task="Alphabet", tokenizer="reviews-4096", reward="vader", num_envs=2, prompt_tokens=8
    )
    before = envs.reset(seed=0)[0]
    with pytest.raises(ValueError, match="is no valid text"):
        envs.reset(options={"prompt": ["fine", "\udfff"]})
    assert envs.texts()[0] != ["fine", "\udfff"]
    np.testing.assert_array_equal(before, envs.dynamics_state.tokens)


@pytest.mark.parametrize("prompt", [b"bytes", 3, ["a", 4]])
def test_what_is_no_text_is_no_prompt(prompt):
    envs = TextVectorEnv(task="Alphabet", num_envs=2)
    envs.reset(seed=0)
    with pytest.raises(
        (TypeError, ValueError), match=r"a prompt must be a text|prompt must be one"
    ):
        envs.reset(options={"prompt": prompt})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.txt", "", "empty.txt"),
        ("short.txt", "too short\n", "short.txt"),
        ("empty.jsonl", "", "empty.jsonl"),
        ("broken.jsonl", '{"prompt": "a"}\n{"prompt"\n', "broken.jsonl:2"),
        ("other.jsonl", '{"question": "a"}\n', "question"),
        ("other.csv", "question,answer\na,b\n", "question"),
    ],
)
def test_a_corpus_with_no_usable_example_is_named(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message) as caught:
        get_task(str(path)).examples("train")
    assert "\n" not in str(caught.value)
