"""Input that nobody should send: a documented effect, or one line that names the culprit."""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from textgym import Example, TextEnv, TextVectorEnv, train_tokenizer
from textgym.tasks import get_task
from textgym.tasks.toys import Alphabet
from textgym.tokenizers import CharacterTokenizer

HALF = "bad \ud800 text"
REFUSED = r"'bad \\ud800 text' is no valid text: surrogates not allowed"

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


@dataclass(frozen=True)
class Own(Alphabet):
    """A task of one example."""

    prompt: Any = "a"
    reference: Any = "b"

    def examples(self, split):
        return [Example(prompt=self.prompt, columns={"reference": self.reference})]


@dataclass(frozen=True)
class Talk(Own):
    """A conversation that is always answered alike."""

    says: Any = None

    def reply(self, example, turns):
        return self.says


@pytest.mark.parametrize(
    ("kind", "arguments", "what"),
    [
        ("append", {"task": Own(prompt=HALF)}, "the prompt"),
        ("edit", {"task": Own(prompt=HALF)}, "the prompt"),
        ("edit", {"task": Own(reference=HALF)}, "the text"),
        ("append", {"task": Talk(says=HALF)}, "the reply of Alphabet"),
        ("append", {"constraints": {"choices": ["b", HALF]}}, "constraints: the choice"),
        ("append", {"constraints": {"forbid": [HALF]}}, "constraints: forbid: the text"),
        ("append", {"constraints": {"allow": [HALF]}}, "constraints: allow: the text"),
        (
            "choose",
            {"num_choices": 3, "proposer": "list", "proposer_kwargs": {"phrases": ["b", HALF]}},
            "the phrase",
        ),
    ],
)
def test_half_a_character_is_refused_wherever_it_comes_from(kind, arguments, what):
    settings = {"task": "Alphabet", "tokenizer": "reviews-4096", "action_kind": kind, **arguments}
    settings["reward"] = "reward_models.metrics:length"
    for make_one in (TextEnv, functools.partial(TextVectorEnv, num_envs=1)):
        with pytest.raises(ValueError, match=f"^{what} {REFUSED}$"):
            end_first_turn(make_one(**settings))


def end_first_turn(env):
    env.reset(seed=0)
    env.step(2 if isinstance(env, TextEnv) else np.array([2]))


def test_half_a_character_trains_no_tokenizer():
    with pytest.raises(ValueError, match=f"^the training text {REFUSED}$"):
        train_tokenizer(["fine", HALF])


@pytest.mark.parametrize("wrong", [b"bytes", None, 3])
def test_what_is_no_text_is_shown(wrong):
    settings = {"tokenizer": "reviews-4096", "reward": "reward_models.metrics:length"}
    with pytest.raises(TypeError, match=f"^the prompt must be a text, got {wrong!r}$"):
        TextEnv(task=Own(prompt=wrong), **settings).reset()
    if wrong is not None:  # which ends a conversation
        env = TextEnv(task=Talk(says=wrong), **settings)
        with pytest.raises(
            TypeError, match=f"^the reply of Alphabet must be a text, got {wrong!r}$"
        ):
            end_first_turn(env)


def test_a_reply_that_is_refused_leaves_a_batch_as_it_was():
    envs = TextVectorEnv(
        task=Talk(says=HALF),
        num_envs=2,
        tokenizer="reviews-4096",
        reward="reward_models.metrics:length",
    )
    before = envs.reset(seed=0)[0]
    with pytest.raises(ValueError, match="is no valid text"):
        envs.step(np.array([300, 2]))
    np.testing.assert_array_equal(before, envs.dynamics_state.tokens)
    assert envs.dynamics_state.steps.tolist() == [0, 0]


RAGGED = [[1], [2, 3]]


@pytest.mark.parametrize("action", [None, "3", 1.0, True, [], [1, 2, 3], RAGGED, {"a": 1}])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_action_is_shown(kind, action):
    env = make(kind, completion_tokens=4)
    env.reset(seed=0)
    before = env.text()
    with pytest.raises(ValueError, match=r"^an action is (one integer|2 integers), got ") as caught:
        env.step(action)
    assert str(caught.value).endswith(repr(action))
    assert before == env.text()


@pytest.mark.parametrize("kind", ["append", "edit"])
@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize(
    "actions",
    [None, "3", 3, [1.0, 1.0], [True, True], [], [3], [3, None], [2**70, 3], ["3", "3"], RAGGED],
)
def test_what_are_no_actions_is_said_in_one_line(kind, backend, actions):
    """Not in the words of whatever library could not convert them."""
    envs = TextVectorEnv(task="Alphabet", num_envs=2, action_kind=kind, backend=backend)
    envs.reset(seed=0)
    with pytest.raises(
        ValueError, match=r"^actions must be (2 integers|integers of shape \(2, 2\)), got "
    ):
        envs.step(actions)
    assert envs.dynamics_state.steps.tolist() == [0, 0]


@pytest.mark.parametrize("kind", ["task", "tokenizer"])
@pytest.mark.parametrize("wrong", [3, ["Alphabet"], object])
def test_what_is_no_task_or_tokenizer_is_named(kind, wrong):
    with pytest.raises(
        TypeError, match=f"^(a|the) {kind} (is a name, a path or|object is)"
    ) as caught:
        TextEnv(**{"task": "Alphabet", kind: wrong})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("options", [3, ["prompt"], "prompt"])
def test_options_are_a_dictionary(options):
    for env in (TextEnv(task="Alphabet"), TextVectorEnv(task="Alphabet", num_envs=2)):
        with pytest.raises(TypeError, match="options must be a dictionary, got"):
            env.reset(options=options)


@pytest.mark.parametrize("seed", ["12", 1.5, {1, 2}.__iter__()])
def test_seeds_of_a_batch_are_integers(seed):
    with pytest.raises(ValueError, match="a seed must be an integer, or 2 of them, got"):
        TextVectorEnv(task="Alphabet", num_envs=2).reset(seed=seed)


def test_an_array_of_seeds_is_a_list_of_them():
    one, other = (TextVectorEnv(task="Alphabet", num_envs=2) for _ in range(2))
    one.reset(seed=[3, 8])
    other.reset(seed=np.array([3, 8]))
    assert (3, 8) == one.np_random_seed == other.np_random_seed


@pytest.mark.parametrize(
    "fails",
    [
        lambda text: CharacterTokenizer("ab").encode(text),
        lambda text: TextEnv(task="Alphabet").reset(options={"prompt": text.encode()}),
        lambda text: TextVectorEnv(task="Alphabet", num_envs=2).reset(options={"prompt": [text]}),
        lambda text: TextEnv(task="Alphabet", constraints={"forbid": [text]}),
        lambda text: TextEnv(task="Alphabet", constraints={"choices": text}),
    ],
)
def test_a_message_about_a_megabyte_is_one_short_line(fails):
    with pytest.raises((TypeError, ValueError)) as caught:
        fails("abc\n" * 250_000)
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)
