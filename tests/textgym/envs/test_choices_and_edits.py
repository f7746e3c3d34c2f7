"""Choosing and editing as an agent meets them."""

import pytest

from textgym import TextEnv
from textgym.tokenizers import CharacterTokenizer
from textgym.types import StopReason

PAD, BOS, EOS = 0, 1, 2
A = 3


def test_the_first_candidate_always_ends_the_text():
    env = TextEnv(task="Alphabet", action_kind="choose", num_choices=4, obs_mode="dict")
    observation, _ = env.reset(options={"example_id": 0})
    candidates = observation["candidates"]
    assert candidates.shape == (4,)
    assert candidates[0] == EOS
    observation, _, terminated, _, info = env.step(0)
    assert terminated
    assert info["stop_reason"] == StopReason.END_OF_TEXT
    assert observation["tokens"].tolist() == [BOS, A, EOS, PAD, PAD, PAD, PAD, PAD]


def test_the_layout_says_where_the_candidates_are():
    env = TextEnv(task="Alphabet", action_kind="choose", num_choices=4)
    observation, _ = env.reset(options={"example_id": 0})
    assert observation[env.layout["tokens"]].tolist() == [BOS, A, *[PAD] * 6]
    assert observation[env.layout["candidates"]][0] == EOS
    assert observation.shape == (8 + 4,)
    assert {"tokens": slice(0, 8)} == TextEnv(task="Alphabet").layout


def test_phrases_of_one_s_own_are_chosen():
    env = TextEnv(
        task="Alphabet",
        action_kind="choose",
        num_choices=3,
        proposer="list",
        proposer_kwargs={"phrases": ["bc", "d"]},
    )
    env.reset(options={"example_id": 0})
    rewards = [env.step(action)[1] for action in (1, 2, 0)]
    assert rewards == [0.0, 0.0, 1.0]
    assert env.text() == ("a", "bcd")


def test_an_edit_starts_from_a_draft_and_shows_what_it_changed():
    env = TextEnv(
        task="Alphabet", action_kind="edit", drafter_kwargs={"rate": 0.0}, render_mode="ansi"
    )
    observation, info = env.reset(options={"example_id": 0})
    assert observation.tolist() == [BOS, A, 4, 5, 6, PAD, PAD, PAD]
    assert info["prompt_length"] == 2
    assert env.text() == ("a", "bcd")
    env.step((3, 7))
    assert env.text() == ("a", "bed")
    assert "\x1b[31;9mc\x1b[0m\x1b[32me\x1b[0m" in env.render()
    assert env.step((0, EOS))[1] == 0.75


def test_a_tokenizer_that_begins_and_ends_alike_cannot_edit():
    class Circular(CharacterTokenizer):
        eos_id, forbidden_ids = 1, (0,)

    with pytest.raises(ValueError, match="begins and ends a text with the same id 1"):
        TextEnv(task="Alphabet", tokenizer=Circular("abcdefgh"), action_kind="edit")
