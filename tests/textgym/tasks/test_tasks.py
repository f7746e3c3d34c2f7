"""The registry of tasks, and the tasks themselves."""

import importlib.util
import inspect
from fractions import Fraction

import gymnasium as gym
import numpy as np
import pytest

import textgym
from textgym.data.prose import key_of
from textgym.tasks import (
    Package,
    get_task,
    is_available,
    known_tasks,
    required_packages,
)
from textgym.tasks.splits import SPLITS
from textgym.tasks.toys import (
    ALPHABET,
    PAYOUTS,
    Alphabet,
    Bandit,
    Corridor,
    alphabet_score,
    bandit_score,
    corridor_score,
)
from textgym.testing import check_task
from textgym.tokenizers import load_tokenizer

TASKS = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(not is_available(name), reason=f"{name}'s package is missing"),
    )
    for name in known_tasks()
]


@pytest.mark.parametrize("name", TASKS)
def test_every_registered_task_keeps_the_contract(name):
    task = get_task(name)
    assert task.name == name
    check_task(task)


@pytest.mark.parametrize("name", TASKS)
def test_every_example_says_what_a_good_completion_is(name):
    task = get_task(name)
    tokenizer = load_tokenizer(task.tokenizer)
    for split in task.splits:
        references = [example.columns["reference"] for example in task.examples(split)]
        assert all(isinstance(reference, str) and reference for reference in references)
        encoded = tokenizer.encode_batch(references[:100])
        assert tokenizer.decode_batch(encoded) == references[:100]


@pytest.mark.parametrize(
    "name", [task for task in TASKS if get_task(task.values[0]).splits == SPLITS]
)
def test_no_prompt_is_in_two_splits(name):
    """Nor one that differs in case and punctuation alone, where these mean nothing."""
    task = get_task(name)
    signs = name in ("Arithmetic", "QuestionAnswering")
    homes = {}
    for split in task.splits:
        for example in task.examples(split):
            key = example.prompt if signs else key_of(example.prompt)
            assert homes.setdefault(key, split) == split


def test_a_split_is_made_once():
    """An environment asks for it whenever it is made."""
    for name in known_tasks():
        if is_available(name) and get_task(name).splits != ("train",):
            assert get_task(name).examples("train") is get_task(name).examples("train")


def test_all_names_are_known_installed_or_not(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert known_tasks() == [
        "Alphabet",
        "Arithmetic",
        "Bandit",
        "Continuation",
        "Corridor",
        "Dialogue",
        "Guess",
        "QuestionAnswering",
        "Sentiment",
        "Summarization",
        "TranslationFrench",
        "TranslationGerman",
        "TranslationSpanish",
    ]
    assert [name for name in known_tasks() if is_available(name)] == [
        "Alphabet",
        "Arithmetic",
        "Bandit",
        "Continuation",
        "Corridor",
        "Guess",
        "Summarization",
    ]


def test_the_packages_of_a_task_have_their_two_names():
    assert required_packages("translationfrench") == (
        Package(module="jupyterlab_language_pack_fr_FR", pip="jupyterlab-language-pack-fr-FR"),
    )
    assert required_packages("Bandit") == ()
    with pytest.raises(ValueError, match="unknown task 'Goats'; known: Alphabet, "):
        is_available("Goats")


def test_a_name_is_known_in_any_case():
    assert get_task("sentiment").name == "Sentiment"


def test_an_unknown_task_lists_the_known_ones():
    with pytest.raises(
        ValueError, match=r"unknown task 'Sentimnt'; known: Alphabet, Arithmetic, .*\.jsonl"
    ):
        get_task("Sentimnt")


class Letters(Alphabet):
    """A task of somebody else's, by the name of the class."""


@pytest.fixture
def registries(monkeypatch):
    """Both registries as they were, afterwards."""
    monkeypatch.setattr("textgym.tasks._FACTORIES", dict(textgym.tasks._FACTORIES))
    monkeypatch.setattr("textgym.tasks._PACKAGES", dict(textgym.tasks._PACKAGES))
    before = dict(gym.registry)
    yield
    gym.registry.clear()
    gym.registry.update(before)


@pytest.mark.usefixtures("registries")
def test_a_user_s_task_is_known_by_name_and_gets_its_ids():
    """By one call: the ids had to be asked for by another."""
    absent = Package(module="nobody_has_this", pip="nobody-has-this")
    textgym.register_task("Letters", Letters, packages=(absent,))
    assert required_packages("letters") == (absent,)
    assert not is_available("Letters")
    for suffix, kind in (("", "append"), ("-Choose", "choose"), ("-Edit", "edit")):
        env = gym.make(f"TextGym/Letters{suffix}-v0")
        assert isinstance(env.unwrapped.task, Letters)
        assert env.unwrapped.action_kind == kind
    textgym.register_task("Letters", Letters)  # once more, as when a notebook's cell is run again


@pytest.mark.usefixtures("registries")
@pytest.mark.parametrize(
    ("name", "finding"),
    [
        ("bandit", "there is a task 'Bandit' already"),
        ("My Letters", r"a task's name is a part of its ids, .*; got 'My Letters'"),
        ("Other/Letters", "a part of its ids"),
        ("Letters!", "a part of its ids"),
        ("", "a part of its ids"),
        (3, "a part of its ids, .*; got 3"),
        ("Alphabet-Edit", "there is an environment 'TextGym/Alphabet-Edit-v0' already"),
    ],
)
def test_a_name_that_is_taken_or_can_be_none_is_refused_and_nothing_changes(name, finding):
    before = known_tasks(), sorted(gym.registry)
    with pytest.raises(ValueError, match=finding):
        textgym.register_task(name, Letters)
    assert before == (known_tasks(), sorted(gym.registry))


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


@pytest.mark.parametrize(
    ("prompt", "completion", "score"),
    [
        ("r", "l", 0.5 - 0.1875),
        ("r", "rrrrr", 1.0 - 5 * 0.1875),
        ("r", "", 0.0),
        ("rrrrr", "r", 1.0 - 0.1875),
        ("rrrrr", "rr", 1.0 - 2 * 0.1875),
        ("r", "ll", 0.5 - 2 * 0.1875),
        ("rr", "lr", -2 * 0.1875),
        ("r", "llr", -3 * 0.1875),
    ],
)
def test_the_corridor_pays_where_the_walk_ends(prompt, completion, score):
    assert corridor_score([prompt], [completion]) == [score]


def test_the_toys_say_what_their_best_texts_are():
    assert [example.columns["reference"] for example in Alphabet().examples("train")] == [
        "bcd",
        "cde",
        "def",
        "efg",
        "fgh",
        "gha",
        "hab",
        "abc",
    ]
    assert [example.columns["reference"] for example in Bandit().examples("train")] == ["a"]
    assert [example.columns["reference"] for example in Corridor().examples("train")] == [
        "l",
        "rrrr",
        "rrr",
        "rr",
        "r",
    ]


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
