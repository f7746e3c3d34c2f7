"""Constraints as an agent meets them: in masks, in steps and in candidates."""

from dataclasses import dataclass

import numpy as np
import pytest

from textgym import TextEnv, TextVectorEnv
from textgym.types import Example

A, B, C, D = 3, 4, 5, 6
EOS = 2


def legal_play(env, seed):
    """One episode of legal actions at random; returns the completion."""
    generator = np.random.default_rng(seed)
    _, info = env.reset(seed=seed)
    terminated = False
    while not terminated:
        legal = np.flatnonzero(info["action_mask"])
        _, _, terminated, _, info = env.step(int(generator.choice(legal)))
    return env.text()[1]


@pytest.mark.parametrize("kind", ["append", "choose"])
def test_a_completion_is_one_of_the_choices(kind):
    env = TextEnv(task="Alphabet", action_kind=kind, constraints={"choices": ["abc", "abd", "h"]})
    written = {legal_play(env, seed) for seed in range(40)}
    assert written <= {"abc", "abd", "h"}
    assert len(written) > 1


@dataclass(frozen=True)
class Labelled:
    """Examples with a text, and a list of texts, in a column."""

    name: str = "Labelled"
    prompt_tokens: int = 4
    completion_tokens: int = 6
    tokenizer: str = "characters:abcdefgh"
    reward: str = "length"
    splits: tuple[str, ...] = ("train", "test")

    def examples(self, split):
        tags = {"train": [["ab", "c"], ["c"], []], "test": [["h"], ["gg"], ["gg"]]}[split]
        labels = ["bad", "bad", "ace"]
        pairs = zip(tags, labels, strict=True)
        return [Example(prompt="a", columns={"tags": t, "label": y, "n": 1}) for t, y in pairs]


@pytest.mark.parametrize(
    ("split", "column", "expected"),
    [
        ("train", "tags", {"ab", "c"}),
        ("test", "tags", {"gg", "h"}),
        ("train", "label", {"ace", "bad"}),
    ],
)
def test_the_choices_may_be_a_column_of_the_split(split, column, expected):
    env = TextEnv(task=Labelled(), split=split, constraints={"choices": {"column": column}})
    assert {legal_play(env, seed) for seed in range(30)} == expected
    batch = TextVectorEnv(
        num_envs=2, task=Labelled(), split=split, constraints={"choices": {"column": column}}
    )
    batch.reset(seed=0)
    env.reset(seed=0)
    np.testing.assert_array_equal(batch.action_masks()[0], env.action_masks())


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"column": "tag"}, r"the examples have no column 'tag'; they have: tags, label, n"),
        ({"column": "n"}, r"the column 'n' must hold texts, or lists of texts; it has 1"),
        ({"columns": "tags"}, r"choices is a list of texts, or \{'column': NAME\}"),
    ],
)
def test_a_wrong_column_is_named(choices, message):
    with pytest.raises(ValueError, match=message):
        TextEnv(task=Labelled(), constraints={"choices": choices})


def test_a_phrase_is_a_candidate_only_if_all_of_it_is_allowed():
    env = TextEnv(
        task="Alphabet",
        action_kind="choose",
        num_choices=4,
        proposer="list",
        proposer_kwargs={"phrases": ["ab", "ba", "c"]},
        constraints={"choices": ["abc"]},
    )
    env.reset(seed=0)
    assert env.action_masks().tolist() == [False, True, False, False]
    env.step(1)
    assert env.action_masks().tolist() == [False, False, False, True]
    assert env.step(2)[0].tolist() == [*env._row.tokens.tolist(), EOS, 0, 3, 4, 4, 3, 5, 0]


def test_the_end_waits_for_the_smallest_length():
    env = TextEnv(task="Alphabet", constraints={"min_tokens": 2})
    env.reset(seed=0)
    assert not env.action_masks()[EOS]
    assert not env.step(EOS)[2]
    env.step(A)
    env.step(A)
    assert env.action_masks()[EOS]
    assert env.step(EOS)[2]


def test_an_illegal_token_raises_on_request():
    env = TextEnv(task="Alphabet", constraints={"min_tokens": 1}, invalid_action="raise")
    env.reset(seed=0)
    with pytest.raises(ValueError, match="action 2 is illegal"):
        env.step(EOS)
    envs = TextVectorEnv(
        task="Alphabet", num_envs=2, constraints={"min_tokens": 1}, invalid_action="raise"
    )
    envs.reset(seed=0)
    with pytest.raises(ValueError, match="row 1: action 2 is illegal"):
        envs.step(np.array([A, EOS]))


def test_edits_know_the_constraints_that_never_change():
    env = TextEnv(task="Alphabet", action_kind="edit", constraints={"forbid": ["c"]})
    env.reset(seed=0)
    ids = env.action_masks()[8:]
    assert not ids[C]
    assert ids[D]
    with pytest.raises(ValueError, match=r"known for both: .*allow.*forbid"):
        TextEnv(task="Alphabet", action_kind="edit", constraints={"choices": ["a"]})
