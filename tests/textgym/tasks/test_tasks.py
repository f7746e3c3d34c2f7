"""The registry of tasks, and the tasks themselves."""

import inspect
from fractions import Fraction

import gymnasium as gym
import numpy as np
import pytest

import textgym
from textgym.tasks import get_task, known_tasks, register_task
from textgym.tasks.toys import ALPHABET, PAYOUTS, Alphabet, Bandit, alphabet_score, bandit_score
from textgym.testing import check_task
from textgym.tokenizers import load_tokenizer


@pytest.mark.parametrize("name", known_tasks())
def test_every_registered_task_keeps_the_contract(name):
    check_task(get_task(name))


def test_a_name_is_known_in_any_case():
    assert get_task("sentiment").name == "Sentiment"


def test_an_unknown_task_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown task 'Sentimnt'; known: Alphabet, Bandit, Sent"):
        get_task("Sentimnt")


def test_a_user_s_task_is_known_by_name_and_gets_an_id(monkeypatch):
    class Letters(Alphabet):
        """A task of somebody else's, by the name of the class."""

    monkeypatch.setattr("textgym.tasks._FACTORIES", dict(textgym.tasks._FACTORIES))
    register_task("Letters", Letters)
    textgym.register_ids()
    try:
        env = gym.make("TextGym/Letters-v0")
        assert isinstance(env.unwrapped.task, Letters)
    finally:
        del gym.registry["TextGym/Letters-v0"]


def test_a_name_that_is_taken_is_refused():
    with pytest.raises(ValueError, match="there is a task 'Bandit' already"):
        register_task("bandit", Alphabet)


def test_a_prompt_and_its_reference_begin_the_review():
    texts = {review.text for review in textgym.data.load_reviews("train")}
    for example in get_task("Sentiment").examples("train")[:100]:
        begun = example.prompt + example.columns["reference"]
        assert len(example.prompt.split()) == 8
        assert any(text.startswith(begun) for text in texts)
        assert example.columns["label"] in (0, 1)


@pytest.mark.parametrize(
    ("completion", "score"),
    [
        ("bcd", 1.0),
        ("bcde", 0.75),
        ("bc", 0.5),
        ("", 0.0),
        ("xcd", 0.75),
        ("bbb", 0.5),
        ("cde", 0.25),
        ("edcbaa", 0.0),
    ],
)
def test_the_alphabet_scores_its_four_places(completion, score):
    assert [score] == alphabet_score(["a"], [completion])


def test_the_alphabet_is_a_circle():
    assert alphabet_score(["g"], ["hab"]) == [1.0]


def test_the_bandit_pays_what_it_says():
    assert bandit_score([""] * 5, ["a", "b", "c", "d", ""]) == [1.0, 0.5, 0.25, 0.0, 0.0]


@pytest.mark.parametrize("task", [Alphabet, Bandit])
def test_a_uniform_policy_earns_what_the_docstring_says(task):
    """The closed form, against episodes of the environment itself."""
    rows = 1024
    envs = textgym.TextVectorEnv(task=task(), num_envs=rows, autoreset_mode="SameStep")
    generator = np.random.default_rng(0)
    legal = np.flatnonzero(envs._world.rules.legal)
    envs.reset(seed=0)
    scores = []
    for _ in range(60):
        infos = envs.step(generator.choice(legal, rows))[-1]
        if "final_info" in infos:
            final = infos["final_info"]
            scores.extend(final["score"][final["_score"]])
    stated = {
        Alphabet: Fraction(2465, 26244),
        Bandit: Fraction(sum(map(Fraction, PAYOUTS.values())), 5),
    }[task]
    assert {Alphabet: "2465/26244", Bandit: "0.35"}[task] in inspect.getdoc(task)
    error = np.std(scores) / np.sqrt(len(scores))
    assert abs(np.mean(scores) - float(stated)) < 4 * error
    assert error < 0.004


def test_the_optimum_of_the_alphabet_is_one():
    tokenizer = load_tokenizer(Alphabet().tokenizer)
    env = textgym.TextEnv(task="Alphabet")
    for example_id, letter in enumerate(ALPHABET):
        env.reset(options={"example_id": example_id})
        start = ALPHABET.index(letter)
        wanted = "".join(ALPHABET[(start + step) % 8] for step in (1, 2, 3))
        rewards = [env.step(token)[1] for token in [*tokenizer.encode(wanted), tokenizer.eos_id]]
        assert rewards == [0.0, 0.0, 0.0, 1.0]
